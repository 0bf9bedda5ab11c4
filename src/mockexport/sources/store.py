"""StoreSource: the exports below a prefix of an object store, by the rules of a folder of exports (`FolderSource`)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mockexport.errors import NotFoundError
from mockexport.extras import needs_extra
from mockexport.sources.folder import FolderSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockexport.model import Download
    from mockexport.source import CancelToken, Chunks, Declared, OnRetry
    from mockexport.stores import StoreSettings

__all__ = ["StoreSource"]


class StoreSource:
    """The exports below `url`, such as `s3://bucket/prefix`, but for the objects that `ignore` matches.

    Raises UsageError for a URL, an endpoint or a timeout that is not valid, and without the [cloud] extra.
    """

    def __init__(self, url: str, settings: StoreSettings | None = None, *, ignore: Sequence[str] = ()) -> None:
        self._url = url.rstrip("/")
        self._settings = settings
        self._ignore = tuple(ignore)
        with needs_extra("cloud"):
            from mockexport.stores import StorePath
        self._root = StorePath.of(url, settings)
        self._folder: FolderSource | None = None
        self._opening = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle how to reach it: another process opens the store anew, with credentials that it finds itself."""
        return _unpickled, (self._url, self._settings, self._ignore)

    @property
    def name(self) -> str:
        """The URL, as the user wrote it."""
        return self._url

    def exports(self) -> list[str]:
        """List what is below the URL now, and return the exports in it."""
        return self._listed_anew().exports()

    def downloads(self, export: str) -> list[Download]:
        """List what is below the URL now, and return the downloads of an export."""
        return self._listed_anew().downloads(export)

    def declared(self, export: str) -> Declared:
        """Return what the manifest of an export declares, and how its objects differ."""
        return self._listed_anew().declared(export)

    def open(
        self,
        download: Download,
        offset: int = 0,
        *,
        on_retry: OnRetry | None = None,
        cancel: CancelToken | None = None,
    ) -> Chunks:
        """Stream an object, unpacked, from byte `offset` of the text on."""
        with self._opening:  # in a new process, one thread lists for all
            folder = self._opened()
        return folder.open(download, offset, on_retry=on_retry, cancel=cancel)

    def close(self) -> None:
        """Release connections."""
        self._root.close()

    def _listed_anew(self) -> FolderSource:
        self._root.tree.forget()
        return self._opened()

    def _opened(self) -> FolderSource:
        if self._folder is None:
            if not self._root.is_dir():
                raise NotFoundError(f"there is nothing below {self._url}/; check the name of the bucket and the prefix")
            self._folder = FolderSource(self._root, ignore=self._ignore)
        return self._folder


def _unpickled(url: str, settings: StoreSettings | None, ignore: tuple[str, ...]) -> StoreSource:
    return StoreSource(url, settings, ignore=ignore)
