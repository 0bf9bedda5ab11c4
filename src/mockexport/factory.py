"""From what a user calls a source to the Source itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mockexport.errors import UsageError

if TYPE_CHECKING:
    from mockexport.source import Source

__all__ = ["open_source"]


def open_source(
    name: str | Path = "mock",
    *,
    kernel: str = "auto",
    timeout: float = 30.0,
    retries: int = 5,
    retry_budget: float = 300.0,
    token: str | None = None,
    ca_bundle: str | Path | None = None,
    allow_unproven_end: bool = False,
) -> Source:
    """Return the Source that `name` means: `mock`, an http(s) URL, or a folder (a folder called mock is `./mock`).

    A folder holds exports as CSV files, or what `mockexport serve --data` keeps there.

    `kernel` is the twin that makes mock exports up: `native`, `pure`, or `auto` for the native one when there is one.
    The rest is for servers: `timeout`, in seconds, bounds each wait for one; `retries` is how often a request is tried
    again without progress, `retry_budget` the seconds that the tries for one download may take in all; `token` is sent
    as a bearer token, to this origin alone; `ca_bundle` is a file of certificates to trust in place of the usual ones;
    `allow_unproven_end` takes a body for whole that ends with its connection, where nothing else proves its end.

    Raises UsageError for another kind of URL, and NotFoundError when there is no such folder. Close the source when
    done, or use `contextlib.closing`.
    """
    if name == "mock":
        from mockexport.sources import MockSource

        return MockSource(kernel)
    scheme, separator, _ = str(name).partition("://")
    if not separator:
        return _open_folder(Path(name))
    if scheme.lower() not in ("http", "https"):
        raise UsageError(f"source {name!s} is neither http nor https; a source is mock, a folder or an http(s) URL")
    from mockexport.http import Retries
    from mockexport.sources import HttpSource

    return HttpSource(
        str(name),
        timeout=timeout,
        retries=Retries(retries, retry_budget),
        token=token,
        ca_bundle=None if ca_bundle is None else str(ca_bundle),
        allow_unproven_end=allow_unproven_end,
    )


def _open_folder(folder: Path) -> Source:
    """Return what is in a folder: heart-rate readings, by the file that marks them, or exports."""
    if _holds_readings(folder):
        from mockexport.extras import needs_extra

        with needs_extra("heartrate"):
            from mockexport.heartrate import HeartRateSource

            return HeartRateSource(folder)
    from mockexport.sources import FolderSource

    return FolderSource(folder)


def _holds_readings(folder: Path) -> bool:
    from mockexport.heartrate import is_heart_rate_folder

    try:
        return is_heart_rate_folder(folder)
    except OSError:  # a folder that can't be looked into: FolderSource says so
        return False
