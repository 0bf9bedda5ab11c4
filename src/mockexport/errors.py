"""What can go wrong, as one tree; each branch has its exit code.

    MockExportError
    ├── UsageError          2  the request itself makes no sense
    ├── NotFoundError       3  no such export, download or file
    ├── NotAuthorisedError  4  the source wants a token, or refused ours
    ├── UnreachableError    5  the source could not be reached, after retries
    │   └── NotResumableError     a body can't be gone on with; it may be read from its start
    └── UntrustedDataError  6  the data is truncated, malformed or not what was declared
        └── ChangedError       what is read under one name changed; it is not read again

A message is one line that names what, where and what to do next. Errors carry plain values only, so that they
survive a trip through a process pool.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ChangedError",
    "MockExportError",
    "NotAuthorisedError",
    "NotFoundError",
    "NotResumableError",
    "UnreachableError",
    "UntrustedDataError",
    "UsageError",
    "no_such",
]


NAMES_SHOWN = 6


class MockExportError(Exception):
    """The root of all expected errors; `str(error)` is the whole message."""

    exit_code: ClassVar[int] = 70


class UsageError(MockExportError):
    """The request makes no sense: an unknown kernel, a missing extra, an address that is none."""

    exit_code = 2


class NotFoundError(MockExportError):
    """No such export, download or file."""

    exit_code = 3


class NotAuthorisedError(MockExportError):
    """The source wants a token, or refused the one it was given."""

    exit_code = 4


class UnreachableError(MockExportError):
    """The source could not be reached, or stopped answering."""

    exit_code = 5


class NotResumableError(UnreachableError):
    """A body broke off and can't be gone on with: what was read of it is void, and reading it from its start may do."""


class UntrustedDataError(MockExportError):
    """The data can't be trusted: truncated, malformed, or other than declared."""

    exit_code = 6


class ChangedError(UntrustedDataError):
    """What is read under one name changed since it was listed, or while it was read; it is not read again."""


def no_such(kind: str, name: str, where: str, known: Sequence[str]) -> NotFoundError:
    """Build the error for an unknown name, with the nearest known name or the first few of all."""
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        hint = f"did you mean {near[0]!r}?"
    elif known:
        hint = "it has " + ", ".join(known[:NAMES_SHOWN]) + (", …" if len(known) > NAMES_SHOWN else "")
    else:
        hint = "it has none"
    return NotFoundError(f"no {kind} {name!r} in {where}; {hint}")
