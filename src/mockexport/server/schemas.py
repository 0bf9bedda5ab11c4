"""The response schemas for the description at /docs; wire.py builds the documents themselves."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from mockexport.wire import CONTENT_TYPES

__all__ = [
    "DATA_RESPONSES",
    "NEEDS_TOKEN",
    "NOT_FOUND",
    "NO_EXPORT",
    "NO_SOURCE",
    "DownloadMetadataResponse",
    "ErrorResponse",
    "ExportResponse",
    "ExportsResponse",
    "HealthResponse",
]

T = TypeVar("T")


class Data(BaseModel, Generic[T]):
    """Every response but an error is an object with the key `data`."""

    data: T


class ExportIds(BaseModel):
    """The ids of all exports."""

    export_ids: list[str]


class DownloadIds(BaseModel):
    """The ids of an export's downloads, in order."""

    id: str
    download_ids: list[str]


class DownloadMetadata(BaseModel):
    """What is declared of a download; times are ISO 8601 without an offset, in UTC.

    `format` is there only where it is not CSV, and `base` if FHIR resources have one: the URL of their server.
    """

    id: str
    rows: int | None
    event_types: list[str] | None
    patients: list[str] | None
    start_time: str | None
    end_time: str | None
    format: str = "csv"
    base: str | None = None


class ErrorResponse(BaseModel):
    """The error, in one line."""

    detail: str


class HealthResponse(BaseModel):
    """The server is up."""

    status: str


ExportsResponse = Data[ExportIds]
ExportResponse = Data[DownloadIds]
DownloadMetadataResponse = Data[DownloadMetadata]


def _error(description: str) -> dict[str, Any]:
    return {"model": ErrorResponse, "description": description}


NEEDS_TOKEN: dict[int | str, dict[str, Any]] = {
    401: {
        **_error("The request has no bearer token, or another one."),
        "headers": {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "Bearer"}},
    }
}
NO_SOURCE: dict[int | str, dict[str, Any]] = {502: _error("The source of the exports can't be read.")}
NO_EXPORT: dict[int | str, dict[str, Any]] = {404: _error("There is no such export.")}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: _error("There is no such export or download.")}
CONTENT = {media_type: {"schema": {"type": "string"}} for media_type in CONTENT_TYPES.values()}
DATA_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": CONTENT},
    206: {"description": "The requested range.", "content": CONTENT},
    304: {"description": "The client already has these bytes: its `If-None-Match` names their `ETag`."},
    **NOT_FOUND,
    412: _error("`If-Match` does not name the `ETag` of these bytes."),
    416: _error("The range lies outside the file, whose length is in `Content-Range`."),
}
