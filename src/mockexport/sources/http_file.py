"""HttpFileSource: one file at an http(s) URL, such as a presigned URL of an object store.

A presigned URL is signed for GET alone, so HEAD is not used: a GET of the first byte tells the size and the ETag. Its
query is as good as a password, and is in no name and no message.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mockexport.errors import MockExportError, NotAuthorisedError, UsageError, no_such
from mockexport.http import Client, ClientSettings, content_coding, content_length, content_range, etag_of
from mockexport.identity import is_strong
from mockexport.model import Download
from mockexport.sources.data_files import compression, data_format, data_id
from mockexport.wire import MEDIA_TYPES

if TYPE_CHECKING:
    from collections.abc import Generator

    from mockexport.source import CancelToken, Chunks, OnRetry

__all__ = ["HttpFileSource"]

PARTIAL = 206
EXPIRED = "if it is a signed URL, it may have expired: ask for a new one, and quote it whole in the shell"
SPLIT_BYTES = 1 << 30  # worth a request of its own, wherever the server is


class HttpFileSource:
    """One export with one download: the file at `settings.url`, whose name ends in `.csv`, `.ndjson` and the like.

    Raises UsageError for a compressed one, and for settings that are not valid.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._url = settings.url
        self._name, _, self._query = self._url.partition("?")
        self._client = Client(settings._replace(url=self._name))
        file = unquote(urlsplit(self._name).path).rpartition("/")[2]
        if compression(file):
            raise UsageError(f"{self._name} is compressed; fetch it, and name the file as the source")
        self._id, self._format = data_id(file), data_format(file)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings: another process makes connections of its own."""
        return HttpFileSource, (self._settings,)

    @property
    def name(self) -> str:
        """The URL, without its query."""
        return self._name

    def exports(self) -> list[str]:
        """Return the id of the one export."""
        return [self._id]

    def downloads(self, export: str) -> list[Download]:
        """Ask for the size and the ETag, and return the one download."""
        if export != self._id:
            raise no_such("export", export, self._name, [self._id])
        with self._hiding():
            known = self._client.retrying(partial(self._ask, {"Range": "bytes=0-0"}))
        return [Download(export, self._id, format=self._format, **known)]

    def _ask(self, headers: dict[str, str]) -> dict[str, Any]:
        headers = {"Accept": MEDIA_TYPES[self._format], **headers}
        with self._client.request(self._url, headers) as response:
            etag = etag_of(response)
            if content_coding(response) != "identity":
                return {"etag": etag}
            is_part = response.status_code == PARTIAL
            size = content_range(response)[2] if is_part else content_length(response)
            can_be_split = is_part and is_strong(etag) and size is not None
            return {"etag": etag, "size": size, "split_size": SPLIT_BYTES if can_be_split else None}

    def open(
        self,
        download: Download,
        offset: int = 0,
        *,
        on_retry: OnRetry | None = None,
        cancel: CancelToken | None = None,
    ) -> Chunks:
        """Stream the file from byte `offset` on, as `Client.stream` does."""
        with self._hiding():
            yield from self._client.stream(self._url, download, offset, on_retry=on_retry, cancel=cancel)

    def close(self) -> None:
        """Break off all running requests, and close all connections."""
        self._client.close()

    @contextmanager
    def _hiding(self) -> Generator[None, None, None]:
        """Leave the query out of errors; where the URL is refused, tell what may help."""
        try:
            yield
        except MockExportError as error:
            if self._query and isinstance(error, NotAuthorisedError):
                message = error.message.replace(f"?{self._query}", "")
                raise NotAuthorisedError(f"{message}; {EXPIRED}") from None
            if not self._query or self._query not in error.message:
                raise
            message = error.message.replace(f"?{self._query}", "")
            raise type(error)(message, remedy=error.remedy) from None
