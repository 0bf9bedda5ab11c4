"""What an error says on the command line: which option may help, and which environment variable holds a wrong value."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mockexport.errors import (
    MockExportError,
    NotAuthorisedError,
    NotFoundError,
    Remedy,
    UnreachableError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from mockexport.settings import Settings

__all__ = ["error_text", "says_variable", "source_variable", "token_variable"]

OPTIONS = {
    Remedy.ALL_COLUMNS: "--patient-column, --time-column, --type-column and --value-column name the columns",
    Remedy.ALLOW_PARTIAL: "--allow-partial takes what there is",
    Remedy.ALLOW_UNPROVEN_END: "--allow-unproven-end takes them as they are",
    Remedy.CA_BUNDLE: "--ca-bundle names other certificates to trust",
    Remedy.COLUMNS: "--patient-column and --type-column name the columns",
    Remedy.ENDPOINT: "--endpoint URL names another server of the store",
    Remedy.EXPORT_TIMEOUT: "--export-timeout SECONDS waits longer for it",
    Remedy.FEWER_JOBS: "try fewer --jobs",
    Remedy.IGNORE: "--ignore NAME leaves it out",
    Remedy.MAX_PAIRS: "--max-pairs N raises the limit",
    Remedy.MAX_ROW_BYTES: "--max-row-bytes N raises the limit",
    Remedy.REPLACE_JOURNAL: "if it is lost, with all that it alone held, --replace-journal continues without it",
    Remedy.RESTART: "--restart begins another one",
    Remedy.SKIP_MALFORMED: "--on-malformed skip counts the rest",
    Remedy.TIMEOUT: "--timeout SECONDS waits longer for them",
    Remedy.TOKEN: "--token-file names a file with a token",
    Remedy.TRUST_CLOCK: "--trust-clock takes it as it is",
}


def error_text(error: MockExportError) -> str:
    """Return an error's message, its remedy as an option of the command line."""
    return f"{error.message}; {OPTIONS[error.remedy]}" if error.remedy else error.message


def source_variable(option: str | None, settings: Settings) -> str | None:
    """Return the name of the environment variable that the source is taken from; None if it is not."""
    return None if option or settings.source == "mock" else "MOCKEXPORT_SOURCE"


def token_variable(option: Path | None, settings: Settings) -> str | None:
    """Return the name of the environment variable that the token is taken from; None if it is not."""
    return None if option or not settings.token_file else "MOCKEXPORT_TOKEN_FILE"


@contextmanager
def says_variable(
    variable: str | None, value: str = "", kind: type[MockExportError] = MockExportError
) -> Generator[None, None, None]:
    """Let errors in the block begin with the environment variable that the value comes from; None is an option.

    With `value`, only errors that name it do, and with `kind`, only those: others are about something else. An error
    names one variable, that of the innermost block.
    """
    try:
        yield
    except (UsageError, NotFoundError, NotAuthorisedError, UnreachableError) as error:
        is_named = error.message.startswith("MOCKEXPORT_")
        if variable is None or is_named or value not in error.message or not isinstance(error, kind):
            raise
        raise type(error)(f"{variable}: {error.message}", remedy=error.remedy) from error
