"""The check of what a client proves itself with: an assertion, a JWT that it has signed (RFC 7523)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from mockexport.extras import needs_extra
from mockexport.smart.keys import ALGORITHMS

with needs_extra("smart"):
    from joserfc import jws, jwt
    from joserfc.errors import JoseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mockexport.smart.clients import Client

__all__ = ["Assertion", "Refused", "check_assertion"]

LONGEST_SECONDS = 300
LONGEST_ASSERTION = 16_384  # characters
LONGEST_ID = 256


class Refused(Exception):  # noqa: N818 - what RFC 6749 calls an error, for the answer
    """Why a client gets no token: a code of RFC 6749, section 5.2, and a sentence."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error, description)
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a sound assertion says: the client, the id of the assertion, and the second at which it ends."""

    client_id: str
    jti: str
    exp: float


def check_assertion(assertion: str, clients: Mapping[str, Client], token_url: str, now: float) -> Assertion:
    """Check an assertion, all but whether its id was used before. Raises Refused.

    The key is found by the client and the `kid`, then the signature is checked, then the claims are.
    """
    if len(assertion) > LONGEST_ASSERTION:
        raise _refused(f"the assertion is longer than {LONGEST_ASSERTION:,} characters")
    try:
        unproven = jws.extract_compact(assertion.encode())
        header, client_id = unproven.headers(), _issuer(unproven.payload)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        raise _refused("the assertion is not a JWT") from None
    if header.get("alg") not in ALGORITHMS:
        raise _refused("the assertion is signed by another algorithm than RS384 and ES384")
    if header.get("typ") != "JWT":
        raise _refused("the typ of the assertion is not JWT")
    client = clients.get(client_id)
    if client is None:
        raise _refused("the client is not registered")
    kid = header.get("kid")
    key = client.keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise _refused("the kid of the assertion is not that of a registered key")
    try:
        claims = jwt.decode(assertion, key, algorithms=ALGORITHMS).claims
    except (JoseError, ValueError, TypeError):
        raise _refused("the signature of the assertion is not valid") from None
    return _checked(claims, client_id, token_url, now)


def _checked(claims: Mapping[str, Any], client_id: str, token_url: str, now: float) -> Assertion:
    if claims.get("sub") != client_id:
        raise _refused("the iss and the sub of the assertion differ")
    if claims.get("aud") not in (token_url, [token_url]):
        raise _refused("the aud of the assertion is not the URL of the token endpoint")
    exp, jti = claims.get("exp"), claims.get("jti")
    if isinstance(exp, bool) or not isinstance(exp, int | float):
        raise _refused("the exp of the assertion is not a number")
    if not now < exp:
        raise _refused("the assertion has expired")
    if not exp <= now + LONGEST_SECONDS:
        raise _refused("the exp of the assertion is more than five minutes ahead")
    before = claims.get("nbf", 0)
    if isinstance(before, bool) or not isinstance(before, int | float) or not before <= now:
        raise _refused("the assertion is not valid yet")
    if not isinstance(jti, str) or not 0 < len(jti) <= LONGEST_ID:
        raise _refused("the assertion has no jti")
    return Assertion(client_id, jti, exp)


def _issuer(payload: bytes) -> str:
    """Return the client that an assertion says it is of."""
    client_id = orjson.loads(payload)["iss"]
    if not isinstance(client_id, str):
        raise TypeError
    return client_id


def _refused(description: str) -> Refused:
    return Refused("invalid_client", description)
