"""The resources of an NDJSON body in plain Python: rows out of chunks, and what is read of each.

This is what all accumulators of FHIR share; the rules are in `contract`.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from mockexport.tally.fhir.contract import BY, REASONS, TYPE_NAME, UNASSIGNED, BadResource
from mockexport.tally.fhir.json_values import JsonObject, Problem, Text, decoded, parse_object, text_of
from mockexport.tally.fhir.paths import PATIENT_PATHS
from mockexport.tally.reference import BYTE_ORDER_MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mockexport.tally.fhir.json_values import Value

__all__ = ["Resource", "ResourceReader", "check_by", "label_of"]

(TOO_LONG, NOT_UTF8, _, _, _, _, NO_TYPE, NOT_A_NAME, _, _) = REASONS
(NO_PATH, NO_REFERENCE, NOT_A_PATIENT, CONTAINED, IDENTIFIER_ONLY) = UNASSIGNED
WHITE_SPACE = b" \t\r\n"
LINES_KEPT = 10  # of the rows that are left out, by reason

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource: its type, whether it has a patient, the patient's name or why there is none, and all its members."""

    type: str
    is_patient: bool
    who: str
    members: JsonObject

    def label(self, by: str) -> str:
        """Return what it is counted as. Raises Problem."""
        return (label_of(self.members.member(by)) if by != "type" else "") or self.type


class ResourceReader(Generic[T]):
    """Reads the resources of one NDJSON body, as its bytes arrive, and yields what `read` makes of each.

    `read` raises Problem where a resource is malformed. The other arguments are those of `ResourceTally`. `rows` counts
    the rows so far, malformed ones included, `left_out` those that were left out, by reason; `line` is that of the
    latest resource. After an error it is of no further use.
    """

    def __init__(
        self, read: Callable[[Resource], T], *, skip: bool, max_row_bytes: int, base: str | None = None
    ) -> None:
        self.rows = 0
        self.line = 1
        self.row = b""
        self.left_out: Counter[str] = Counter()
        self.first_left_out: dict[str, list[int]] = {}
        self._read = read
        self._skip = skip
        self._max_row_bytes = max_row_bytes
        self._base = base or None
        self._carry = bytearray()  # a row without its end
        self._dropped = 0  # bytes of a row that is too long
        self._at_start = True

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end where a row ends."""
        return not self._carry and not self._dropped

    def feed(self, chunk: bytes, /) -> Iterator[T]:
        """Yield what is read of the resources that end in the next bytes; take all of them. Raises BadResource."""
        *ends, rest = bytes(chunk).split(b"\n")
        for end in ends:
            self._keep(end)
            yield from self._take_row()
            self.line += 1
        self._keep(rest)

    def finish(self) -> Iterator[T]:
        """Yield what is read of the last row, if it has no line end. Raises BadResource."""
        yield from self._take_row()

    def _keep(self, part: bytes) -> None:
        """Add to the row, unless it is too long; the mark at the start is none of its bytes."""
        if self._dropped:
            self._dropped += len(part)
            return
        self._carry += part
        mark = len(BYTE_ORDER_MARK) if self._at_start and self._carry.startswith(BYTE_ORDER_MARK) else 0
        if len(self._carry) - mark > self._max_row_bytes and not (
            self._at_start and BYTE_ORDER_MARK.startswith(self._carry)
        ):
            if not self._skip:
                raise BadResource(self.line, TOO_LONG)  # before all of it has come
            self._dropped, self._carry = len(self._carry), bytearray()

    def _take_row(self) -> Iterator[T]:
        """Yield what the row that has ended holds, or say what is wrong with it."""
        row, too_long = bytes(self._carry), self._dropped
        self._carry, self._dropped = bytearray(), 0
        if self._at_start:
            row, self._at_start = row.removeprefix(BYTE_ORDER_MARK), False
        if not too_long and len(row) <= self._max_row_bytes and not row.strip(WHITE_SPACE):
            return
        if too_long or len(row) > self._max_row_bytes:
            self._leave_out(TOO_LONG)  # before it is counted: it may be seen before its end
            self.rows += 1
            return
        self.rows += 1
        self.row = row
        try:
            found = self._read(resource_of(row, self._base))
        except Problem as problem:
            self._leave_out(str(problem))
        else:
            yield found

    def _leave_out(self, reason: str) -> None:
        if not self._skip:
            raise BadResource(self.line, reason)
        self.left_out[reason] += 1
        if self.left_out[reason] <= LINES_KEPT:
            self.first_left_out.setdefault(reason, []).append(self.line)


def check_by(by: str) -> None:
    """Raise ValueError unless resources may be counted by that."""
    if by not in BY:
        raise ValueError(f"by is {by!r}, not type, category or code")


def resource_of(row: bytes, base: str | None) -> Resource:
    """Return the resource in a row. Raises Problem."""
    try:
        text = row.decode()
    except UnicodeDecodeError:
        raise Problem(NOT_UTF8) from None
    members = parse_object(text)
    found = members.member("resourceType")
    if found is None:
        raise Problem(NO_TYPE)
    name = decoded(found) if isinstance(found, Text) else ""
    if not TYPE_NAME.fullmatch(name):
        raise Problem(NOT_A_NAME)
    is_patient, who = patient_of(members, PATIENT_PATHS.get(name), base)
    return Resource(name, is_patient, who, members)


def patient_of(members: JsonObject, path: str | None, base: str | None) -> tuple[bool, str]:
    """Return whether a resource has a patient, and its name or why there is none."""
    if path is None:
        return False, NO_PATH
    if path == "id":
        identity = members.text("id")
        return (True, identity) if identity else (False, NO_REFERENCE)
    first = None
    for reference in references(members, path.split(".")):
        is_patient, who = named_patient(reference, base)
        if is_patient:
            return True, who
        first = first or who
    return False, first or NO_REFERENCE


def references(value: JsonObject, keys: Sequence[str]) -> Iterator[JsonObject]:
    """Yield what a path leads to, in order; each is looked for only once it is asked for."""
    if not keys:
        yield value
        return
    for item in value.objects(keys[0]):
        yield from references(item, keys[1:])


def named_patient(reference: JsonObject, base: str | None) -> tuple[bool, str]:
    """Return whether a reference names a patient, and the name or why not."""
    text = reference.text("reference")
    if not text:
        has_identifier = any(json.loads(key) == "identifier" for key, _ in reference)
        return False, IDENTIFIER_ONLY if has_identifier else NO_REFERENCE
    if text.startswith("#"):
        return False, CONTAINED
    if text.startswith("Patient?"):  # a search, by an identifier as a rule (FHIR R4, "Conditional references")
        return False, IDENTIFIER_ONLY
    text = text.partition("/_history/")[0]
    if text.startswith("urn:"):
        return True, text
    if base is not None:
        text = text.removeprefix(f"{base}/")
    home, _, identity = text.rpartition("/")
    if not identity or not (home == "Patient" or ("://" in text and home.endswith("/Patient"))):
        return False, NOT_A_PATIENT
    return True, identity if home == "Patient" else text


def label_of(value: Value | None) -> str:
    """Return what a `code` or `category` says; nothing if it says nothing."""
    if isinstance(value, list) and not isinstance(value, JsonObject):
        value = value[0] if value else None
    if not isinstance(value, JsonObject):
        return text_of(value)
    codings = value.member("coding")
    first = codings[0] if isinstance(codings, list) and not isinstance(codings, JsonObject) and codings else None
    if isinstance(first, JsonObject):
        system, code = first.text("system"), first.text("code")
        if code:
            return f"{system}|{code}" if system else code
    text = value.text("text")
    return f"text:{text}" if text else ""
