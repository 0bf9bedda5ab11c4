"""The tally of FHIR resources in plain Python: the reference for the native one, written to be read.

A row is parsed without `json`: an object keeps all its keys, also one that stands twice, and no nesting is too deep.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from mockexport.model import Counts
from mockexport.tally.contract import MAX_PAIRS, PAIR_BYTES, TooManyPairs, pairs_too_large, too_many_pairs
from mockexport.tally.fhir.contract import (
    BY,
    MAX_DEPTH,
    MAX_RESOURCE_BYTES,
    REASONS,
    TYPE_NAME,
    UNASSIGNED,
    BadResource,
)
from mockexport.tally.fhir.paths import PATIENT_PATHS
from mockexport.tally.reference import BYTE_ORDER_MARK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ReferenceResourceTally"]

(TOO_LONG, NOT_UTF8, NOT_OBJECT, NOT_VALID, TOO_DEEP, MORE_VALUES, NO_TYPE, NOT_A_NAME, TWICE, NOT_UNICODE) = REASONS
(NO_PATH, NO_REFERENCE, NOT_A_PATIENT, CONTAINED, IDENTIFIER_ONLY) = UNASSIGNED
WHITE_SPACE = b" \t\r\n"

TOKEN = re.compile(
    r"""[ \t\r\n]*+ (?:
        (?P<bracket> [{}\[\]:,] )
      | (?P<text> " [^"\\\x00-\x1f]*+ (?: \\ (?: ["\\/bfnrt] | u[0-9a-fA-F]{4} ) [^"\\\x00-\x1f]*+ )*+ " )
      | (?P<scalar> true | false | null | -? (?: 0 | [1-9][0-9]*+ ) (?: \.[0-9]++ )?+ (?: [eE][-+]?[0-9]++ )?+ )
    )""",
    re.VERBOSE,
)


class Text(str):
    """A string as it is written, with its quotes and escapes."""

    __slots__ = ()


class Scalar(str):
    """A number, true, false or null, as it is written."""

    __slots__ = ()


class Object(list[tuple[Text, "Value"]]):
    """The members of an object, in order."""


Value: TypeAlias = "Text | Scalar | Object | list[Value]"


class _Problem(Exception):  # noqa: N818 - as Malformed
    """The reason why a row is malformed."""


class ReferenceResourceTally:
    """Counts the FHIR resources of one NDJSON body; the contract is `mockexport.tally.fhir.contract.ResourceTally`."""

    def __init__(
        self,
        *,
        skip: bool = False,
        max_row_bytes: int = MAX_RESOURCE_BYTES,
        max_pairs: int = MAX_PAIRS,
        by: str = "type",
        strict: bool = False,  # noqa: ARG002 - it always is
        base: str | None = None,
    ) -> None:
        if by not in BY:
            raise ValueError(f"by is {by!r}, not type, category or code")
        self.rows = 0
        self._skip = skip
        self._max_row_bytes = max_row_bytes
        self._max_pairs = max_pairs
        self._by = by
        self._base = base or None
        self._numbers: Counter[tuple[bool, str, str]] = Counter()  # by: has a patient; the patient or why not; label
        self._pair_bytes = 0
        self._left_out: Counter[str] = Counter()
        self._carry = bytearray()  # a row without its end
        self._dropped = 0  # bytes of a row that is too long
        self._line = 1
        self._at_start = True
        self._ended = False

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end where a row ends."""
        return not self._carry and not self._dropped

    def feed(self, chunk: bytes, /) -> None:
        """Take in the next bytes."""
        self._end()
        *ends, rest = bytes(chunk).split(b"\n")
        for end in ends:
            self._keep(end)
            self._take_row()
            self._line += 1
        self._keep(rest)
        self._ended = False

    def finish(self) -> Counts:
        """End the body; what stands in the carry is its last row."""
        self._end()
        self._take_row()
        patients: dict[str, dict[str, int]] = {}
        unassigned: dict[str, dict[str, int]] = {}
        for (is_patient, who, label), n in self._numbers.items():
            if is_patient:
                patients.setdefault(who, {})[label] = n
            else:
                unassigned.setdefault(label, {})[who] = n
        return Counts(patients, dict(self._left_out), unassigned)

    def _end(self) -> None:
        """Refuse to go on after this call; `feed` takes that back when its chunk was sound."""
        if self._ended:
            raise ValueError("this tally has ended")
        self._ended = True

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
                raise BadResource(self._line, TOO_LONG)  # before all of it has come
            self._dropped, self._carry = len(self._carry), bytearray()

    def _take_row(self) -> None:
        """Count the row that has ended, or say what is wrong with it."""
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
        try:
            record = record_of(row, self._by, self._base)
        except _Problem as problem:
            self._leave_out(str(problem))
        else:
            self._count(*record)

    def _leave_out(self, reason: str) -> None:
        if not self._skip:
            raise BadResource(self._line, reason)
        self._left_out[reason] += 1

    def _count(self, is_patient: bool, who: str, label: str) -> None:
        key = (is_patient, who, label)
        if key not in self._numbers:
            size = (len(who.encode()) if is_patient else 2) + len(label.encode())
            if len(self._numbers) + 1 > self._max_pairs:
                raise TooManyPairs(self._line, too_many_pairs(self._max_pairs))
            if self._pair_bytes + size > self._max_pairs * PAIR_BYTES:
                raise TooManyPairs(self._line, pairs_too_large(self._max_pairs))
            self._pair_bytes += size
        self._numbers[key] += 1


def record_of(row: bytes, by: str, base: str | None) -> tuple[bool, str, str]:
    """Return whether a resource has a patient, its name or why there is none, and the label. Raises _Problem."""
    try:
        text = row.decode()
    except UnicodeDecodeError:
        raise _Problem(NOT_UTF8) from None
    resource = parse_object(text)
    found = member(resource, "resourceType")
    if found is None:
        raise _Problem(NO_TYPE)
    name = decoded(found) if isinstance(found, Text) else ""
    if not TYPE_NAME.fullmatch(name):
        raise _Problem(NOT_A_NAME)
    is_patient, who = patient_of(resource, PATIENT_PATHS.get(name), base)
    label = "" if by == "type" else label_of(member(resource, by))
    return is_patient, who, label or name


def parse_object(text: str) -> Object:
    """Parse a row that is one JSON object. Raises _Problem with the first thing that is wrong."""
    if not text.lstrip(" \t\r\n").startswith("{"):
        raise _Problem(NOT_OBJECT)
    tokens = _Tokens(text)
    tokens.next()
    result = Object()
    containers: list[Object | list[Value]] = [result]  # those that are open, the innermost one last
    while containers:
        item = tokens.add_item(containers[-1])
        if item is None:
            containers.pop()
        elif isinstance(item, list):
            containers.append(item)
            if len(containers) > MAX_DEPTH:
                raise _Problem(TOO_DEEP)
    if text[tokens.at :].strip(" \t\r\n"):
        raise _Problem(MORE_VALUES)
    return result


class _Tokens:
    """The tokens of a JSON text, from left to right; `at` is where the next one begins."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0

    def next(self) -> str:
        """Return a Text, a Scalar or a bracket, comma or colon."""
        token = TOKEN.match(self._text, self.at)
        if token is None:
            raise _Problem(NOT_VALID)
        self.at = token.end()
        mark = token[token.lastgroup or 0]
        return Text(mark) if token.lastgroup == "text" else Scalar(mark) if token.lastgroup == "scalar" else mark

    def add_item(self, container: Object | list[Value]) -> Value | None:
        """Read the next item of an open container and add it, an object or a list still empty; None is its end."""
        mark = self.next()
        if mark == ("}" if isinstance(container, Object) else "]"):
            return None
        if container:
            if mark != ",":
                raise _Problem(NOT_VALID)
            mark = self.next()
        if not isinstance(container, Object):
            container.append(item := self._value(mark))
            return item
        key = mark
        if not isinstance(key, Text) or self.next() != ":":
            raise _Problem(NOT_VALID)
        container.append((key, item := self._value(self.next())))
        return item

    def _value(self, mark: str) -> Value:
        if isinstance(mark, Text | Scalar):
            return mark
        if mark not in ("{", "["):
            raise _Problem(NOT_VALID)
        return Object() if mark == "{" else []


def member(value: Object, name: str) -> Value | None:
    """Return a member's value, None if there is none. Raises _Problem if there are two."""
    found = [item for key, item in value if (json.loads(key) if "\\" in key else key[1:-1]) == name]
    if len(found) > 1:
        raise _Problem(TWICE)
    return found[0] if found else None


def decoded(text: Text) -> str:
    """Return a string with its escapes resolved. Raises _Problem for half of a surrogate pair."""
    value: str = json.loads(text)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Problem(NOT_UNICODE) from None
    return value


def text_of(value: Value | None) -> str:
    """Return a string; nothing for anything else."""
    return decoded(value) if isinstance(value, Text) else ""


def patient_of(resource: Object, path: str | None, base: str | None) -> tuple[bool, str]:
    """Return whether a resource has a patient, and its name or why there is none."""
    if path is None:
        return False, NO_PATH
    if path == "id":
        identity = text_of(member(resource, "id"))
        return (True, identity) if identity else (False, NO_REFERENCE)
    first = None
    for reference in references(resource, path.split(".")):
        is_patient, who = named_patient(reference, base)
        if is_patient:
            return True, who
        first = first or who
    return False, first or NO_REFERENCE


def references(value: Object, keys: Sequence[str]) -> Iterator[Object]:
    """Yield what a path leads to, in order; each is looked for only once it is asked for."""
    if not keys:
        yield value
        return
    found = member(value, keys[0])
    for item in [found] if isinstance(found, Object) else found if isinstance(found, list) else []:
        if isinstance(item, Object):
            yield from references(item, keys[1:])


def named_patient(reference: Object, base: str | None) -> tuple[bool, str]:
    """Return whether a reference names a patient, and the name or why not."""
    text = text_of(member(reference, "reference"))
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
    if isinstance(value, list) and not isinstance(value, Object):
        value = value[0] if value else None
    if not isinstance(value, Object):
        return text_of(value)
    codings = member(value, "coding")
    first = codings[0] if isinstance(codings, list) and not isinstance(codings, Object) and codings else None
    if isinstance(first, Object):
        system, code = text_of(member(first, "system")), text_of(member(first, "code"))
        if code:
            return f"{system}|{code}" if system else code
    text = text_of(member(value, "text"))
    return f"text:{text}" if text else ""
