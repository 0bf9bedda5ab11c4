"""The routes of the FHIR API (docs/fhir.md, "The server"): an application of its own, with errors of its own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING

import orjson
from anyio.to_thread import run_sync
from fastapi import HTTPException, Request
from fastapi.responses import Response
from starlette.applications import Starlette
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.routing import Route

from mockexport.bulk_wire import FHIR, FHIR_JSON, FHIR_NDJSON, JSON, issue, operation_outcome
from mockexport.errors import MockExportError
from mockexport.server.bodies import Bodies
from mockexport.server.fhir import resources
from mockexport.server.fhir.content import find_group, groups, job_files
from mockexport.server.fhir.documents import Request as JobRequest
from mockexport.server.fhir.jobs import MOST_JOBS, Job, Jobs, TooManyJobsError
from mockexport.server.fhir.kick_off import check_accept, read_kick_off
from mockexport.server.fhir.manifest import ERRORS, manifest_page
from mockexport.server.fhir.parts import FilesOf
from mockexport.server.fhir.refusal import Refusal, answer_error, answer_refusal, fhir_response
from mockexport.server.fhir.tokens import Tokens, check_types, token_check, token_response
from mockexport.server.response import DownloadResponse
from mockexport.shared import InMemory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp

    from mockexport.server.fhir.kick_off import KickOff
    from mockexport.shared import Documents
    from mockexport.source import Source

    Handler = Callable[[Request], Awaitable[Response]]
    Authorize = Callable[[Request], None]

__all__ = ["Fhir", "fhir_application"]

NO_EXPORT = issue("not-found", "There is no such export: it was deleted, or it has expired")


@dataclass(frozen=True, slots=True)
class Fhir:
    """How the FHIR API answers: the version of the IG, `2.0` or `3.0`; seconds that an export takes; resources a file.

    `source` is what it serves, if that is not what the rest of the server does: all its downloads have to be NDJSON.
    `tokens` gives clients tokens at `/fhir/token`, which are then required in place of the server's own. `most_jobs`
    exports may be kept at a time, in `documents`, which several servers of one service may share.
    """

    version: str = "3.0"
    export_seconds: float = 0.0
    files_of: int | None = None
    source: Source | None = None
    tokens: Tokens | None = None
    most_jobs: int = MOST_JOBS
    documents: Documents = field(default_factory=InMemory)


def fhir_application(source: Source, settings: Fhir, authorize: Authorize | None = None) -> ASGIApp:
    """Make the application that answers below `/fhir`.

    `authorize` raises an HTTPException for a request that may not be answered. What the server can do, at `/metadata`,
    and how to get a token, is open: neither tells anything of the data.
    """
    check_token = token_check(settings.tokens) if settings.tokens else None
    api = _Api(source, settings, needs_token=bool(check_token or authorize))

    def guarded(handler: Handler) -> Handler:
        async def check_and_answer(request: Request) -> Response:
            if check_token:
                await check_token(request)
            elif authorize:
                authorize(request)
            return await handler(request)

        return check_and_answer

    exports = [api.export_system, api.export_patients, api.export_group]
    routes = [
        Route("/metadata", api.metadata),
        Route("/Group", guarded(api.search_groups)),
        Route("/Group/{group}", guarded(api.read_group)),
        *(
            Route(f"{level}/$export", guarded(export), methods=["GET", "POST"])
            for level, export in zip(("", "/Patient", "/Group/{group}"), exports, strict=True)
        ),
        Route("/jobs/{job}", guarded(api.status)),
        Route("/jobs/{job}", guarded(api.delete), methods=["DELETE"]),
        Route("/jobs/{job}/manifests/{page:int}", guarded(api.status)),
        Route("/jobs/{job}/{file}", guarded(api.file)),
    ]
    if tokens := settings.tokens:

        async def give_token(request: Request) -> Response:
            return await token_response(tokens, request, f"{_base(request)}/token")

        routes.append(Route("/.well-known/smart-configuration", api.smart_configuration))
        routes.append(Route("/token", give_token, methods=["POST"]))
    return Starlette(
        routes=routes, exception_handlers={AnyHTTPException: answer_refusal, MockExportError: answer_error}
    )


class _Api:
    """What answers each route."""

    def __init__(self, source: Source, settings: Fhir, *, needs_token: bool) -> None:
        self._source = FilesOf(source, settings.files_of) if settings.files_of else source
        self._settings = settings
        self._needs_token = needs_token
        self._bodies = Bodies(self._source)
        self._jobs = Jobs(settings.documents, settings.most_jobs)
        self._began = datetime.now(UTC)

    async def metadata(self, request: Request) -> Response:
        return fhir_response(
            resources.capability_statement(
                _base(request), self._settings.version, self._began, needs_token=self._needs_token
            )
        )

    async def smart_configuration(self, request: Request) -> Response:
        return Response(orjson.dumps(resources.smart_configuration(_base(request))), media_type=JSON)

    async def search_groups(self, request: Request) -> Response:
        found = await run_sync(groups, self._source)
        return fhir_response(resources.search_bundle(_base(request), found, request.query_params))

    async def read_group(self, request: Request) -> Response:
        group = request.path_params["group"]
        return fhir_response(resources.group(group, await run_sync(find_group, self._source, group)))

    async def export_system(self, request: Request) -> Response:
        return await self._kick_off(request)

    async def export_patients(self, request: Request) -> Response:
        return await self._kick_off(request, of_patients=True)

    async def export_group(self, request: Request) -> Response:
        return await self._kick_off(request, group=request.path_params["group"])

    async def _kick_off(self, request: Request, *, group: str | None = None, of_patients: bool = False) -> Response:
        """Start an export. What it holds is settled now, so a mistake is told at once."""
        if request.method == "HEAD":  # which the framework allows wherever there is GET
            raise HTTPException(405, "HEAD starts no export; use GET or POST", {"Allow": "GET, POST"})
        asked = await read_kick_off(request, self._settings.version, of_patients=of_patients)
        allowed = check_types(request, asked.named)
        types = asked.types if allowed is None else allowed if asked.types is None else asked.types & allowed
        try:
            job_id = await run_sync(self._start, str(request.url), asked, group, types)
        except TooManyJobsError as error:
            told = issue("throttled", "There are too many exports; delete one, or try again later")
            raise Refusal(429, told, headers={"Retry-After": str(error.wait)}) from None
        told = issue("informational", "The export has begun", "information")
        return fhir_response(operation_outcome(told), 202, {"Content-Location": f"{_base(request)}/jobs/{job_id}"})

    def _start(self, url: str, asked: KickOff, group: str | None, types: frozenset[str] | None) -> str:
        """Start an export, and return its id. Raises TooManyJobsError before the work."""
        request = JobRequest(url, self._jobs.clock(), self._settings.export_seconds, asked.partial, asked.notes)
        job_id = self._jobs.begin(request)
        try:
            self._jobs.start(job_id, request, job_files(self._source, group, types))
        except BaseException:
            with suppress(Refusal):
                self._jobs.delete(job_id)
            raise
        return job_id

    async def status(self, request: Request) -> Response:
        """Say how far an export is; when it is complete, or as far as the client allows parts, send the manifest."""
        check_accept(request, JSON, FHIR_JSON)
        job, now = await self._job(request), self._jobs.clock()
        number = request.path_params.get("page", 1)
        url = f"{_base(request)}/jobs/{job.id}"
        page = manifest_page(job, url, number, now, requires_token=self._needs_token)
        if page is None and number > 1:
            raise Refusal(404, issue("not-found", "The manifest has no such page yet"))
        done = job.done(now)
        headers = {}
        if done < 1:
            headers = {"X-Progress": f"{int(done * 100)}% complete", "Retry-After": str(job.wait(now))}
        if page is None:
            return Response(status_code=202, headers=headers)
        expires = datetime.fromtimestamp(job.expires, UTC)
        headers["Expires"] = format_datetime(expires, usegmt=True)
        return Response(orjson.dumps(page), 200 if done == 1 else 202, headers, JSON)

    async def delete(self, request: Request) -> Response:
        if not await run_sync(self._jobs.delete, request.path_params["job"]):
            raise Refusal(404, NO_EXPORT)
        return fhir_response(operation_outcome(issue("informational", "The export is deleted", "information")), 202)

    async def file(self, request: Request) -> Response:
        check_accept(request, FHIR_NDJSON, "application/ndjson")
        job, name = await self._job(request), request.path_params["file"]
        if name == ERRORS and job.request.notes:
            lines = b"".join(orjson.dumps(operation_outcome(note)) + b"\n" for note in job.request.notes)
            return Response(lines, media_type=FHIR_NDJSON)
        file = job.files.get(name)
        if file is None or (job.done(self._jobs.clock()) < 1 and not job.request.partial):
            raise Refusal(404, issue("not-found", "The export has no such file"))
        check_types(request, [file.type])
        return DownloadResponse(self._bodies, file.download)

    async def _job(self, request: Request) -> Job:
        job = await run_sync(self._jobs.find, request.path_params["job"])
        if job is None:
            raise Refusal(404, NO_EXPORT)
        return job


def _base(request: Request) -> str:
    """Return the URL of the FHIR server as the client calls it."""
    return f"{str(request.base_url).rstrip('/')}{FHIR}"
