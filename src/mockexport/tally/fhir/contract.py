"""The contract of the two tallies of FHIR resources: the same counts, or the same error, however the bytes are cut.

A body is NDJSON, one resource a line (FHIR Bulk Data Access, "File requests").

- A row ends at an LF, or at the end of the body: no string of JSON holds an LF (RFC 8259, section 7). A row of JSON
  white space alone is no row. A UTF-8 byte order mark at the very start is no data.
- A row that is wrong in several ways has one reason, in this order: "too long", "not UTF-8", "not a JSON object" (by
  its first character), then the first problem from left to right of the three of JSON, then those of a resource: of
  its type, its patient, its label.
- Always checked: UTF-8, quotes, brackets and their depth, one object a row, and all that is read. `strict` also checks
  values that are not read: numbers, literals, escapes, commas and colons, and the reference always does.
- A key that is read must not stand twice in its object: `resourceType`, the keys of the type's path (paths.py) and
  `reference`, and, where the label has them, `code` or `category`, `coding`, `system`, `code`, `text`. Keys are
  compared with their escapes resolved. The same keys elsewhere, in `contained` say, mean nothing.

Which patient. Along the type's path, where a key holds a list, the first reference to a Patient counts. In a
reference, `/_history/…` is dropped, and so is the `base` of the server before it. Then `Patient/1` is the patient `1`;
an absolute URL that ends in `/Patient/…`, and a URN, are their own name. For a Patient itself it is its `id`. A
resource without a patient is counted by its type and the first reason that applies (`UNASSIGNED`).

Which label. By `type` it is the resource's type. By `code` or `category`, it is taken from the element of that name,
the first of a list: `system|code` or `code` from its first coding, else `text:…`; a string is itself. Without these it
is the type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from mockexport.errors import Remedy, UsageError, suggestion
from mockexport.model import Counts
from mockexport.tally.contract import MAX_PAIRS, Accumulator, Malformed

__all__ = [
    "BY",
    "FHIR",
    "MAX_DEPTH",
    "MAX_RESOURCE_BYTES",
    "REASONS",
    "TYPE_NAME",
    "UNASSIGNED",
    "BadResource",
    "FhirFormat",
    "ResourceTally",
]

BY = ("type", "category", "code")
"""What resources may be counted by."""

REASONS = (
    "too long",
    "not UTF-8",
    "not a JSON object",
    "not valid JSON",
    "nested too deeply",
    "more than one value",
    "no resourceType",
    "resourceType is not a name",
    "a key stands twice",
    "a text is not Unicode",
)
"""Why a row is malformed. A text is not Unicode if an escape in it is half of a surrogate pair (RFC 8259, 8.2)."""

UNASSIGNED = ("no-patient-path", "no-reference", "not-a-patient", "contained", "identifier-only")
"""Why a resource has no patient: its type never has one; it has no reference; it refers to something else (a Group, a
Device), to a resource within itself, or only by an identifier."""

MAX_DEPTH = 1_000
"""How many brackets may be open at a time."""

MAX_RESOURCE_BYTES = 16 << 20
"""The longest row that is taken in by default: documents carry their attachments."""

TYPE_NAME = re.compile(r"[A-Z][A-Za-z0-9_]{0,254}")
"""The name of a resource type (FHIR R4, StructureDefinition, constraint sdf-0)."""


@dataclass(frozen=True, slots=True)
class FhirFormat:
    """How FHIR resources are counted: by `type`, `category` or `code`, and if values that are not read are checked.

    `max_row_bytes` is the longest row that is taken in. Raises UsageError for another `by`.
    """

    by: str = "type"
    strict: bool = False
    max_row_bytes: int = MAX_RESOURCE_BYTES

    def __post_init__(self) -> None:
        if self.by not in BY:
            raise UsageError(
                f"resources are counted by type, category or code, not by {self.by!r}{suggestion(self.by, BY)}"
            )


FHIR = FhirFormat()
"""Resources by their type."""


class BadResource(Malformed):
    """A body that cannot be counted, for one of the `REASONS`."""

    @property
    def remedy(self) -> Remedy:
        """A higher limit for a long row; other rows can be left out."""
        return Remedy.MAX_ROW_BYTES if self.reason == REASONS[0] else Remedy.SKIP_MALFORMED


class ResourceTally(Accumulator[Counts], Protocol):
    """Counts the FHIR resources of one NDJSON body by patient and label, as its bytes arrive.

    `skip` says what a malformed row does: it is left out and counted by reason, or (the default) it ends the tally.
    `by`, `strict` and `max_row_bytes` are those of `FhirFormat`, `base` that of `mockexport.model.Download`. A row
    whose pair of patient and label is one more than `max_pairs` distinct ones, or takes them past `PAIR_BYTES` each on
    average, always ends it; a reason of `UNASSIGNED` counts as a patient with a name of two bytes.
    """

    def __init__(
        self,
        *,
        skip: bool = False,
        max_row_bytes: int = MAX_RESOURCE_BYTES,
        max_pairs: int = MAX_PAIRS,
        by: str = "type",
        strict: bool = False,
        base: str | None = None,
    ) -> None: ...
