"""What can go wrong, as one tree; each branch has its exit code.

    MockExportError
    ├── UsageError          2  the request itself is wrong
    ├── NotFoundError       3  no such export, download or file
    ├── NotAuthorisedError  4  the source requires a token, or refused the one it was given
    ├── UnreachableError    5  the source could not be reached, after retries
    │   └── NotResumableError     a body cannot be resumed; it may be read from its start
    └── UntrustedDataError  6  the data is truncated, malformed or not what was declared
        ├── ChangedError       what is read under one name changed; it is not read again
        └── MissingError       a file that was declared is not there

A message is one line that names what, where and what to do next. Where an argument of the library would help, the error
names it as a `Remedy`, which a command line can put in the words of its own options. Errors carry plain values only, so
that they can be pickled.
"""

from __future__ import annotations

import difflib
import re
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "ChangedError",
    "MissingError",
    "MockExportError",
    "NotAuthorisedError",
    "NotFoundError",
    "NotResumableError",
    "Remedy",
    "UnreachableError",
    "UntrustedDataError",
    "UsageError",
    "listed",
    "no_such",
    "suggestion",
    "url_meant",
]


NAMES_SHOWN = 6
ADDRESS = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}(/.*)?")


class Remedy(Enum):
    """What may help against an error, in terms of the library's arguments: the end of the error's message."""

    ALL_COLUMNS = "patient_column, time_column, type_column and value_column name the columns"
    ALLOW_PARTIAL = "allow_partial=True takes what there is"
    ALLOW_UNPROVEN_END = "allow_unproven_end=True takes them as they are"
    CA_BUNDLE = "ca_bundle names other certificates to trust"
    COLUMNS = "patient_column and type_column name the columns"
    ENDPOINT = "endpoint names another server of the store"
    EXPORT_TIMEOUT = "a longer timeout of the export waits longer for it"
    FEWER_JOBS = "fewer jobs need less memory"
    IGNORE = "ignore=[NAME] leaves it out"
    MAX_PAIRS = "a larger max_pairs raises the limit"
    MAX_ROW_BYTES = "a larger max_row_bytes raises the limit"
    REPLACE_JOURNAL = "if it is lost, with all that it alone held, replace_journal=True continues without it"
    RESTART = "restart=True begins another one"
    SKIP_MALFORMED = "skip_malformed=True counts the rest"
    TIMEOUT = "a longer timeout waits longer for them"
    TOKEN = "token takes a bearer token"  # noqa: S105
    TRUST_CLOCK = "trust_clock=True takes it as it is"


class MockExportError(Exception):
    """The root of all expected errors; `str(error)` is the whole message, the remedy included."""

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str = "", *, remedy: Remedy | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy

    @property
    def message(self) -> str:
        """The message without the remedy."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy.value}" if self.remedy else self.message


class UsageError(MockExportError):
    """The request itself is wrong: an unknown kernel, a missing extra, an address that is not valid."""

    exit_code = 2


class NotFoundError(MockExportError):
    """No such export, download or file."""

    exit_code = 3


class NotAuthorisedError(MockExportError):
    """The source requires a token, or refused the one it was given."""

    exit_code = 4


class UnreachableError(MockExportError):
    """The source could not be reached, or stopped answering."""

    exit_code = 5


class NotResumableError(UnreachableError):
    """A body broke off and cannot be resumed: what was read of it is void; reading it from its start may succeed."""


class UntrustedDataError(MockExportError):
    """The data cannot be trusted: truncated, malformed, or other than declared."""

    exit_code = 6


class ChangedError(UntrustedDataError):
    """What is read under one name changed since it was listed, or while it was read; it is not read again."""


class MissingError(UntrustedDataError):
    """A file that its export declares is not there."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of a message: the known name that a user may have meant, in upper or lower case; or nothing."""
    names = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name.casefold(), names, n=1)
    return f"; did you mean {names[near[0]]!r}?" if near else ""


def listed(names: Sequence[str], last: str = "and") -> str:
    """Write a list as a sentence does: `p, times and where`."""
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def url_meant(text: str) -> str | None:
    """Return the URL that a user may have meant by an address such as localhost:8000; None for anything else."""
    return f"http://{text}" if ADDRESS.fullmatch(text) else None


def no_such(kind: str, name: str, where: str, known: Sequence[str]) -> NotFoundError:
    """Build the error for an unknown name, with the nearest known name or the first few of all."""
    if near := suggestion(name, known):
        hint = near.removeprefix("; ")
    elif known:
        hint = "it has " + ", ".join(known[:NAMES_SHOWN]) + (", …" if len(known) > NAMES_SHOWN else "")
    else:
        hint = "it has none"
    return NotFoundError(f"no {kind} {name!r} in {where}; {hint}")
