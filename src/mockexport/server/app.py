"""The application: the routes of the export API (docs/wire.md) for any Source."""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import UUID  # noqa: TC003 - read by FastAPI

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer

from mockexport import wire
from mockexport._version import __version__
from mockexport.bulk_wire import FHIR
from mockexport.encoding import unicode_only
from mockexport.errors import MockExportError, NotFoundError
from mockexport.server.bodies import Bodies
from mockexport.server.fhir import Fhir, fhir_application
from mockexport.server.ids import WireDownloads, wire_exports
from mockexport.server.page import api_pages
from mockexport.server.response import DownloadResponse
from mockexport.server.schemas import (
    DATA_RESPONSES,
    NEEDS_TOKEN,
    NO_EXPORT,
    NO_SOURCE,
    NOT_FOUND,
    DownloadMetadataResponse,
    ExportResponse,
    ExportsResponse,
    HealthResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from mockexport.model import Download
    from mockexport.server.page import Page
    from mockexport.source import Source

__all__ = ["create_app"]

logger = logging.getLogger(__name__)

ESCAPED_SLASH, SLASH_IN_ID = b"%2f", "\0"
NO_UUID = "The id of a download is a UUID"


def create_app(
    source: Source,
    *,
    token: str | None = None,
    routes: APIRouter | None = None,
    health: APIRouter | None = None,
    fhir: Fhir | None = None,
    page: Page | None = None,
) -> FastAPI:
    """Make the application that serves a source. The caller still has to close the source.

    With `token`, requests for data must carry it as a bearer token (RFC 6750), or are answered 401. `/health`,
    `/health/live` and the description of the API, at `/docs`, `/redoc` and `/openapi.json`, are open: they tell nothing
    of the data. `routes` are those of another service, protected by the same token; `health` replaces the route
    `/health`. `fhir` says how the FHIR Bulk Data API answers, at `/fhir`. `page` is what is shown at `/`: its own files
    are open, its data is not.
    """
    app = Application(
        title="mockexport",
        version=__version__,
        summary="Bulk healthcare exports: their metadata and their CSV. /fhir has them by the FHIR Bulk Data API.",
        docs_url=None,  # those of FastAPI load scripts from another host, and have some inline
        redoc_url=None,
    )
    guards = [Depends(_bearer(token)), Depends(HTTPBearer(auto_error=False))] if token else []  # checked, described
    refusals = NEEDS_TOKEN if token else {}
    app.include_router(_export_routes(source), dependencies=guards, responses=refusals | NO_SOURCE)
    if routes:
        app.include_router(routes, dependencies=guards, responses=refusals)
    app.include_router(health or _health_route())
    app.include_router(_live_route())
    app.include_router(api_pages())
    if page:
        app.include_router(page.files)
        app.include_router(page.data, dependencies=guards)
    fhir = fhir or Fhir()
    app.mount(FHIR, fhir_application(fhir.source or source, fhir, _bearer(token) if token else None))
    app.add_exception_handler(MockExportError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    return app


class Application(FastAPI):
    """An application that describes HEAD wherever there is GET: each route answers both."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell a slash within an id, which is escaped, from one between two: routes match the path unescaped."""
        raw = scope.get("raw_path") or b""
        if scope["type"] == "http" and scope["path"].startswith(wire.API) and ESCAPED_SLASH in raw.lower():
            kept = raw.partition(b"?")[0].replace(b"%2F", b"%00").replace(ESCAPED_SLASH, b"%00")
            scope["path"] = unquote(kept.decode("latin-1"))
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the description of the API, for `/openapi.json`."""
        described = super().openapi()
        for operations in described["paths"].values():
            if "get" in operations:
                operations["head"] = _head(operations["get"])
        return described


def _head(get: dict[str, Any]) -> dict[str, Any]:
    """Describe HEAD as GET is: the responses are the same, without a body."""
    responses = {
        status: {name: value for name, value in response.items() if name != "content"}
        for status, response in get["responses"].items()
    }
    summary = f"{get['summary']} (the headers alone)"
    return {**get, "summary": summary, "operationId": f"{get['operationId']}_head", "responses": responses}


def _health_route() -> APIRouter:
    router = APIRouter(tags=["server"])

    async def health() -> dict[str, str]:
        """Say that the server is up, without a request to the source."""
        return {"status": "healthy"}

    _get(router, "/health", health, summary="Is the server up?", response_model=HealthResponse)
    return router


def _live_route() -> APIRouter:
    router = APIRouter(tags=["server"])

    async def live() -> dict[str, str]:
        """Say that the process answers, whatever else fails: to restart it would help only if it does not."""
        return {"status": "alive"}

    _get(router, "/health/live", live, summary="Does the process answer?", response_model=HealthResponse)
    return router


def _bearer(token: str) -> Callable[[Request], None]:
    """Return a dependency that requires the bearer token (RFC 6750), compared in constant time."""
    expected = f"Bearer {token}".encode()

    def check(request: Request) -> None:
        sent = request.headers.get("authorization", "").encode("latin-1")
        if not secrets.compare_digest(sent, expected):
            raise HTTPException(401, "A bearer token is required", {"WWW-Authenticate": "Bearer"})

    return check


def _export_routes(source: Source) -> APIRouter:
    router = APIRouter(prefix=wire.API, tags=["exports"])
    bodies = Bodies(source)
    downloads = WireDownloads(source)

    def exports() -> dict[str, Any]:
        """List the ids of the exports."""
        return wire.exports_body(wire_exports(source))

    def export(export_id: str) -> dict[str, Any]:
        """List the ids of an export's downloads, in order."""
        return wire.export_body(_id(export_id), list(_downloads(downloads, export_id)))

    def download(export_id: str, download_id: UUID) -> dict[str, Any]:
        """Return what the source declares of a download: times in UTC, null for what it does not declare."""
        found = _download(downloads, export_id, download_id)
        return wire.download_body(replace(found, id=str(download_id)))

    async def data(export_id: str, download_id: UUID) -> Response:
        """Stream the bytes of a download."""
        return DownloadResponse(bodies, await run_sync(_download, downloads, export_id, download_id))

    _get(router, "", exports, summary="All exports", response_model=ExportsResponse)
    _get(router, "/{export_id}", export, summary="One export", response_model=ExportResponse, responses=NO_EXPORT)
    _get(
        router,
        "/{export_id}/{download_id}",
        download,
        summary="One download",
        response_model=DownloadMetadataResponse,
        response_model_exclude_unset=True,
        responses=NOT_FOUND,
    )
    _get(
        router,
        "/{export_id}/{download_id}/data",
        data,
        summary="The bytes of a download",
        response_class=Response,
        responses=DATA_RESPONSES,
    )
    return router


def _get(router: APIRouter, path: str, endpoint: Callable[..., Any], **described: Any) -> None:
    """Add a route for GET and HEAD; describe GET, from which HEAD is described, too."""
    router.add_api_route(path, endpoint, methods=["GET", "HEAD"], **described | {"include_in_schema": False})
    router.add_api_route(path, endpoint, methods=["GET"], **described)


def _id(export: str) -> str:
    return export.replace(SLASH_IN_ID, "/")


def _downloads(downloads: WireDownloads, export: str) -> dict[str, Download]:
    try:
        return downloads.of(_id(export))
    except NotFoundError:
        raise HTTPException(404, "Export not found") from None


def _download(downloads: WireDownloads, export: str, download: UUID) -> Download:
    found = _downloads(downloads, export).get(str(download))
    if found is None:
        raise HTTPException(404, "Download not found")
    return found


async def _answer_error(_request: Request, error: Exception) -> Response:
    """Answer an error of the source: 404 if something is missing, else 502, as this server is a gateway to it."""
    message = error.message if isinstance(error, MockExportError) else str(error)  # a remedy is not for clients
    logger.warning("the source failed: %s", message)
    return JSONResponse({"detail": unicode_only(message)}, 404 if isinstance(error, NotFoundError) else 502)


async def _answer_invalid(_request: Request, error: Exception) -> Response:
    """Answer a download id that is not a UUID, in the shape of FastAPI, which clients know, and in plain words."""
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    detail = [{"type": problem["type"], "loc": problem["loc"], "msg": NO_UUID} for problem in problems]
    return JSONResponse({"detail": detail}, 422)
