"""The tokens of a client that a FHIR server knows: SMART Backend Services, over our own HTTP."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mockexport.errors import UsageError
from mockexport.http import Client, ClientSettings, RetryableError, httpx
from mockexport.smart import Answer, KeyFile, SecretFile, SmartTokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mockexport.fhir_export import FhirExport
    from mockexport.smart import Credentials

__all__ = ["smart_tokens"]

ANSWER_LIMIT = 1 << 20  # bytes


def smart_tokens(settings: ClientSettings, export: FhirExport) -> SmartTokens | None:
    """Return what gets tokens for the client that an export names; None without one.

    Raises UsageError where it has not one proof, a key or a secret, or where there is a token as well.
    """
    if export.client_id is None:
        if export.key or export.client_secret:
            raise UsageError("a key or a secret needs the client_id by which the server knows the client")
        return None
    if settings.token:
        raise UsageError("a client_id gets tokens by itself; leave out the other token")
    credentials: Credentials
    if export.key and not export.client_secret:
        credentials = KeyFile(export.client_id, export.key)
    elif export.client_secret and not export.key:
        credentials = SecretFile(export.client_id, export.client_secret)
    else:
        raise UsageError("a client_id needs a key or a client_secret, one of the two")
    return SmartTokens(settings.url, credentials, SendPlainly(settings), scope=export.scope)


class SendPlainly:
    """Sends a request without a token, and follows no redirect. A proof is sent once: a server refuses it again."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings._replace(token=None, authorization=None)
        self._client = Client(self._settings)

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, /) -> Answer:
        """Send it, and return the answer, whatever its status."""
        send = partial(self._send, method, url, headers, body)
        try:
            return self._client.retrying(send) if method == "GET" else send()
        except RetryableError as failure:
            raise failure.error from failure
        finally:
            self._client.close()  # tokens are asked for now and then, and nobody else knows of its connections

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        with self._client.request(
            url, headers, method=method, content=body, follow=False, check=_any_status
        ) as response:
            return Answer(response.status_code, self._client.read(response, ANSWER_LIMIT))

    def __reduce__(self) -> tuple[type[SendPlainly], tuple[ClientSettings]]:
        return SendPlainly, (self._settings,)


def _any_status(_response: httpx.Response, _url: str) -> None:
    """Leave the status to the caller."""
