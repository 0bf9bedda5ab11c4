"""The source of the export `heart_rate`: the readings of a service, with one download for each UTC day.

Its rows are ordered by patient, then by time. Readings of two devices at the same instant are two rows.
"""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import polars as pl

from mockexport.errors import UntrustedDataError, no_such
from mockexport.heartrate.folder import is_url
from mockexport.heartrate.readings import time_of
from mockexport.heartrate.service import HeartRate
from mockexport.model import Download

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mockexport.heartrate.readings import DaySummary
    from mockexport.source import Chunks

__all__ = ["EVENT_TYPE", "EXPORT", "HeartRateSource", "csv_rows"]

EXPORT = EVENT_TYPE = "heart_rate"
HEADER = b"patient_id,event_time,event_type,value\n"
ROWS_A_CHUNK = 4096  # some 256 KiB
SECOND = 1_000_000  # microseconds


class HeartRateSource:
    """The export `heart_rate` of a folder, which a server may be using at the same time, or of a service.

    A folder is opened at the first use, and again after `close`. A given service is not closed.
    """

    def __init__(self, data: str | Path, service: HeartRate | None = None) -> None:
        self._data = data
        self._service = service
        self._opened: HeartRate | None = None
        self._opening = threading.Lock()

    @property
    def name(self) -> str:
        """The folder, as the user named it."""
        return str(self._data)

    @property
    def needs_server(self) -> bool:
        """Whether the readings are only to be had from the server: a table at a URL has its journal elsewhere."""
        return is_url(self._data)

    def exports(self) -> list[str]:
        """Return the only export."""
        return [EXPORT]

    def downloads(self, export: str) -> Sequence[Download]:
        """Return a download for each UTC day that has readings."""
        if export != EXPORT:
            raise no_such("export", export, self.name, self.exports())
        return [_download(day) for day in self._readings().days()]

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        """Stream a day as CSV, from byte `offset` on. Raises UntrustedDataError if it changed since it was listed."""
        if download.export != EXPORT:
            raise no_such("export", download.export, self.name, self.exports())
        service = self._readings()
        days = {day.date.isoformat(): day for day in service.days()}
        if download.id not in days:
            raise no_such("download", download.id, self.name, list(days))
        day = days[download.id]
        if download.etag not in (None, day.etag):
            raise UntrustedDataError(f"readings of {download.id} arrived after it was listed; try again")
        return _from(offset, _chunks(service, day))

    def close(self) -> None:
        """Close the folder."""
        with self._opening:
            opened, self._opened = self._opened, None
        if opened:
            opened.close()

    def _readings(self) -> HeartRate:
        if self._service:
            return self._service
        with self._opening:
            if self._opened is None:
                self._opened = HeartRate(self._data, read_only=True)
            return self._opened

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the folder's name."""
        return HeartRateSource, (self._data,)


def _download(day: DaySummary) -> Download:
    return Download(
        export=EXPORT,
        id=day.date.isoformat(),
        rows=day.rows,
        event_types=(EVENT_TYPE,),
        patients=day.users,
        start_time=time_of(day.first),
        end_time=time_of(day.last),
        etag=day.etag,
    )


def _chunks(service: HeartRate, day: DaySummary) -> Chunks:
    yield HEADER
    with closing(service.rows(day)) as frames:
        for frame in frames:
            for rows in frame.iter_slices(ROWS_A_CHUNK):
                yield csv_rows(rows)


def _from(offset: int, chunks: Chunks) -> Chunks:
    with closing(chunks):
        for chunk in chunks:
            if offset < len(chunk):
                yield chunk[offset:] if offset else chunk
            offset = max(0, offset - len(chunk))


def csv_rows(rows: pl.DataFrame) -> bytes:
    """Format rows as CSV without the header; text is quoted if necessary, whole numbers have no fraction."""
    microseconds, rate = pl.col("time").cast(pl.Int64), pl.col("rate")
    time, fraction = microseconds.cast(pl.Datetime("us")), microseconds % SECOND != 0
    written = rows.select(
        pl.col("user"),
        pl.when(fraction)
        .then(time.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
        .otherwise(time.dt.strftime("%Y-%m-%dT%H:%M:%SZ")),
        pl.lit(EVENT_TYPE),
        pl.when(rate == rate.floor()).then(rate.cast(pl.Int64).cast(pl.String)).otherwise(rate.cast(pl.String)),
    )
    return written.write_csv(include_header=False, quote_style="necessary").encode()
