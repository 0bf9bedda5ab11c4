"""The HTTP routes of the heart-rate service: readings in, a user's minutes out.

Bodies and query strings are parsed here and not by the framework. So large ones are refused early, a batch is validated
in one call, and every invalid input is a 400 of the same form. Nothing here blocks the event loop: the journal's future
is awaited, and queries run in a few threads.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from mockexport.errors import MockExportError
from mockexport.heartrate.ingest.limits import LimitedError, RateLimits, TooManyAtOnceError
from mockexport.heartrate.ingest.loop_bridge import LoopBridge
from mockexport.heartrate.ingest.metrics import CONTENT_TYPE_LATEST, Metrics
from mockexport.heartrate.ingest.schemas import (
    BATCH_BODY,
    BATCH_RESPONSES,
    HEALTH_RESPONSES,
    METRICS_RESPONSES,
    QUERY_PARAMETERS,
    QUERY_RESPONSES,
    READING_BODY,
    READING_RESPONSES,
)
from mockexport.heartrate.ingest.thread_pool import NoFreeThreadError, ThreadPool
from mockexport.heartrate.ingest.validation import InvalidError, read_batch, read_query, read_reading
from mockexport.heartrate.journal import JournalError, JournalFullError
from mockexport.heartrate.readings import minutes_document

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Awaitable, Callable, Generator
    from contextlib import AbstractContextManager

    from mockexport.heartrate.ingest.validation import Batch, Query
    from mockexport.heartrate.readings import Readings
    from mockexport.heartrate.service import HeartRate

    Handler = Callable[[Request], Awaitable[Response]]

__all__ = ["HeartRateRoutes"]

VERSION = "/v1"  # of the API, in its paths
BODY_BYTES = 1 << 20
POSTS_AT_ONCE = 1024  # bounds the memory of bodies
QUERIES_AT_ONCE = 4
QUERIES_WAITING = 256
BODY_SECONDS = 30.0  # for a client to send its body
JOURNAL_SECONDS = 30.0
QUERY_SECONDS = 30.0
RETRY_SECONDS = 1

logger = logging.getLogger(__name__)

T = TypeVar("T")


class HeartRateRoutes:
    """The routes of a service. The caller still has to close the service.

    `router` may be protected by a token; `health` is meant to be open. A page is told of readings as they
    are stored by `watch`, and asks for those that are there by `minutes`.
    """

    def __init__(self, service: HeartRate, limits: RateLimits | None = None) -> None:
        self._service = service
        self._limits = limits or RateLimits()
        self._metrics = Metrics(service.statistics)
        self._loop_bridge = LoopBridge()
        self._posts = 0
        self._queries = 0
        self._query_threads = ThreadPool(QUERIES_AT_ONCE, "heart-rate query")
        self._health_thread = ThreadPool(1, "heart-rate health")  # health checks must not wait behind queries
        self._metrics_thread = ThreadPool(1, "heart-rate metrics")
        self.router = APIRouter(tags=["heart rate"])
        self.health = APIRouter(tags=["server"])
        self._route_all()

    def _route_all(self) -> None:
        answers = (
            self._counted("reading", self._post_reading),
            self._counted("batch", self._post_batch),
            self._counted("query", self._get_minutes),
        )
        self._route_readings(VERSION, answers)
        self._route_readings("", answers, " (kept for clients that know no version)")
        _get(
            self.router, "/metrics", self._get_metrics,
            summary="Metrics for Prometheus", responses=METRICS_RESPONSES, response_class=Response,
        )  # fmt: skip
        _get(
            self.health, "/health", self._get_health,
            summary="Would a reading be accepted?", responses=HEALTH_RESPONSES, response_class=Response,
        )  # fmt: skip

    def _route_readings(self, prefix: str, answers: tuple[Handler, Handler, Handler], note: str = "") -> None:
        """Add the routes of one version; `note` ends the summary of each."""
        one, batch = f"{prefix}/metrics/heart-rate", f"{prefix}/metrics/heart-rate/batch"
        post_reading, post_batch, get_minutes = answers
        add = self.router.add_api_route

        async def dispatch(request: Request) -> Response:
            return await (post_reading if request.method == "POST" else get_minutes)(request)

        # One route for all methods, so that a 405 lists all of them. The routes below only describe it.
        add(one, dispatch, methods=["GET", "HEAD", "POST"], include_in_schema=False)
        add(
            one, post_reading, methods=["POST"], status_code=202,
            summary=f"Store a reading{note}", description="The response is sent once the reading is on disk.",
            openapi_extra=READING_BODY, responses=READING_RESPONSES, response_class=Response,
        )  # fmt: skip
        add(
            batch, post_batch, methods=["POST"], status_code=202,
            summary=f"Store up to 1,000 readings{note}",
            description="Each is validated on its own. The response is sent once all valid ones are on disk.",
            openapi_extra=BATCH_BODY, responses=BATCH_RESPONSES, response_class=Response,
        )  # fmt: skip
        add(
            one, get_minutes, methods=["GET"],
            summary=f"A user's heart rate by minute{note}",
            description="The mean of a minute's readings, of the best device among those that reported in it.",
            openapi_extra=QUERY_PARAMETERS, responses=QUERY_RESPONSES, response_class=Response,
        )  # fmt: skip

    def _counted(self, route: str, answer: Handler) -> Handler:
        """Count the requests of each client, which may be too many, and the responses of a route by their status."""

        async def counted(request: Request) -> Response:
            try:
                with self._within_limits():
                    self._limits.admit_request(request)
                response = await answer(request)
            except HTTPException as error:
                self._metrics.answered(route, error.status_code)
                raise
            self._metrics.answered(route, response.status_code)
            return response

        return counted

    async def _post_reading(self, request: Request) -> Response:
        await self._accept(request, read_reading, lambda readings: readings)
        self._metrics.accepted.inc()
        return _json({"status": "accepted"}, 202)

    async def _post_batch(self, request: Request) -> Response:
        batch: Batch = await self._accept(request, read_batch, lambda batch: batch.readings)
        accepted, rejected = len(batch.readings.times), len(batch.rejected)
        self._metrics.accepted.inc(accepted)
        self._metrics.rejected.inc(rejected)
        document: dict[str, Any] = {"status": "accepted", "accepted": accepted, "rejected": rejected}
        document["total"] = accepted + rejected
        if rejected:
            document["errors"] = batch.rejected
        return _json(document, 202)

    async def _accept(
        self, request: Request, read: Callable[[bytes | bytearray, int], T], valid: Callable[[T], Readings]
    ) -> T:
        """Parse a body, and return its contents once its valid readings are on disk."""
        with self._post_slot():
            body = await _body(request)
            started = time.perf_counter()
            try:
                found = read(body, self._service.latest())
            except InvalidError as error:
                self._metrics.rejected.inc()
                raise HTTPException(400, str(error)) from None
            readings = valid(found)
            with self._within_limits():
                self._limits.admit_readings(readings.users)
            await self._keep(readings)
            self._metrics.post_seconds.observe(time.perf_counter() - started)
        return found

    @contextmanager
    def _within_limits(self) -> Generator[None, None, None]:
        """Refuse what is beyond a limit, and everything if the limits themselves fail."""
        try:
            yield
        except LimitedError as error:
            self._metrics.limited(error.by)
            raise HTTPException(429, str(error), {"Retry-After": str(error.seconds)}) from None
        except TooManyAtOnceError as error:
            self._metrics.limited("user")
            raise HTTPException(413, str(error)) from None
        except Exception as error:
            logger.warning("the rate limits fail: %s", type(error).__name__)
            raise _busy("the rate limits can't be checked") from error

    async def _keep(self, readings: Readings) -> None:
        try:
            await self._loop_bridge.wait(self._service.accept(readings), JOURNAL_SECONDS)
        except JournalFullError as error:
            raise _busy(str(error), error.retry_after) from None
        except JournalError as error:
            logger.warning("readings were refused: %s", error)
            raise _busy(f"the readings were not stored: {error}") from None
        except TimeoutError:
            raise _busy("the journal takes too long; the readings may or may not be stored") from None

    @contextmanager
    def _post_slot(self) -> Generator[None, None, None]:
        if self._posts >= POSTS_AT_ONCE:
            raise _busy("too many posts at once")
        self._posts += 1
        try:
            yield
        finally:
            self._posts -= 1

    def watch(self, user: str) -> AbstractContextManager[deque[dict[str, Any]]]:
        """While the block lasts, collect a user's readings as they are stored."""
        return self._service.fresh.watch(user)

    async def minutes(self, request: Request) -> Response:
        """Answer a page's query as any other, but its `data` is empty if there are no readings."""

        async def answer(request: Request) -> Response:
            return Response((await self._find_minutes(request.scope["query_string"]))[0], media_type="application/json")

        return await self._counted("query", answer)(request)

    async def _get_minutes(self, request: Request) -> Response:
        body, count = await self._find_minutes(request.scope["query_string"])
        if not count:
            raise HTTPException(404, "No data found")
        return Response(body, media_type="application/json")

    async def _find_minutes(self, query_string: bytes) -> tuple[bytes, int]:
        """Answer a query: in JSON, and the number of minutes."""
        try:
            query = read_query(query_string)
        except InvalidError as error:
            raise HTTPException(400, str(error)) from None
        with self._within_limits():
            self._limits.admit_query(query.user)
        started = time.perf_counter()
        found = await self._in_thread(partial(self._minutes, query))
        self._metrics.query_seconds.observe(time.perf_counter() - started)
        return found

    def _minutes(self, query: Query) -> tuple[bytes, int]:
        points = self._service.query(query.user, query.start, query.end, query.device)
        return orjson.dumps(minutes_document(query.user, points)), len(points)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run a query in one of a few threads."""
        if self._queries >= QUERIES_AT_ONCE + QUERIES_WAITING:
            raise _busy("too many queries at once")
        self._queries += 1
        try:
            return await self._query_threads.run(work, QUERY_SECONDS)
        except NoFreeThreadError:
            raise _busy("too many queries at once") from None
        except TimeoutError:
            raise _busy("the query takes too long; use a shorter range") from None
        except MockExportError as error:  # the table can't be read
            logger.warning("a query failed: %s", error)
            raise _busy(str(error)) from None
        finally:
            self._queries -= 1

    async def _get_health(self, _request: Request) -> Response:
        try:
            problem, sharing = await self._health_thread.run(self._health, JOURNAL_SECONDS)
        except TimeoutError:
            raise _busy("the journal does not respond") from None
        if problem:
            raise _busy(problem)
        return _json({"status": "healthy", "service": "heart-rate-metrics"} | sharing)

    def _health(self) -> tuple[str | None, dict[str, Any]]:
        """Return what is wrong, and how this server stands among those that share its journal, if it is shared."""
        return self._service.problem(), self._service.sharing()

    async def _get_metrics(self, _request: Request) -> Response:
        try:
            text = await self._metrics_thread.run(self._metrics.text, QUERY_SECONDS)
        except TimeoutError:
            raise _busy("the statistics take too long") from None
        return Response(text, media_type=CONTENT_TYPE_LATEST)


async def _body(request: Request) -> bytearray:
    """Read a body of at most BODY_BYTES; refuse a larger one as soon as possible."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > BODY_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise HTTPException(400, "body: is incomplete")  # if the client still reads
                body += message.get("body", b"")
                if len(body) > BODY_BYTES:
                    raise _too_large()
                if not message.get("more_body", False):
                    return body
    except TimeoutError:
        raise HTTPException(408, "body: did not arrive in time", {"Connection": "close"}) from None


def _too_large() -> HTTPException:
    return HTTPException(413, f"body: is larger than {BODY_BYTES:,} bytes", {"Connection": "close"})


def _busy(detail: str, seconds: float = RETRY_SECONDS) -> HTTPException:
    return HTTPException(503, detail, {"Retry-After": str(max(1, math.ceil(seconds)))})


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")


def _get(router: APIRouter, path: str, endpoint: Callable[..., Any], **described: Any) -> None:
    """Add a route for GET and HEAD; describe only GET, since HEAD is the same without a body."""
    router.add_api_route(path, endpoint, methods=["GET", "HEAD"], **described | {"include_in_schema": False})
    router.add_api_route(path, endpoint, methods=["GET"], **described)
