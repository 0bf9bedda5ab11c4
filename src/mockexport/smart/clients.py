"""The clients that a server knows: a JSON file with the public keys and the scopes of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from mockexport.errors import MockExportError, UsageError
from mockexport.place import read_whole
from mockexport.smart.keys import Key, UnusableKeyError, key_of_jwk, kid_of
from mockexport.smart.scopes import is_scope

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Client", "read_clients"]

ALL = "system/*.rs"


@dataclass(frozen=True, slots=True)
class Client:
    """A client: its public keys by their ids, and the scopes that it may have."""

    keys: dict[str, Key]
    scopes: tuple[str, ...] = (ALL,)


def read_clients(path: Path) -> dict[str, Client]:
    """Read a file such as `{"my-client": {"jwks": {"keys": [...]}, "scopes": ["system/*.rs"]}}`.

    Without `scopes`, a client may read all. Raises UsageError.
    """
    try:
        document = orjson.loads(read_whole(path))
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from None
    except MockExportError as error:
        raise UsageError(f"cannot read the clients: {error}") from None
    except OSError as error:
        raise UsageError(f"cannot read the clients {path}: {error.strerror or error}") from None
    if not isinstance(document, dict) or not document:
        raise UsageError(f"{path} is not an object of clients by their ids")
    return {client: _read_client(f"client {client!r} in {path}", fields) for client, fields in document.items()}


def _read_client(what: str, fields: Any) -> Client:
    jwks = fields.get("jwks") if isinstance(fields, dict) else None
    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(listed, list) or not listed:
        raise UsageError(f'{what} has no keys; "jwks" is a JWKS of public keys')
    keys: dict[str, Key] = {}
    for number, fields_of_key in enumerate(listed, start=1):
        key = _read_key(f"key {number} of {what}", fields_of_key)
        if keys.setdefault(kid_of(key), key) is not key:
            raise UsageError(f"{what} has two keys with the same kid")
    scopes = fields.get("scopes", [ALL])
    if not isinstance(scopes, list) or not scopes or not all(isinstance(scope, str) for scope in scopes):
        raise UsageError(f'the "scopes" of {what} are not a list such as ["{ALL}"]')
    for scope in scopes:
        if not is_scope(scope):
            raise UsageError(f"{what} has {scope!r}, which is no scope of a system such as {ALL}")
    return Client(keys, tuple(scopes))


def _read_key(what: str, fields: Any) -> Key:
    try:
        key = key_of_jwk(fields)
    except UnusableKeyError as problem:
        raise UsageError(f"{what} cannot be used: {problem}") from None
    if key.is_private:
        raise UsageError(f"{what} is a private key; register the public one, and keep the private one to the client")
    return key
