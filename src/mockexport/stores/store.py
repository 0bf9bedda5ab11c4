"""One bucket: its listings, and ranges of its objects, each of one version.

The library's calls run on an event loop in a thread of their own, so that a reader can leave one that waits: when it
is cancelled, or by Ctrl-C. Retries are ours (`http.schedule`), so that they are counted, shown and bounded as those of
other servers are.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from mockexport.errors import ChangedError, UnreachableError, UntrustedDataError, UsageError
from mockexport.http import RetryableError, schedule
from mockexport.identity import WEAK
from mockexport.source import CancelToken
from mockexport.stores.failures import judged

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from obstore.store import ObjectStore

    from mockexport.source import OnRetry
    from mockexport.stores.settings import StoreSettings

__all__ = ["Bucket", "Listing", "ObjectVersion"]

R = TypeVar("R")
T = TypeVar("T")

NEVER = timedelta(days=365)  # what is bounded is each wait, not a whole request
KINDS = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
ENDPOINT = {"s3": "endpoint", "gs": "base_url", "az": "endpoint"}
VARIABLES = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}


class ObjectVersion(NamedTuple):
    """The version of an object; the ETag is without quotes, and None where the store tells none."""

    etag: str | None
    size: int  # bytes


class Listing(NamedTuple):
    """What is directly below a prefix: names of what has more below it, and objects by their names."""

    folders: frozenset[str]
    objects: dict[str, ObjectVersion]


class Bucket:
    """A bucket or container; safe to share between threads, and made anew in each process.

    All methods raise NotFoundError, NotAuthorisedError, and, once the retries are used up, UnreachableError.
    """

    def __init__(self, scheme: str, name: str, settings: StoreSettings) -> None:
        settings.check()
        self._scheme, self._name, self._settings = scheme, name, settings
        self._lock = threading.Lock()
        self._opened: ObjectStore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = threading.Event()

    def url(self, key: str) -> str:
        """Return the URL of an object or a prefix."""
        return f"{self._scheme}://{self._name}/{key}".rstrip("/")

    def list(self, prefix: str) -> Listing:
        """Return what is directly below a prefix. A prefix that nothing is below has an empty listing."""

        async def work(store: ObjectStore) -> Any:
            return await obstore.list_with_delimiter_async(store, prefix or None)

        found = self._finished(partial(self._begin, work), self.url(prefix), lambda found: found)
        objects = {
            entry["path"].rpartition("/")[2]: ObjectVersion(_opaque(entry["e_tag"]), entry["size"])
            for entry in found["objects"]
            if entry["path"] != prefix  # what some tools leave in place of a folder
        }
        return Listing(frozenset(path.rpartition("/")[2] for path in found["common_prefixes"]), objects)

    def begin_read(self, key: str, etag: str | None, start: int, stop: int) -> Future[tuple[ObjectVersion, memoryview]]:
        """Request a range of an object, in bytes, of the version that `etag` names; hand it to `read`."""

        async def work(store: ObjectStore) -> tuple[ObjectVersion, memoryview]:
            options: Any = {"range": (start, stop)}
            if etag is not None:
                options["if_match"] = f'"{etag}"'
            result = await obstore.get_async(store, key, options=options)
            meta = result.meta
            data = await result.bytes_async()
            return ObjectVersion(_opaque(meta["e_tag"]), meta["size"]), memoryview(data)

        return self._begin(work)

    def read(
        self,
        key: str,
        version: ObjectVersion,
        start: int,
        stop: int,
        begun: Future[tuple[ObjectVersion, memoryview]] | None = None,
        *,
        budget: float,
        on_retry: OnRetry | None = None,
        cancel: CancelToken | None = None,
    ) -> tuple[str, memoryview]:
        """Return the ETag of an object, and the bytes of a range; `begun` is a request for it, if there is one.

        `budget` bounds the seconds that retries may take. Raises ChangedError for another version.
        """
        requests = [begun] if begun else []
        where = self.url(key)

        def request() -> Future[tuple[ObjectVersion, memoryview]]:
            return requests.pop() if requests else self.begin_read(key, version.etag, start, stop)

        def check(found: tuple[ObjectVersion, memoryview]) -> tuple[str, memoryview]:
            (etag, size), data = found
            if etag is None:
                raise UntrustedDataError(f"{where} has no ETag, so nothing tells whether it changes while it is read")
            if version.etag not in (None, etag) or size != version.size:
                raise ChangedError(f"{where} has changed since it was listed; run the command again")
            if len(data) != stop - start:
                raise RetryableError(UntrustedDataError(f"{where} was cut short after {start + len(data):,} bytes"))
            return etag, data

        return self._finished(request, where, check, budget, on_retry, cancel)

    def remove(self, key: str) -> None:
        """Remove an object, if it is there."""

        async def work(store: ObjectStore) -> None:
            with suppress(FileNotFoundError):  # S3 does not tell, others do
                await obstore.delete_async(store, key)

        self._finished(partial(self._begin, work), self.url(key), lambda _: None)

    def close(self) -> None:
        """End the waits between tries, and all requests; the bucket may be used again."""
        with self._lock:
            self._closed.set()
            self._closed = threading.Event()
            loop, self._loop = self._loop, None
            self._opened = None
        if loop:
            loop.call_soon_threadsafe(loop.stop)

    def for_writing(self) -> ObjectStore:
        """Return the library's own store, which retries by itself."""
        retries = self._settings.retries
        return self._open({"max_retries": retries.attempts, "retry_timeout": timedelta(seconds=retries.budget)})

    def _open(self, retries: Any) -> ObjectStore:
        settings = self._settings
        config: dict[str, Any] = {ENDPOINT[self._scheme]: settings.endpoint} if settings.endpoint else {}
        endpoint = settings.endpoint or next(filter(None, map(os.environ.get, VARIABLES[self._scheme])), "")
        wait = timedelta(seconds=settings.timeout)
        options: dict[str, Any] = {"connect_timeout": wait, "read_timeout": wait, "timeout": NEVER}
        if endpoint.startswith("http://"):
            options["allow_http"] = True
        if settings.ca_bundle:
            try:
                options["root_certificate"] = Path(settings.ca_bundle).read_bytes()
            except OSError as error:
                raise UsageError(f"cannot read {settings.ca_bundle}: {error.strerror}") from error
        try:
            kind: Any = KINDS[self._scheme]
            opened: ObjectStore = kind(self._name, config=config, client_options=options, retry_config=retries)
        except (BaseError, ValueError) as error:
            failure = judged(error, self.url(""))
            raise (failure.error if isinstance(failure, RetryableError) else failure) from None
        return opened

    def _begin(self, work: Callable[[ObjectStore], Coroutine[Any, Any, T]]) -> Future[T]:
        """Start a call of the library, on the loop."""
        with self._lock:
            if self._opened is None:
                self._opened = self._open({"max_retries": 0})
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(self._loop,), name="store", daemon=True).start()
            return asyncio.run_coroutine_threadsafe(_called(work, self._opened), self._loop)

    def _finished(
        self,
        begin: Callable[[], Future[T]],
        where: str,
        check: Callable[[T], R],
        budget: float | None = None,
        on_retry: OnRetry | None = None,
        cancel: CancelToken | None = None,
    ) -> R:
        """Return what `check` makes of the result of a call, which is begun again while another try may help."""
        cancel = cancel or CancelToken()

        def once() -> R:
            call = begin()

            def leave() -> None:
                call.cancel()

            try:
                with cancel.on_cancel(leave):
                    return check(call.result())
            except (BaseError, FileNotFoundError, ValueError) as error:
                raise judged(error, where) from None  # its text may have secrets, and would be in the traceback
            except CancelledError:
                raise UnreachableError(f"{where} is not wanted any more") from None
            finally:
                leave()  # after Ctrl-C, too

        try:
            result: R = schedule(self._settings.retries, self._closed, budget, on_retry)(once)
        except RetryableError as failure:
            raise failure.error from None
        return result


async def _called(work: Callable[[ObjectStore], Coroutine[Any, Any, T]], store: ObjectStore) -> T:
    return await work(store)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped; then cancel what still waits on it."""
    loop.run_forever()
    loop.run_until_complete(_end_all())
    loop.close()


async def _end_all() -> None:
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _opaque(etag: str | None) -> str | None:
    """Return an ETag without its quotes, which some listings leave out; None for a weak one, which names no bytes."""
    return None if etag is None or etag.startswith(WEAK) else etag.strip('"')
