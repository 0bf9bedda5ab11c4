"""The routes of the page: its files, which are open, and what they show, which is not."""

from __future__ import annotations

import gzip
import logging
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import orjson
from anyio import CapacityLimiter, fail_after
from anyio.to_thread import run_sync
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel

from mockexport._version import __version__
from mockexport.encoding import unicode_only
from mockexport.errors import UnreachableError
from mockexport.model import Export, summarise
from mockexport.server.headers import choose_encoding
from mockexport.server.ids import wire_exports
from mockexport.server.page.events import ENDED, LOOK_SECONDS, STREAM, events
from mockexport.server.page.files import HEADERS, answer_file, page_files
from mockexport.server.page.records import DONE, RUNNING, Records
from mockexport.server.page.runs import Runs, TooManyRunsError
from mockexport.shared import InMemory
from mockexport.source import MakesExports, home_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from mockexport.server.page.kinds import Fresh, Kind
    from mockexport.server.page.records import Record
    from mockexport.shared import Documents
    from mockexport.source import Source

    Look: TypeAlias = Callable[[], Awaitable[Any]]

__all__ = ["Page"]

STREAMS_AT_ONCE = 256
ELSEWHERE_SECONDS = 1.0  # after which a stream looks again at a run of another server
ASKING_AT_ONCE = 8  # threads that may wait for a database
ASK_SECONDS = 10.0  # for which a request waits until one of them is free
NO_RUNS = "The database of the runs cannot be reached."
DOWNLOADS_SHOWN = 10_000
NAMES_SHOWN = 1000
COMPRESSED_BYTES = 1000  # from which on it is worth it
COMPRESSION = 6
DATA = HEADERS | {"Cache-Control": "no-store"}
TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8"}

logger = logging.getLogger(__name__)


class Start(BaseModel):
    """What a page asks for: a run of a kind over an export."""

    kind: str
    export: str


class CompressedRoute(APIRoute):
    """A route whose answer is compressed if the browser takes that. A stream of events is sent as it is."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def answer_compressed(request: Request) -> Response:
            response = await answer(request)
            if isinstance(response, StreamingResponse) or len(response.body) < COMPRESSED_BYTES:
                return response
            response.headers["Vary"] = "Accept-Encoding"
            if choose_encoding(request.headers.get("accept-encoding", ""), ("gzip",)):
                response.body = await run_sync(gzip.compress, bytes(response.body), COMPRESSION)
                response.headers["Content-Encoding"] = "gzip"
                response.headers["Content-Length"] = str(len(response.body))
            return response

        return answer_compressed


class Page:
    """The page over a source. `kinds` are the runs that it may start; `fresh`, if any, tells of heart-rate readings.

    `documents` is what the servers of one service share, so that each of them tells of the runs of all; in memory, by
    default. They need the same kinds.
    `files` are its own files, which tell nothing of the data; `data` may be protected by a token. `streams` is how many
    streams of events are open. Call `stop` when the server stops, and `close` at last.
    """

    def __init__(
        self,
        source: Source,
        kinds: Sequence[Kind] = (),
        fresh: Fresh | None = None,
        documents: Documents | None = None,
    ) -> None:
        self._source = source
        self._kinds = {kind.name: kind for kind in kinds}
        self._fresh = fresh
        self._records = Records(documents or InMemory())
        self._runs = Runs(self._records)
        self._asking = CapacityLimiter(ASKING_AT_ONCE)
        self.streams = 0
        self._stopped = False
        self.files = APIRouter(include_in_schema=False)
        self.data = APIRouter(prefix="/page", include_in_schema=False, route_class=CompressedRoute)
        self._route_all()

    def stop(self) -> None:
        """End the streams and cancel the runs, without waiting for them."""
        self._stopped = True
        self._runs.stop()

    def close(self) -> None:
        """Stop, and wait a moment for the runs' threads."""
        self.stop()
        self._runs.close()

    def _route_all(self) -> None:
        both = ["GET", "HEAD"]
        self.files.add_api_route("/", _index, methods=both)
        self.files.add_api_route("/page/static/{name:path}", _file, methods=both)
        add = self.data.add_api_route
        add("/about", self._about, methods=both)
        add("/exports", self._exports, methods=both)
        add("/export", self._export, methods=both)
        add("/downloads", self._downloads, methods=both)
        add("/runs", self._all_runs, methods=both)
        add("/runs", self._start, methods=["POST"])
        add("/runs/{run_id}", self._run, methods=both)
        add("/runs/{run_id}", self._cancel, methods=["DELETE"])
        add("/runs/{run_id}/events", self._run_events, methods=["GET"])
        add("/runs/{run_id}/result.json", self._json_result, methods=both)
        add("/runs/{run_id}/result.csv", self._csv_result, methods=both)
        if self._fresh:
            add("/heart-rate", self._readings, methods=["GET"])
            add("/minutes", self._minutes, methods=both)

    # What there is

    async def _about(self) -> Response:
        kinds = [{"name": kind.name, "title": kind.title} for kind in self._kinds.values()]
        name = unicode_only(self._source.name)
        return _json({"version": __version__, "source": name, "kinds": kinds, "heart_rate": self._fresh is not None})

    def _exports(self) -> Response:
        return _json(wire_exports(self._source))

    def _export(self, export: str) -> Response:
        if isinstance(home_of(self._source, export), MakesExports):  # a server would have to make it first
            return _json(_export_document(Export(export, None, None, None, None, None, None)))
        return _json(_export_document(summarise(export, self._source.downloads(export))))

    def _downloads(self, export: str) -> Response:
        if isinstance(home_of(self._source, export), MakesExports):
            raise HTTPException(409, "A server makes this export when it is counted; its downloads are not known yet")
        found = list(self._source.downloads(export))
        shown = [
            {
                "id": unicode_only(download.id),
                "rows": download.rows,
                "size": download.size,
                "format": download.format,
                "patients": _names(download.patients),
                "types": _names(download.event_types),
                "start_time": download.start_time,
                "end_time": download.end_time,
            }
            for download in found[:DOWNLOADS_SHOWN]
        ]
        return _json({"downloads": shown, "all": len(found)})

    # Runs: those of this server are told of from memory, those of the others by their records

    async def _all_runs(self, request: Request) -> Response:
        return _json([self._shown(record, request) for record in await self._ask(self._runs.all)])

    async def _start(self, start: Start, request: Request) -> Response:
        kind = self._kinds.get(start.kind)
        if kind is None:
            raise HTTPException(404, f"No kind of run is called {start.kind}")
        if start.export not in await run_sync(self._source.exports):
            raise HTTPException(404, "Export not found")
        try:
            run = await self._ask(self._runs.start, kind, start.export)
        except TooManyRunsError as error:
            raise HTTPException(503, error.message, {"Retry-After": "1"}) from None
        return _json(self._shown(run.record(), request), 201)

    async def _run(self, run_id: str, request: Request) -> Response:
        return _json(self._shown(await self._record(run_id), request))

    async def _cancel(self, run_id: str, request: Request) -> Response:
        record = await self._record(run_id)
        if own := self._runs.own(run_id):
            own.cancelled = True
        elif record["state"] == RUNNING:
            await self._ask(self._records.ask_to_cancel, run_id)
        return _json(self._shown(record, request), 202)

    async def _run_events(self, run_id: str, request: Request) -> Response:
        await self._record(run_id)
        told = False

        async def look() -> Any:
            nonlocal told
            if told:
                return ENDED
            try:
                record = await self._record(run_id)
            except HTTPException:  # whoever looks asks again, and is told why
                return ENDED
            told = record["state"] != RUNNING
            return self._shown(record, request)

        return self._stream(nullcontext(look), LOOK_SECONDS if self._runs.own(run_id) else ELSEWHERE_SECONDS)

    async def _json_result(self, run_id: str) -> Response:
        return await self._result(run_id, "json")

    async def _csv_result(self, run_id: str) -> Response:
        return await self._result(run_id, "csv")

    async def _result(self, run_id: str, suffix: str) -> Response:
        record = await self._record(run_id)
        if record["state"] != DONE:
            raise HTTPException(409, "This run has no answer")
        if (own := self._runs.own(run_id)) and own.answer:
            answer = getattr(own.answer, suffix)
        else:
            answer = await self._ask(self._records.answer, run_id, suffix)
        if answer is None:
            raise _not_kept()
        return Response(answer, media_type=TYPES[suffix], headers=DATA | _as_file(record, suffix))

    async def _record(self, run_id: str) -> Record:
        own = self._runs.own(run_id)
        record: Record | None = own.record() if own else await self._ask(self._records.find, run_id)
        if record is None:
            raise _not_kept()
        return record

    async def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what may wait for a database."""
        try:
            with fail_after(ASK_SECONDS):
                return await run_sync(function, *arguments, limiter=self._asking)
        except (UnreachableError, TimeoutError) as error:
            logger.warning("the database of the runs cannot be reached: %s", error)
            raise HTTPException(503, NO_RUNS, {"Retry-After": "5"}) from None

    def _shown(self, record: Record, request: Request) -> Record:
        """Add to a record the command, from this server if need be, by the URL by which it was reached."""
        kind = self._kinds.get(record["kind"])
        server = str(request.base_url).rstrip("/")
        return {**record, "command": unicode_only(kind.command(record["export"], server)) if kind else ""}

    # Streams

    async def _readings(self, user: str) -> Response:
        fresh = self._fresh
        assert fresh is not None  # noqa: S101 - the route is there only with it

        @contextmanager
        def watching() -> Generator[Look, None, None]:
            with fresh.watch(user) as collected:

                async def look() -> Any:
                    return [collected.popleft() for _ in range(len(collected))] or None

                yield look

        return self._stream(watching())

    async def _minutes(self, request: Request) -> Response:
        assert self._fresh is not None  # noqa: S101 - the route is there only with it
        answer = await self._fresh.minutes(request)
        answer.headers.update(DATA)
        return answer

    def _stream(self, looking: AbstractContextManager[Look], seconds: float = LOOK_SECONDS) -> Response:
        if self.streams >= STREAMS_AT_ONCE:
            raise HTTPException(503, "Too many pages are open", {"Retry-After": "5"})

        async def counted() -> AsyncIterator[bytes]:
            self.streams += 1
            try:
                with looking as look:
                    async for event in events(look, lambda: self._stopped, seconds):
                        yield event
            finally:
                self.streams -= 1

        return StreamingResponse(counted(), media_type=STREAM, headers=DATA | {"X-Accel-Buffering": "no"})


async def _index(request: Request) -> Response:
    return answer_file(page_files()["index.html"], request)


async def _file(name: str, request: Request) -> Response:
    file = page_files().get(name)
    if file is None:
        raise HTTPException(404, "Not found")
    return answer_file(file, request)


def _not_kept() -> HTTPException:
    return HTTPException(404, "This run is not kept any more, or never was")


def _export_document(export: Export) -> dict[str, Any]:
    return {
        "id": unicode_only(export.id),
        "downloads": export.downloads,
        "rows": export.rows,
        "patients": export.patients,
        "types": _names(export.event_types),
        "start_time": export.start_time,
        "end_time": export.end_time,
    }


def _names(names: Sequence[str] | None) -> dict[str, Any] | None:
    """Return how many names there are, and the first of them."""
    return None if names is None else {"all": len(names), "first": [unicode_only(name) for name in names[:NAMES_SHOWN]]}


def _as_file(record: Record, suffix: str) -> dict[str, str]:
    name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in record["export"])
    return {"Content-Disposition": f'attachment; filename="{record["kind"]}-{name}.{suffix}"'}


def _json(document: Any, status: int = 200) -> Response:
    data = orjson.dumps(document, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)
    return Response(data, status, media_type="application/json", headers=DATA)
