"""`--report`: the answer of a command as a page of HTML, beside its usual output."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from mockexport.cli.output import check_writable, is_stdout, write_output
from mockexport.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mockexport.place import Place
    from mockexport.report import About

__all__ = ["Report", "begin_report"]


class Report(NamedTuple):
    """Where a report goes, and when the run began."""

    path: Path
    begun: datetime

    def write(self, source: str, export: str, make: Callable[[About], str]) -> None:
        """Write the report that `make` makes of what was run: whole or not at all. Raises UsageError."""
        from mockexport.report import About

        command = shlex.join(["mockexport", *sys.argv[1:]])
        about = About(command, source, export, self.begun, datetime.now(UTC))
        write_output(make(about).encode(), self.path)


def begin_report(path: Path, output: Place | None) -> Report:
    """Return a report to be written at the end. Raises UsageError, before the work, if it cannot be written there."""
    if is_stdout(path):
        raise UsageError("--report takes a file, such as report.html, and not stdout, where the usual output goes")
    if output is not None and os.path.realpath(path) == os.path.realpath(str(output)):
        raise UsageError(f"--report and --output are the same file, {path}; name two files")
    check_writable(path, "--report")
    return Report(path, datetime.now(UTC))
