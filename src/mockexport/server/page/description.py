"""The description of the API to be read: `/docs` with Swagger UI, `/redoc` with Redoc; both from the package alone."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException, Request

from mockexport.server.page.files import POLICY_PARTS, answer_file, policy_of, read_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi.responses import Response

    from mockexport.server.page.files import PageFile

__all__ = ["api_files", "api_pages"]

# What the tools need beyond the policy of the page at `/`. Scripts are files of ours alone: none inline, and no eval.
# Both make markup of text, which they clean, and have icons as data in their styles; Redoc writes style elements, too.
DOCS_POLICY = policy_of(POLICY_PARTS | {"img-src": "'self' data:"})
REDOC_POLICY = policy_of(POLICY_PARTS | {"img-src": "'self' data:", "style-src": "'self' 'unsafe-inline'"})


def api_pages() -> APIRouter:
    """Return the routes of both pages and of their files. They are open, as the description is."""
    router = APIRouter(include_in_schema=False)
    both = ["GET", "HEAD"]
    router.add_api_route("/docs", _docs, methods=both)
    router.add_api_route("/redoc", _redoc, methods=both)
    router.add_api_route("/docs/static/{name:path}", _file, methods=both)
    return router


@cache
def api_files() -> Mapping[str, PageFile]:
    """Return the files of both pages by their names, such as `vendor/swagger-ui.css`."""
    return read_files("openapi")


def _docs(request: Request) -> Response:
    return answer_file(api_files()["docs.html"], request, DOCS_POLICY)


def _redoc(request: Request) -> Response:
    return answer_file(api_files()["redoc.html"], request, REDOC_POLICY)


def _file(name: str, request: Request) -> Response:
    file = api_files().get(name)
    if file is None:
        raise HTTPException(404, "Not found")
    return answer_file(file, request)
