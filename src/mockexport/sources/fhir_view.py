"""AsFhir: the exports of another source as FHIR R4, in NDJSON (docs/fhir.md, "Any source as FHIR").

Downloads of FHIR resources stay as they are. The records of CSV become Observations, one each, and a download of their
Patients comes first.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid5

from mockexport.bulk_wire import NAMESPACE
from mockexport.errors import ChangedError, UntrustedDataError, no_such
from mockexport.identity import WEAK, is_strong
from mockexport.model import Download, summarise
from mockexport.sources.mock import MockFhirSource, MockSource
from mockexport.sources.observations import Observations, json_line, patient
from mockexport.sources.union import UnionSource
from mockexport.tally import CSV, MAX_PAIRS, MAX_RESOURCE_BYTES, CsvRecords, Malformed, ResourceSpec, TallySpec

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from mockexport.source import Chunks, Source
    from mockexport.tally import CsvFormat

__all__ = ["AsFhir", "as_fhir"]

VERSION = 1  # of what is written; another one has other ETags
CHUNK_BYTES = 1 << 18


def as_fhir(source: Source, csv: CsvFormat = CSV) -> Source:
    """Return a source's exports as FHIR; `csv` is how its CSV is written."""
    if isinstance(source, MockSource):
        return source if isinstance(source, MockFhirSource) else MockFhirSource(source.kernel)
    if isinstance(source, UnionSource):
        return UnionSource(*(as_fhir(part, csv) for part in source.parts))
    return AsFhir(source, csv)


@dataclass(frozen=True, slots=True)
class _View(Download):
    """A download as FHIR, with the one of the source that it is made from; None for the Patients of an export."""

    origin: Download | None = None


class AsFhir:
    """The exports of a source as NDJSON; `csv` is how its CSV is written. See `as_fhir`.

    A malformed row of CSV ends its download with UntrustedDataError, and so do other than the declared rows.
    """

    def __init__(self, source: Source, csv: CsvFormat = CSV) -> None:
        self._source = source
        self._csv = csv
        self._found: dict[str, dict[str, _View]] = {}  # by the export and id, when one was last looked for
        self._looked_into: dict[tuple[str, str], tuple[str, _View]] = {}  # by export and id; with the strong ETag

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without what can be found again."""
        return AsFhir, (self._source, self._csv)

    @property
    def name(self) -> str:
        """The name of the source."""
        return self._source.name

    def exports(self) -> Sequence[str]:
        """Return the ids of the exports, those of the source."""
        return self._source.exports()

    def downloads(self, export: str) -> list[_View]:
        """Return the downloads of an export: its Patients, if there are records in CSV, then each of the source."""
        origins = list(self._source.downloads(export))
        views = [
            self._observations(origin) if origin.format == "csv" else self._resources(origin) for origin in origins
        ]
        records = _records(origins)
        return [self._patients(export, records), *views] if records else [*views]

    def open(self, download: Download, offset: int = 0, **watch: Any) -> Chunks:
        """Stream a download's bytes; those of records are made again from the first one on, and dropped.

        Raises ChangedError if it changed since it was listed.
        """
        view = download if isinstance(download, _View) else self._find(download)
        if view.origin is None:
            return _from(offset, self._patient_lines(download, watch))
        if view.origin.format != "csv":
            return self._source.open(replace(view.origin, etag=download.etag), offset, **watch)
        if download.etag not in (None, self._observations(view.origin).etag):
            raise _changed(download)
        return _from(offset, self._observation_lines(view.origin, watch))

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _find(self, download: Download) -> _View:
        """Return a download that was not listed here, or was written down since, as it is listed now.

        An export is listed once for all of its downloads, as long as they are the same versions.
        """
        known = self._found.get(download.export, {}).get(download.id)
        if known and known.etag == download.etag and is_strong(download.etag):
            return known
        views = {view.id: view for view in self.downloads(download.export)}
        self._found = {download.export: views}
        if download.id not in views:
            raise no_such("download", download.id, f"export {download.export!r}", list(views))
        return views[download.id]

    # ---- Downloads of resources ----

    def _resources(self, origin: Download) -> _View:
        """Return a download of NDJSON, with the one type of its resources, if that can be told."""
        if origin.event_types:
            return _view(origin, event_types=origin.event_types if len(origin.event_types) == 1 else None)
        key, etag = (origin.export, origin.id), origin.etag or ""
        known, view = self._looked_into.get(key, ("", None))
        if view is None or known != etag:
            view = self._look_into(origin)
            if is_strong(etag):
                self._looked_into[key] = etag, view
        return view

    def _look_into(self, origin: Download) -> _View:
        """Read the beginning of a download for the type of its resources: its first row, and what came with it."""
        beginning, ended = bytearray(), True
        with closing(self._source.open(origin)) as chunks:
            for chunk in chunks:
                beginning += chunk
                if b"\n" in chunk or len(beginning) > MAX_RESOURCE_BYTES:
                    ended = False
                    break
        tally = ResourceSpec().new()
        try:
            tally.feed(bytes(beginning if ended else beginning[: beginning.rfind(b"\n") + 1]))
            types = tuple(tally.finish().totals)
        except Malformed:  # whoever reads it is told
            return _view(origin, event_types=None)
        if ended and not types:
            return _view(origin, event_types=(), rows=0)
        return _view(origin, event_types=types if len(types) == 1 else None)

    # ---- Downloads of records ----

    def _observations(self, origin: Download) -> _View:
        """Return a download of CSV as Observations."""
        return _view(
            origin,
            event_types=("Observation",),
            size=None,
            etag=self._etag([origin.export, origin.id], [origin]),
            split_size=None,
            format="ndjson",
            base=None,
        )

    def _observation_lines(self, origin: Download, watch: Mapping[str, Any]) -> Chunks:
        records = CsvRecords(self._csv)
        observations = Observations(_uuid(origin.export, origin.id))
        with closing(self._source.open(origin, **watch)) as chunks, _malformed(origin):
            for chunk in chunks:
                yield from _joined(map(observations.line, records.feed(chunk)))
            yield from _joined(map(observations.line, records.finish()))
        if origin.rows not in (None, records.rows):
            raise UntrustedDataError(
                f"download {origin.id!r} of export {origin.export!r} declares {origin.rows:,} rows "
                f"but holds {records.rows:,}"
            )

    # ---- Patients ----

    def _patients(self, export: str, records: Sequence[Download]) -> _View:
        """Return the download of an export's patients: those that are declared, or else those that are found."""
        names = _declared_patients(records)
        whole = summarise(export, records)
        return _View(
            export=export,
            id=_uuid(export),
            rows=None if names is None else len(names),
            event_types=("Patient",),
            patients=names,
            start_time=whole.start_time,
            end_time=whole.end_time,
            etag=self._etag([export], records) if names is None else self._etag([export, *names], []),
            format="ndjson",
        )

    def _patient_lines(self, download: Download, watch: Mapping[str, Any]) -> Chunks:
        records = _records(self._source.downloads(download.export))
        if download.etag not in (None, self._patients(download.export, records).etag):
            raise _changed(download)
        declared = _declared_patients(records)
        names = self._find_patients(records, watch) if declared is None else declared
        yield from _joined(json_line(patient(name)) for name in names)

    def _find_patients(self, records: Iterable[Download], watch: Mapping[str, Any]) -> Sequence[str]:
        """Read all records for their patients."""
        names: set[str] = set()
        for origin in records:
            tally = TallySpec(csv=self._csv).new()
            with closing(self._source.open(origin, **watch)) as chunks, _malformed(origin):
                for chunk in chunks:
                    tally.feed(chunk)
                names.update(tally.finish().patients)
            if len(names) > MAX_PAIRS:
                raise UntrustedDataError(f"export {origin.export!r} has more than {MAX_PAIRS:,} patients")
        return sorted(names)

    def _etag(self, names: Sequence[str], origins: Iterable[Download]) -> str | None:
        """Return the ETag of what is made of these: the same for the same bytes, if those of the origins are it."""
        etags = [origin.etag for origin in origins]
        if not all(etags):
            return None
        made_of = [VERSION, *map(repr, (self._csv, names, etags))]
        digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]
        return digest if all(map(is_strong, etags)) else f'{WEAK}"{digest}"'


def _view(origin: Download, **changes: Any) -> _View:
    same = {field.name: getattr(origin, field.name) for field in fields(Download)}
    return _View(**(same | changes), origin=origin)


def _records(downloads: Iterable[Download]) -> list[Download]:
    return [download for download in downloads if download.format == "csv"]


def _declared_patients(records: Iterable[Download]) -> tuple[str, ...] | None:
    """Return the patients that downloads declare, sorted; None if one does not declare its own."""
    names: set[str] = set()
    for download in records:
        if download.patients is None:
            return None
        names.update(download.patients)
    return tuple(sorted(names))


def _uuid(*names: str) -> str:
    """Return the id of what is made of an export or a download: a version 5 UUID of the JSON array of its names."""
    return str(uuid5(NAMESPACE, json.dumps(names, separators=(",", ":"))))


def _joined(lines: Iterable[bytes]) -> Chunks:
    """Yield lines in chunks."""
    some: list[bytes] = []
    size = 0
    for line in lines:
        some.append(line)
        size += len(line)
        if size >= CHUNK_BYTES:
            yield b"".join(some)
            some, size = [], 0
    if some:
        yield b"".join(some)


def _from(offset: int, chunks: Chunks) -> Chunks:
    """Yield the bytes of chunks from `offset` on."""
    with closing(chunks):
        for chunk in chunks:
            if offset < len(chunk):
                yield chunk[offset:]
            offset = max(0, offset - len(chunk))


@contextmanager
def _malformed(origin: Download) -> Generator[None, None, None]:
    """Say which download is malformed."""
    try:
        yield
    except Malformed as problem:
        raise UntrustedDataError(
            f"download {origin.id!r} of export {origin.export!r} is malformed at {problem}; it cannot become FHIR"
        ) from None


def _changed(download: Download) -> ChangedError:
    return ChangedError(
        f"download {download.id!r} of export {download.export!r} changed since it was listed; try again"
    )
