"""Keys that assertions are signed with: RSA of 2048 bits or more for RS384, EC on the curve P-384 for ES384."""

from __future__ import annotations

from typing import Any, TypeAlias

from mockexport.extras import needs_extra

with needs_extra("smart"):
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, RSAKey

__all__ = ["ALGORITHMS", "Key", "UnusableKeyError", "key_of_jwk", "key_of_pem", "kid_of"]

ALGORITHMS = ("RS384", "ES384")
"""How assertions are signed."""

CURVE = "P-384"
RSA_BITS = 2048

Key: TypeAlias = RSAKey | ECKey


class UnusableKeyError(Exception):
    """Why a key cannot be used; it never shows the key."""


def key_of_jwk(fields: Any) -> Key:
    """Read a JWK, private or public. Raises UnusableKeyError."""
    kind, modulus = (fields.get("kty"), fields.get("n")) if isinstance(fields, dict) else (None, None)
    if kind not in ("RSA", "EC"):
        raise UnusableKeyError("it is not a JWK of the type RSA or EC")
    if kind == "EC" and fields.get("crv") != CURVE:
        raise UnusableKeyError(f"its curve is not {CURVE}")
    if kind == "RSA" and isinstance(modulus, str) and len(modulus) * 6 < RSA_BITS:
        raise UnusableKeyError(f"RSA needs {RSA_BITS} bits")
    try:
        return RSAKey.import_key(fields) if kind == "RSA" else ECKey.import_key(fields)
    except (JoseError, ValueError, TypeError, KeyError):
        raise UnusableKeyError("it is not a valid JWK") from None


def key_of_pem(data: bytes) -> Key:
    """Read a private key in PEM. Raises UnusableKeyError."""
    try:
        key = load_pem_private_key(data, None)
    except TypeError:
        raise UnusableKeyError("it is encrypted with a password, which is not supported") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKeyError("it is neither a private key in PEM nor a JWK") from None
    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name == "secp384r1":
        return ECKey.import_key(data)
    if isinstance(key, RSAPrivateKey) and key.key_size >= RSA_BITS:
        return RSAKey.import_key(data)
    raise UnusableKeyError(f"it is neither RSA of {RSA_BITS} bits or more nor EC on the curve {CURVE}")


def kid_of(key: Key) -> str:
    """Return the id of a key: its `kid`, or else its thumbprint (RFC 7638)."""
    return key.kid or key.thumbprint()
