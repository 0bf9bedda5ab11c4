"""`--report`: the answer of a command as a page of HTML, beside its usual output."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mockexport.cli.output import check_writable, is_stdout, write_output
from mockexport.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mockexport.cli.prepare import Run
    from mockexport.report import About

__all__ = ["check_report", "write_report"]


def check_report(report: Path, output: Path | None) -> None:
    """Raise UsageError if a report cannot be written there. Call it before the work."""
    if is_stdout(report):
        raise UsageError("--report takes a file, such as report.html, and not stdout, where the usual output goes")
    if output is not None and os.path.realpath(report) == os.path.realpath(output):
        raise UsageError(f"--report and --output are the same file, {report}; name two files")
    check_writable(report, "--report")


def write_report(run: Run, export: str, make: Callable[[About], str]) -> None:
    """Write the report that `make` makes of what was run, if one is wanted: whole or not at all. Raises UsageError."""
    if run.report is None:
        return
    from mockexport.report import About

    now = datetime.now(UTC)
    command = shlex.join(["mockexport", *sys.argv[1:]])
    about = About(command, run.source.name, export, run.begun or now, now)
    write_output(make(about).encode(), run.report)
