/* SipHash-2-4 with 128 bits: a keyed hash that nobody can find collisions for without its key (Aumasson and Bernstein,
   2012; the 128-bit output as in their reference, github.com/veorq/SipHash). */
#ifndef MOCKEXPORT_SIPHASH_H
#define MOCKEXPORT_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t k0, k1;
} sip_key;

/* Words are little-endian, whatever the machine. Compilers make one load of this. */
static inline uint64_t sip_load(const unsigned char *p) {
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 |
           (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

static inline void sip_store(unsigned char *p, uint64_t word) {
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(word >> (8 * i));
}

static inline uint64_t sip_rotate(uint64_t x, int bits) {
    return x << bits | x >> (64 - bits);
}

static inline void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[1] = sip_rotate(v[1], 13) ^ v[0];
    v[0] = sip_rotate(v[0], 32);
    v[2] += v[3];
    v[3] = sip_rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = sip_rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = sip_rotate(v[1], 17) ^ v[2];
    v[2] = sip_rotate(v[2], 32);
}

static inline sip_key sip_key_of(const unsigned char bytes[16]) {
    return (sip_key){sip_load(bytes), sip_load(bytes + 8)};
}

/* Hash `size` bytes into the 16 bytes at `out`. */
static inline void sip_hash(sip_key key, const unsigned char *data, size_t size, unsigned char out[16]) {
    uint64_t v[4] = {key.k0 ^ 0x736f6d6570736575u, key.k1 ^ 0x646f72616e646f6du ^ 0xeeu, key.k0 ^ 0x6c7967656e657261u,
                     key.k1 ^ 0x7465646279746573u};
    uint64_t last = (uint64_t)size << 56;
    const unsigned char *end = data + (size & ~(size_t)7);
    for (; data < end; data += 8) {
        uint64_t word = sip_load(data);
        v[3] ^= word;
        sip_round(v);
        sip_round(v);
        v[0] ^= word;
    }
    for (size_t i = 0; i < (size & 7); i++)
        last |= (uint64_t)data[i] << (8 * i);
    v[3] ^= last;
    sip_round(v);
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xee;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    sip_store(out, v[0] ^ v[1] ^ v[2] ^ v[3]);
    v[1] ^= 0xdd;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    sip_store(out + 8, v[0] ^ v[1] ^ v[2] ^ v[3]);
}

#endif
