"""HttpSource: a server that speaks docs/wire.md, as a Source.

It takes such servers as they are: chunked bodies without a length, no ETag, ranges ignored. What it hands on is what
was sent, whole, and of the version that was listed; a body that ends before its time, or whose end nothing proves, is
an error and never an end.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import orjson

from mockexport.errors import (
    MockExportError,
    NotFoundError,
    UnreachableError,
    UntrustedDataError,
    UsageError,
    no_such,
)
from mockexport.http import (
    Client,
    ClientSettings,
    Retries,
    RetryableError,
    content_coding,
    content_length,
    etag_of,
)
from mockexport.identity import is_strong
from mockexport.wire import API, MEDIA_TYPES, download_path, export_path, read_download, read_export, read_exports

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from mockexport.http import Authorization
    from mockexport.model import Download
    from mockexport.source import CancelToken, Chunks, OnRetry

__all__ = ["HttpSource"]

T = TypeVar("T")

METADATA_AT_ONCE = 8
METADATA_AHEAD = 64  # so that one slow answer doesn't hold up the seven others
LOOK_SECONDS = 0.5
REDIRECTS = 20
SPLIT_BYTES = 1 << 30  # worth a request of its own, wherever the server is
JSON_LIMIT = 64 << 20  # bytes; the ids of a million downloads fit
URL_SHOWN = 200

OK, PARTIAL, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, GONE, UNSATISFIABLE, UNPROCESSABLE = (
    200, 206, 401, 403, 404, 410, 416, 422,
)  # fmt: skip
SERVER_ERROR = 500  # and above


class HttpSource:
    """The exports of a server; `url` is its root, the part before `/api/export`.

    The other arguments are those of `ClientSettings`.
    Raises UsageError for a URL or a timeout that is not valid, and, once it is used, for certificates that cannot be
    read and a proxy of the environment that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        retries: Retries | None = None,
        token: str | None = None,
        ca_bundle: str | None = None,
        allow_unproven_end: bool = False,
        authorization: Authorization | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._client = Client(
            ClientSettings(url, timeout, retries or Retries(), token, ca_bundle, allow_unproven_end, authorization)
        )
        self._answers_head = True

    @property
    def name(self) -> str:
        """The URL, as the user wrote it."""
        return self._url

    def exports(self) -> list[str]:
        """Ask for the ids of the exports."""
        return self._ask(API, read_exports)

    def downloads(self, export: str) -> Iterator[Download]:
        """Ask for an export's downloads: for their ids now, for each one's metadata as it is taken."""
        if not export:  # its path would be that of the list of exports
            raise no_such("export", export, self.name, self.exports())
        try:
            ids = self._ask(export_path(export), read_export)
        except NotFoundError:
            raise no_such("export", export, self.name, self.exports()) from None
        return _Listing(self._metadata(export, ids), len(ids))

    def _metadata(self, export: str, ids: Sequence[str]) -> Generator[Download, None, None]:
        """Ask for the metadata of downloads, several at a time; what is asked for and not yet taken is bounded."""

        def ask(name: str) -> Download:
            path = download_path(export, name)
            download = self._ask(path, lambda answer: read_download(export, name, answer))
            return replace(download, **self._ask_body(f"{self._url}{path}/data", MEDIA_TYPES[download.format]))

        executor = ThreadPoolExecutor(max(1, min(METADATA_AT_ONCE, len(ids))))
        asked: deque[Future[Download]] = deque()
        try:
            for name in ids:
                if len(asked) == METADATA_AHEAD:
                    yield _result(asked.popleft())
                asked.append(executor.submit(ask, name))
            while asked:
                yield _result(asked.popleft())
        finally:  # after an error, or Ctrl-C, nobody waits for the others
            executor.shutdown(wait=False, cancel_futures=True)

    def open(
        self,
        download: Download,
        offset: int = 0,
        *,
        on_retry: OnRetry | None = None,
        cancel: CancelToken | None = None,
    ) -> Chunks:
        """Stream a download's bytes from byte `offset` on, as `Client.stream` does."""
        url = f"{self._url}{download_path(download.export, download.id)}/data"
        return self._client.stream(url, download, offset, on_retry=on_retry, cancel=cancel)

    def close(self) -> None:
        """Break off all running requests, and close all connections."""
        self._client.close()

    def _ask(self, path: str, read: Callable[[object], T]) -> T:
        """Send a request for JSON until it is answered, and read the answer."""
        url = self._url + path
        body = self._client.retrying(partial(self._ask_once, url))
        try:
            return read(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise UntrustedDataError(f"{url} did not send valid JSON: {error}; is it an export server?") from error
        except UntrustedDataError as error:
            raise UntrustedDataError(f"{url[:URL_SHOWN]}: {error}") from error

    def _ask_body(self, url: str, media_type: str) -> dict[str, Any]:
        """Ask what names a download's bytes; many servers don't say, and one that refuses is not asked again.

        Where any of these very bytes can be asked for, the download can be split.
        """
        if self._answers_head:
            try:
                with self._client.request(url, {"Accept": media_type}, method="HEAD") as response:
                    etag = etag_of(response)
                    packed = content_coding(response) != "identity"
                    size = None if packed else content_length(response) or None  # some say 0 whatever GET sends
                    can_be_split = (
                        is_strong(etag)
                        and size is not None
                        and response.headers.get("Accept-Ranges", "").strip().lower() == "bytes"
                    )
                    return {"etag": etag, "size": size, "split_size": SPLIT_BYTES if can_be_split else None}
            except (RetryableError, UnreachableError, NotFoundError):
                pass
            except UsageError:
                raise
            except MockExportError:
                self._answers_head = False
        return {}

    def _ask_once(self, url: str) -> bytes:
        with self._client.request(url, {"Accept": "application/json"}) as response:
            return self._client.read(response, JSON_LIMIT)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments: another process makes connections of its own."""
        return _made_again, (self._client.settings,)


class _Listing:
    """Downloads whose metadata is asked for as they are taken; `operator.length_hint` tells how many they are."""

    def __init__(self, downloads: Generator[Download, None, None], total: int) -> None:
        self._downloads = downloads
        self._left = total

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Download:
        self._left -= 1
        return next(self._downloads)

    def __length_hint__(self) -> int:
        return max(0, self._left)

    def close(self) -> None:
        """Ask for no more."""
        self._downloads.close()


def _result(future: Future[T]) -> T:
    """Wait for a result in short waits: one that begins just after Ctrl-C was pressed is not interrupted by it."""
    while not wait((future,), LOOK_SECONDS).done:
        pass
    return future.result()


def _made_again(settings: ClientSettings) -> HttpSource:
    return HttpSource(**settings._asdict())
