"""The routes of the page: its files, which are open, and what they show, which is not."""

from __future__ import annotations

import gzip
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel

from mockexport._version import __version__
from mockexport.encoding import unicode_only
from mockexport.model import Export, summarise
from mockexport.server.headers import choose_encoding
from mockexport.server.ids import wire_exports
from mockexport.server.page.events import ENDED, STREAM, events
from mockexport.server.page.files import HEADERS, answer_file, page_files
from mockexport.server.page.runs import RUNNING, Run, Runs, TooManyRunsError
from mockexport.source import MakesExports, home_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
    from contextlib import AbstractContextManager

    from mockexport.server.page.kinds import Answer, Fresh, Kind
    from mockexport.source import Source

__all__ = ["Page"]

STREAMS_AT_ONCE = 256
DOWNLOADS_SHOWN = 10_000
NAMES_SHOWN = 1000
COMPRESSED_BYTES = 1000  # from which on it is worth it
COMPRESSION = 6
DATA = HEADERS | {"Cache-Control": "no-store"}


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

    `files` are its own files, which tell nothing of the data; `data` may be protected by a token. `streams` is how many
    streams of events are open. Call `stop` when the server stops, and `close` at last.
    """

    def __init__(self, source: Source, kinds: Sequence[Kind] = (), fresh: Fresh | None = None) -> None:
        self._source = source
        self._kinds = {kind.name: kind for kind in kinds}
        self._fresh = fresh
        self._runs = Runs()
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

    # Runs

    def _all_runs(self, request: Request) -> Response:
        return _json([run.document(_server(request)) for run in self._runs.all()])

    def _start(self, start: Start, request: Request) -> Response:
        kind = self._kinds.get(start.kind)
        if kind is None:
            raise HTTPException(404, f"No kind of run is called {start.kind}")
        if start.export not in self._source.exports():
            raise HTTPException(404, "Export not found")
        try:
            run = self._runs.start(kind, start.export)
        except TooManyRunsError as error:
            raise HTTPException(503, error.message, {"Retry-After": "1"}) from None
        return _json(run.document(_server(request)), 201)

    def _run(self, run_id: str, request: Request) -> Response:
        return _json(self._known(run_id).document(_server(request)))

    def _cancel(self, run_id: str, request: Request) -> Response:
        run = self._known(run_id)
        run.cancelled = True
        return _json(run.document(_server(request)), 202)

    async def _run_events(self, run_id: str, request: Request) -> Response:
        run, server = self._known(run_id), _server(request)
        told = False

        def look() -> Any:
            nonlocal told
            if told:
                return ENDED
            told = run.state != RUNNING
            return run.document(server)

        return self._stream(nullcontext(look))

    async def _json_result(self, run_id: str) -> Response:
        run, answer = self._answered(run_id)
        return Response(answer.json, media_type="application/json", headers=DATA | _as_file(run, "json"))

    async def _csv_result(self, run_id: str) -> Response:
        run, answer = self._answered(run_id)
        return Response(answer.csv, media_type="text/csv; charset=utf-8", headers=DATA | _as_file(run, "csv"))

    def _known(self, run_id: str) -> Run:
        run = self._runs.find(run_id)
        if run is None:
            raise HTTPException(404, "This run is not kept any more, or never was")
        return run

    def _answered(self, run_id: str) -> tuple[Run, Answer]:
        run = self._known(run_id)
        if run.answer is None:
            raise HTTPException(409, "This run has no answer")
        return run, run.answer

    # Streams

    async def _readings(self, user: str) -> Response:
        fresh = self._fresh
        assert fresh is not None  # noqa: S101 - the route is there only with it

        @contextmanager
        def watching() -> Generator[Callable[[], Any], None, None]:
            with fresh.watch(user) as collected:
                yield lambda: [collected.popleft() for _ in range(len(collected))] or None

        return self._stream(watching())

    async def _minutes(self, request: Request) -> Response:
        assert self._fresh is not None  # noqa: S101 - the route is there only with it
        answer = await self._fresh.minutes(request)
        answer.headers.update(DATA)
        return answer

    def _stream(self, looking: AbstractContextManager[Callable[[], Any]]) -> Response:
        if self.streams >= STREAMS_AT_ONCE:
            raise HTTPException(503, "Too many pages are open", {"Retry-After": "5"})

        async def counted() -> AsyncIterator[bytes]:
            self.streams += 1
            try:
                with looking as look:
                    async for event in events(look, lambda: self._stopped):
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


def _server(request: Request) -> str:
    """Return the URL by which the browser reached this server."""
    return str(request.base_url).rstrip("/")


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


def _as_file(run: Run, suffix: str) -> dict[str, str]:
    name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in run.export)
    return {"Content-Disposition": f'attachment; filename="{run.kind.name}-{name}.{suffix}"'}


def _json(document: Any, status: int = 200) -> Response:
    data = orjson.dumps(document, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)
    return Response(data, status, media_type="application/json", headers=DATA)
