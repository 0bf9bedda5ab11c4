"""What a client proves itself with: a private key, or a secret. Each is a file, read when it is needed.

So what is pickled, printed and logged is a path.
"""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote_plus

import orjson

from mockexport.errors import MockExportError, UsageError
from mockexport.extras import needs_extra
from mockexport.place import read_whole

if TYPE_CHECKING:
    from pathlib import Path

    from mockexport.smart.keys import Key

__all__ = ["ASSERTION_TYPE", "Credentials", "KeyFile", "Proof", "SecretFile"]

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 240  # 300 at most; a server's clock may be behind


@dataclass(frozen=True, slots=True, repr=False)
class Proof:
    """What is added to a request for a token: fields of the form, headers, and the texts that must not be shown."""

    fields: dict[str, str]
    headers: dict[str, str]
    hidden: tuple[str, ...]


class Credentials(Protocol):
    """Proves who a client is."""

    @property
    def client_id(self) -> str:
        """The id by which the server knows the client."""

    def proof(self, token_url: str, now: float) -> Proof:
        """Prove it to the server at `token_url`, once. Raises UsageError for a file that cannot be used."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A private key: a JWK, a JWKS with one private key, or PEM; RSA for RS384, or EC on the curve P-384 for ES384.

    Its id is the `kid` of the JWK, or else its thumbprint (RFC 7638).
    """

    client_id: str
    path: Path

    def proof(self, token_url: str, now: float) -> Proof:
        """Sign an assertion."""
        with needs_extra("smart"):
            from joserfc import jwt
            from joserfc.errors import JoseError

            from mockexport.smart.keys import ALGORITHMS, kid_of

        key = self._key()
        header = {
            "alg": "RS384" if key.key_type == "RSA" else "ES384",
            "kid": kid_of(key),
            "typ": "JWT",
        }
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": token_url,
            "jti": str(uuid.uuid4()),
            "exp": int(now) + ASSERTION_SECONDS,
        }
        try:
            assertion = jwt.encode(header, claims, key, algorithms=ALGORITHMS)
        except JoseError as error:  # it is for another use, or another algorithm
            raise self._refused(str(error)) from None
        fields = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
        return Proof(fields, {}, tuple(assertion.split(".")))

    def _key(self) -> Key:
        """Read the file. Raises UsageError, which never shows the content."""
        from mockexport.smart.keys import UnusableKeyError, key_of_jwk, key_of_pem

        data = _read(self.path, "key")
        try:
            key = key_of_jwk(_private_jwk(data)) if data.lstrip().startswith(b"{") else key_of_pem(data)
        except orjson.JSONDecodeError:
            raise self._refused("it is not valid JSON") from None
        except UnusableKeyError as problem:
            raise self._refused(str(problem)) from None
        if not key.is_private:
            raise self._refused("it is a public key; the private one is needed")
        return key

    def _refused(self, problem: str) -> UsageError:
        return UsageError(f"the key {self.path} cannot be used: {problem}")


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A client secret, on the first line of a file; sent as HTTP Basic authentication (RFC 6749, section 2.3.1)."""

    client_id: str
    path: Path

    def proof(self, token_url: str, now: float) -> Proof:  # noqa: ARG002 - a secret is the same each time
        """Return the header with the secret."""
        try:
            secret = _read(self.path, "client secret").decode().partition("\n")[0].strip()
        except UnicodeDecodeError:
            raise UsageError(f"the client secret {self.path} is not UTF-8 text") from None
        if not secret:
            raise UsageError(f"{self.path} has no client secret on its first line")
        written = quote_plus(secret)
        basic = base64.b64encode(f"{quote_plus(self.client_id)}:{written}".encode()).decode()
        return Proof({}, {"Authorization": f"Basic {basic}"}, (basic, secret, written))


def _read(path: Path, what: str) -> bytes:
    try:
        return read_whole(path)
    except MockExportError as error:
        raise UsageError(f"cannot read the {what}: {error}") from None
    except OSError as error:
        raise UsageError(f"cannot read the {what} {path}: {error.strerror or error}") from None


def _private_jwk(data: bytes) -> Any:
    """Return the JWK in a file, or the private one of a JWKS."""
    from mockexport.smart.keys import UnusableKeyError

    document = orjson.loads(data)
    keys = document.get("keys")
    if keys is None:
        return document
    private = [key for key in keys if isinstance(key, dict) and "d" in key] if isinstance(keys, list) else []
    if len(private) != 1:
        raise UnusableKeyError(f"it holds {len(private)} private keys, not one")
    return private[0]
