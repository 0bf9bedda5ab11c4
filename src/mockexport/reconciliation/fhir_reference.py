"""The keys of FHIR resources in plain Python: the reference for the native accumulator, written to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mockexport.reconciliation.contract import Lines, RecordFacts
from mockexport.reconciliation.reference import FactsBuilder, record_key
from mockexport.sorting import distinct_record
from mockexport.stats import parse_event_time
from mockexport.tally import MAX_RESOURCE_BYTES, Problem, ResourceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from mockexport.tally import JsonObject, Resource

    T = TypeVar("T")

__all__ = ["ReferenceResourceKeys"]

SUBSETTED = "SUBSETTED"
WHITE_SPACE = b" \t\r\n"


class ReferenceResourceKeys:
    """The facts and keys of one NDJSON body; the contract is `mockexport.reconciliation.contract.ResourceKeys`."""

    def __init__(
        self,
        *,
        key: bytes,
        download: int = 0,
        begin: int | None = None,
        end: int | None = None,
        ids: bool = False,
        max_row_bytes: int = MAX_RESOURCE_BYTES,
        base: str | None = None,
    ) -> None:
        self._reader = ResourceReader(identity_of, skip=True, max_row_bytes=max_row_bytes, base=base)
        self._facts = FactsBuilder(begin, end)
        self._key = key
        self._download = download
        self._records: list[bytes] = []
        self._ids: list[bytes] | None = [] if ids else None
        self._ended = False

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return self._reader.rows

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end where a row ends."""
        return self._reader.between_rows

    def feed(self, chunk: bytes, /) -> None:
        """Take in the next bytes."""
        self._end()
        self._take(self._reader.feed(chunk))
        self._ended = False

    def finish(self) -> RecordFacts:
        """End the body, and return its facts."""
        self._end()
        self._take(self._reader.finish())
        first = self._reader.first_left_out
        return self._facts.built(
            {reason: Lines(rows, tuple(first[reason])) for reason, rows in self._reader.left_out.items()}
        )

    def take_records(self) -> bytes:
        """Return the records since the last call."""
        records, self._records = self._records, []
        return b"".join(records)

    def take_ids(self) -> bytes:
        """Return the records of ids since the last call."""
        if self._ids is None:
            return b""
        ids, self._ids = self._ids, []
        return b"".join(ids)

    def _end(self) -> None:
        """Refuse to go on after this call; `feed` takes that back when its chunk was sound."""
        if self._ended:
            raise ValueError("this accumulator has ended")
        self._ended = True

    def _take(self, identities: Iterable[Identity]) -> None:
        for name, version, time, subsetted in identities:
            line = self._reader.line
            whole = f"{name}/_history/{version}" if name and version else name
            made_of = whole.encode() if whole else self._reader.row.strip(WHITE_SPACE)
            self._records.append(distinct_record(record_key(self._key, made_of), self._download, line))
            if self._ids is not None and name:
                self._ids.append(distinct_record(record_key(self._key, name.encode()), self._download, line))
            self._facts.add(time, line, subsetted=subsetted)


class Identity(NamedTuple):
    """What tells a resource apart: `Type/id`, empty without an id; its version; when it changed; if it is a part."""

    name: str
    version: str
    time: int | None
    subsetted: bool


def identity_of(resource: Resource) -> Identity:
    """Return what tells a resource apart."""
    identity = text(resource.members, "id")
    meta = read(lambda: resource.members.object("meta"))
    if meta is None:
        return Identity(f"{resource.type}/{identity}" if identity else "", "", None, subsetted=False)
    tags = read(lambda: meta.objects("tag")) or []
    return Identity(
        f"{resource.type}/{identity}" if identity else "",
        text(meta, "versionId"),
        parse_event_time(text(meta, "lastUpdated").encode()),
        any(text(tag, "code") == SUBSETTED for tag in tags),
    )


def text(value: JsonObject, name: str) -> str:
    """Return a member that is a string; nothing for any other."""
    return read(lambda: value.text(name)) or ""


def read(get: Callable[[], T]) -> T | None:
    """Return what can be read; None where a key stands twice, or a text is no Unicode."""
    try:
        return get()
    except Problem:
        return None
