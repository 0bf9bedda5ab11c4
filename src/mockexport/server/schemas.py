"""What the answers look like, for the description at /docs; the shapes themselves are made in wire.py."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from mockexport.wire import CSV_TYPE

__all__ = [
    "DATA_ANSWERS",
    "NOT_FOUND",
    "NO_EXPORT",
    "DownloadAnswer",
    "ErrorAnswer",
    "ExportAnswer",
    "ExportsAnswer",
    "HealthAnswer",
]

T = TypeVar("T")


class Data(BaseModel, Generic[T]):
    """Every answer but an error is wrapped in `data`."""

    data: T


class ExportIds(BaseModel):
    """The ids of all exports."""

    export_ids: list[str]


class DownloadIds(BaseModel):
    """The ids of an export's downloads, in order."""

    id: str
    download_ids: list[str]


class DownloadMetadata(BaseModel):
    """What is declared of a download; the times are ISO 8601 without an offset, and mean UTC."""

    id: str
    rows: int | None
    event_types: list[str] | None
    patients: list[str] | None
    start_time: str | None
    end_time: str | None


class ErrorAnswer(BaseModel):
    """What is wrong, in one line."""

    detail: str


class HealthAnswer(BaseModel):
    """The server is up."""

    status: str


ExportsAnswer = Data[ExportIds]
ExportAnswer = Data[DownloadIds]
DownloadAnswer = Data[DownloadMetadata]


def _error(description: str) -> dict[str, Any]:
    return {"model": ErrorAnswer, "description": description}


NO_EXPORT: dict[int | str, dict[str, Any]] = {404: _error("There is no such export.")}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: _error("There is no such export or download.")}
DATA_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole CSV.", "content": {CSV_TYPE: {"schema": {"type": "string"}}}},
    206: {"description": "The range that was asked for.", "content": {CSV_TYPE: {"schema": {"type": "string"}}}},
    304: {"description": "The client has these very bytes: its `If-None-Match` names their `ETag`."},
    **NOT_FOUND,
    416: _error("The range lies outside the CSV, whose length is in `Content-Range`."),
}
