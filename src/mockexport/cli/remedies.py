"""What may help against an error, in terms of the command line's options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.errors import Remedy

if TYPE_CHECKING:
    from mockexport.errors import MockExportError

__all__ = ["error_text"]

OPTIONS = {
    Remedy.ALLOW_UNPROVEN_END: "--allow-unproven-end takes them as they are",
    Remedy.CA_BUNDLE: "--ca-bundle names other certificates to trust",
    Remedy.COLUMNS: "--patient-column and --type-column name the columns",
    Remedy.FEWER_JOBS: "try fewer --jobs",
    Remedy.IGNORE: "--ignore NAME leaves it out",
    Remedy.MAX_PAIRS: "--max-pairs N raises the limit",
    Remedy.REPLACE_JOURNAL: "if it is lost, with all that it alone held, --replace-journal continues without it",
    Remedy.SKIP_MALFORMED: "--on-malformed skip counts the rest",
    Remedy.TIMEOUT: "--timeout SECONDS waits longer for them",
    Remedy.TOKEN: "--token-file names a file with a token",
    Remedy.TRUST_CLOCK: "--trust-clock takes it as it is",
}


def error_text(error: MockExportError) -> str:
    """Return an error's message, its remedy as an option of the command line."""
    return f"{error.message}; {OPTIONS[error.remedy]}" if error.remedy else error.message
