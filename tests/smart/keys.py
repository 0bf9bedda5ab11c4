"""Keys of clients, made once for all tests, and assertions that are signed with them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import TYPE_CHECKING, Any

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

if TYPE_CHECKING:
    from pathlib import Path

CLIENT = "my-client"
TOKEN_URL = "https://ehr.example/fhir/token"
NOW = 1_750_000_000.0
ALGORITHM = {"rsa": "RS384", "ec": "ES384"}


def key(kind: str = "ec", number: int = 0) -> Any:
    """A private key; another one for each number."""
    return made_key(kind, number)


@cache
def made_key(kind: str, number: int) -> Any:
    parameters: Any = {"kid": f"{kind}-{number}", "use": "sig"}
    if kind == "rsa":
        return RSAKey.generate_key(2048, parameters)
    return ECKey.generate_key("P-384", parameters)


def public(kind: str = "ec", number: int = 0) -> dict[str, Any]:
    fields: dict[str, Any] = key(kind, number).as_dict(private=False)
    return fields


def private(kind: str = "ec", number: int = 0) -> dict[str, Any]:
    fields: dict[str, Any] = key(kind, number).as_dict(private=True)
    return fields


def write_key(path: Path, kind: str = "ec", written: str = "jwk") -> Path:
    """Write a private key to a file, in one of the ways."""
    if written == "pem":
        path.write_bytes(key(kind).as_pem(private=True))
    elif written == "jwks":
        path.write_text(json.dumps({"keys": [public("rsa", 1), private(kind), public("ec", 1)]}))
    else:
        path.write_text(json.dumps(private(kind)))
    return path


def write_clients(path: Path, *keys: dict[str, Any], **fields: Any) -> Path:
    listed = list(keys) or [public("ec"), public("rsa")]
    path.write_text(json.dumps({CLIENT: {"jwks": {"keys": listed}, **fields}}))
    return path


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a sound assertion, but for the changes; None leaves one out."""
    sound = {"iss": CLIENT, "sub": CLIENT, "aud": TOKEN_URL, "jti": "1", "exp": int(NOW) + 300}
    return {name: value for name, value in {**sound, **changes}.items() if value is not None}


def signed(body: dict[str, Any], kind: str = "ec", number: int = 0, **header: Any) -> str:
    used = key(kind, number)
    fields = {"alg": ALGORITHM[kind], "kid": used.kid, "typ": "JWT", **header}
    return jwt.encode({name: value for name, value in fields.items() if value is not None}, body, used,
                      algorithms=["RS384", "ES384", "RS256"], default_type=None)  # fmt: skip


def by_hand(header: dict[str, Any], body: Any, secret: bytes | None = None) -> str:
    """An assertion that no library would sign; its signature is an HMAC with `secret`, or empty."""
    start = ".".join(base64url(json.dumps(part).encode()) for part in (header, body))
    signature = hmac.new(secret, start.encode(), hashlib.sha256).digest() if secret is not None else b""
    return f"{start}.{base64url(signature)}"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
