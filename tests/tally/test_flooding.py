"""No keys make a tally slow: what is looked at to find a pair is bounded, whatever the pairs are."""

from __future__ import annotations

import itertools
import random
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.seeds import examples

from mockexport.tally import ReferenceTally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HEADER = b"patient_id,event_time,event_type,value\n"
LONGEST_PROBE = 256
SEED_BYTES = 40
WORD = (1 << 64) - 1
MANY = 100_000

Pair = tuple[bytes, bytes]

# ---- Keys that all had the same hash when the hash had no seed ----


def short_keys() -> list[Pair]:
    """Return keys of 8 and 16 bytes, all of one hash by the formula `(p ^ p >> 28 ^ t << 7) * ODD ^ …`.

    `p` is the patient, `t` the type's last 8 bytes: a bit that is changed in the one is changed back by the other.
    """
    free = [*range(8, 12), *range(16, 20), *range(24, 28), 40, 43, 48, 51, 56, 59]  # bits; the bytes remain letters
    keys = []
    for chosen in itertools.product((0, 1), repeat=len(free)):
        change = sum(bit << at for bit, at in zip(chosen, free, strict=True))
        patient = 0x4040404040404040 ^ change
        kind = 0x6060606060606060 ^ (change ^ change >> 28) >> 7
        keys.append((struct.pack("<Q", patient), b"the-type" + struct.pack("<Q", kind)))
        if len(keys) == MANY:
            break
    return keys


def mixed(state: int, word: int) -> int:
    state = (state ^ word) * 0x9E3779B97F4A7C15 & WORD
    return state ^ state >> 29


def long_keys() -> list[Pair]:
    """Return keys whose patients have 48 bytes, all of one hash by the formula `state = (state ^ word) * ODD ^ …`.

    The second word of two takes back what the first one changed.
    """
    letters = bytes(range(ord("0"), ord("z") + 1))
    state = 48 | 1 << 32  # the lengths
    blocks = []
    for _ in range(3):
        found: list[bytes] = []
        wanted = 0
        for ending in itertools.product(letters, repeat=2):
            word = b"patien" + bytes(ending)
            middle = mixed(state, int.from_bytes(word, "little"))
            wanted = wanted or middle ^ int.from_bytes(b"UUUUUUUU", "little")
            second = (middle ^ wanted).to_bytes(8, "little")
            if all(byte in letters for byte in second):
                found.append(word + second)
        blocks.append(found)
        state = mixed(0, wanted)
    return [(b"".join(patient), b"x") for patient in itertools.islice(itertools.product(*blocks), MANY)]


COLLIDING: dict[str, Callable[[], list[Pair]]] = {"short": short_keys, "long": long_keys}


@pytest.fixture(scope="module", params=COLLIDING.values(), ids=list(COLLIDING))
def colliding(request: pytest.FixtureRequest) -> list[Pair]:
    """100,000 keys that took each other's places."""
    keys: list[Pair] = request.param()
    assert len(set(keys)) == MANY
    return keys


def rows(pairs: Iterable[Pair]) -> bytes:
    return b"".join(b"%b,t,%b,1\n" % pair for pair in pairs)


def found(tally: Any) -> dict[Pair, int]:
    counts = tally.finish()
    patients, left_out = counts.patients, counts.left_out
    assert not left_out
    return {(patient.encode(), kind.encode()): n for patient, types in patients.items() for kind, n in types.items()}


def test_keys_that_collide_without_a_seed_are_found_at_once(new_native_tally: Any, colliding: list[Pair]) -> None:
    tally = new_native_tally()
    tally.feed(HEADER + rows(colliding))
    assert tally.longest_probe() <= LONGEST_PROBE
    assert found(tally) == dict.fromkeys(colliding, 1)


# ---- A seed that all keys of one type share a hash by ----


def bad_seed(kind: bytes) -> bytes:
    """Return the seed by which one factor of each product is 0."""
    word = kind.ljust(8, b"\0")
    return bytes(8) + word + word + bytes(SEED_BYTES - 24)


@pytest.mark.parametrize("length", [4, 12, 40])
@pytest.mark.parametrize("chunk", [1 << 20, 1000])
def test_a_seed_that_keys_collide_by_is_given_up(new_native_tally: Any, length: int, chunk: int) -> None:
    pairs = [(str(n).rjust(length, "0").encode(), b"x") for n in range(3000)]
    pairs = random.Random(1).sample(pairs * 3, 9000)  # so that pairs are looked up while the seed changes
    body = HEADER + rows(pairs)
    tally = new_native_tally(seed=bad_seed(b"x"))
    for at in range(0, len(body), chunk):
        tally.feed(body[at : at + chunk])
        assert tally.longest_probe() <= LONGEST_PROBE
    assert found(tally) == Counter(pairs)


def test_the_bad_seed_is_one(new_native_tally: Any) -> None:
    for length in (4, 12, 40):
        tally = new_native_tally(seed=bad_seed(b"x"))
        tally.feed(HEADER + rows((str(n).rjust(length, "0").encode(), b"x") for n in range(200)))
        assert tally.longest_probe() == 199


# ---- Seeds ----

FIELDS = st.binary(min_size=1, max_size=40).map(lambda raw: raw.hex().encode())


@examples(50, 1000)
@given(
    pairs=st.lists(st.tuples(FIELDS, st.sampled_from([b"x", b"y", b"a-type-of-18-bytes"])), max_size=200),
    times=st.integers(1, 40),
    seed=st.one_of(
        st.just(bytes(SEED_BYTES)),
        st.just(b"\xff" * SEED_BYTES),
        st.sampled_from([b"x", b"y"]).map(bad_seed),
        st.binary(min_size=SEED_BYTES, max_size=SEED_BYTES),
    ),
)
def test_no_answer_depends_on_the_seed(new_native_tally: Any, pairs: list[Pair], times: int, seed: bytes) -> None:
    body = HEADER + rows(pairs) * times
    answers = []
    for tally in (ReferenceTally(), new_native_tally(), new_native_tally(seed=seed)):
        tally.feed(body)
        patients = tally.finish().patients
        answers.append([(patient, list(types.items())) for patient, types in patients.items()])  # in this order, too
    assert answers[0] == answers[1] == answers[2]


def numbered(count: int) -> Iterator[Pair]:
    return ((b"patient-%06d" % n, b"bp_sys") for n in range(count))


def test_each_tally_has_a_seed_of_its_own(new_native_tally: Any) -> None:
    probes = set()
    for _ in range(40):
        tally = new_native_tally()
        tally.feed(HEADER + rows(numbered(2000)))
        probes.add(tally.longest_probe())
    assert len(probes) > 1


def test_the_same_seed_is_the_same_table(new_native_tally: Any) -> None:
    probes = set()
    for _ in range(10):
        tally = new_native_tally(seed=bytes(range(SEED_BYTES)))
        tally.feed(HEADER + rows(numbered(2000)))
        probes.add(tally.longest_probe())
    assert len(probes) == 1


@pytest.mark.parametrize("seed", [b"", bytes(SEED_BYTES - 1), bytes(SEED_BYTES + 1)])
def test_a_seed_has_its_length(new_native_tally: Any, seed: bytes) -> None:
    with pytest.raises(ValueError, match="seed must be 40 bytes"):
        new_native_tally(seed=seed)


def test_an_ended_tally_tells_no_probes(new_native_tally: Any) -> None:
    tally = new_native_tally()
    tally.feed(HEADER)
    tally.finish()
    with pytest.raises(ValueError, match="this tally has ended"):
        tally.longest_probe()
