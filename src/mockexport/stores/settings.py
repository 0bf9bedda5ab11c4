"""URLs of object stores, and how one is spoken to."""

from __future__ import annotations

import re
import threading
from typing import NamedTuple

from mockexport.errors import UsageError
from mockexport.http import Retries

__all__ = ["StoreSettings", "check_store_url", "is_store_url"]

URL = re.compile(r"(s3|gs|az)://([^/?#@:]+)(?:/(.*))?", re.DOTALL)
SCHEME = re.compile(r"(?:s3|gs|az)://")
EXAMPLE = "a store is s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"


class StoreSettings(NamedTuple):
    """How a store is spoken to; a value that can be pickled, without credentials: each process looks for its own.

    `endpoint` is the URL of another server than the cloud's own. `timeout`, in seconds, bounds each wait for the store,
    `retries` how often and for how long it is retried. `ca_bundle` is a file of certificates to trust, too.
    """

    endpoint: str | None = None
    timeout: float = 30.0
    retries: Retries = Retries()
    ca_bundle: str | None = None

    def check(self) -> None:
        """Raise UsageError for an endpoint that is not a URL, and a timeout that is not valid."""
        if self.endpoint is not None and not re.fullmatch(r"https?://[^\s/]+.*", self.endpoint):
            raise UsageError(f"the endpoint {self.endpoint!r} is not a URL such as http://localhost:9000")
        if not 0 < self.timeout <= threading.TIMEOUT_MAX:  # nan too
            raise UsageError(f"a timeout of {self.timeout:g} s is not valid")


def is_store_url(text: str) -> bool:
    """Tell whether a text is meant as the URL of something in an object store."""
    return SCHEME.match(text) is not None


def check_store_url(url: str) -> tuple[str, str, str]:
    """Return the scheme, the bucket or container, and the path in it. Raises UsageError if the URL is not valid."""
    found = URL.fullmatch(url)
    path = (found[3] or "").strip("/") if found else ""
    if not found or "//" in path or {".", ".."} & set(path.split("/")):
        raise UsageError(f"{url} is not the URL of something in a store; {EXAMPLE}")
    return found[1], found[2], path
