"""OperationOutcome: how FHIR tells of errors (FHIR R4, OperationOutcome)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Issues", "outcome_text", "read_issues"]

TEXT_SHOWN = 200
ERRORS = ("fatal", "error")


class Issues(NamedTuple):
    """Issues by severity and code, and the text of the first that is an error, or of the first at all."""

    numbers: Counter[tuple[str, str]]
    first: str | None

    @property
    def errors(self) -> int:
        """How many are errors."""
        return sum(n for (severity, _), n in self.numbers.items() if severity in ERRORS)

    @property
    def text(self) -> str:
        """All of it in one line."""
        numbers = ", ".join(f"{n:,} {severity} {code}" for (severity, code), n in sorted(self.numbers.items()))
        return f"{numbers}; {self.first}" if self.first else numbers


def outcome_text(body: bytes) -> str | None:
    """Return what an OperationOutcome says of its first error; None if it is not one."""
    issues = read_issues([body])
    return issues.first


def read_issues(rows: Iterable[bytes]) -> Issues:
    """Read rows of NDJSON; what is not an OperationOutcome counts as an error of its own."""
    numbers: Counter[tuple[str, str]] = Counter()
    first, first_is_error = None, False
    for row in rows:
        for severity, code, text in _issues(row):
            numbers[severity, code] += 1
            if first is None or (severity in ERRORS and not first_is_error):
                first, first_is_error = text, severity in ERRORS
    return Issues(numbers, first)


def _issues(row: bytes) -> Iterator[tuple[str, str, str | None]]:
    if not row.strip():
        return
    try:
        document = orjson.loads(row)
    except orjson.JSONDecodeError:
        document = None
    is_outcome = isinstance(document, dict) and document.get("resourceType") == "OperationOutcome"
    issues: Any = document.get("issue") if is_outcome else None
    if not isinstance(issues, list):
        yield "error", "not-an-outcome", None
        return
    for issue in issues:
        if isinstance(issue, dict):
            yield str(issue.get("severity")), str(issue.get("code")), _text(issue)


def _text(issue: dict[str, Any]) -> str:
    details = issue.get("details")
    text = issue.get("diagnostics") or (details.get("text") if isinstance(details, dict) else None) or issue.get("code")
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:TEXT_SHOWN]
