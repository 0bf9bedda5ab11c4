"""What users see: messages on stderr, tables on stdout."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

from mockexport.encoding import printable
from mockexport.settings import is_dumb_terminal

if TYPE_CHECKING:
    from logging import Logger

    from rich.console import RenderableType

__all__ = ["Terminal", "flush_stdout", "print_error", "print_note", "print_traceback", "send_messages_to"]

TEXT_WIDTH = 80  # of lines in files and pipes
UNBOUNDED_WIDTH = 1_000_000  # for tables in files and pipes, which must not wrap


class Terminal:
    """stderr with the options of the user. `progress` None shows progress only if stderr is a terminal."""

    def __init__(self, *, progress: bool | None = None, quiet: bool = False, verbose: bool = False) -> None:
        self.animated = sys.stderr.isatty() and not is_dumb_terminal()
        self.shows_progress = not quiet and (self.animated if progress is None else progress)
        self._quiet = quiet
        self._verbose = verbose

    def note(self, text: str) -> None:
        """Print a message, unless --quiet."""
        if not self._quiet:
            print_note(text)

    def line(self, text: str) -> None:
        """Print a line that belongs to others, unless --quiet."""
        if not self._quiet:
            print_line(text)

    @property
    def width(self) -> int:
        """How many columns there are for lines of text."""
        return shutil.get_terminal_size().columns if sys.stderr.isatty() else TEXT_WIDTH

    def hint(self, text: str) -> None:
        """Print a message for people: only if stderr is a terminal, and unless --quiet."""
        if sys.stderr.isatty():
            self.note(text)

    def detail(self, text: str) -> None:
        """Print a message with --verbose."""
        if self._verbose:
            self.note(text)

    def show_log(self) -> None:
        """Print what the library logs, one line each: warnings, and retries with --verbose."""
        import logging

        terminal = self

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                terminal.note(record.getMessage())

        log = logging.getLogger("mockexport")
        log.addHandler(Handler())
        log.setLevel(logging.INFO if self._verbose else logging.WARNING)

    @staticmethod
    def render(table: RenderableType, *, to_file: bool) -> bytes:
        """Render a table: as wide as the terminal, or in a file or a pipe as wide as it needs."""
        from rich.console import Console

        plain = to_file or not sys.stdout.isatty()
        size = shutil.get_terminal_size()
        console = Console(
            width=UNBOUNDED_WIDTH if plain else size.columns,
            height=size.lines,  # without both, rich takes a dumb terminal to be 80 columns wide
            force_terminal=False if to_file else None,  # for stdout, rich goes by FORCE_COLOR and NO_COLOR
            highlight=False,
        )
        with console.capture() as capture:
            console.print(table, soft_wrap=True)
        lines = capture.get().splitlines()
        return "".join(f"{line.rstrip() if plain else line}\n" for line in lines).encode(errors="surrogateescape")


def flush_stdout() -> None:
    """Flush stdout; a closed pipe is ignored."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_log: Logger | None = None


def send_messages_to(log: Logger) -> None:
    """From now on, give all messages to a log, in place of printing them."""
    global _log  # noqa: PLW0603 -- stderr is there once, too
    _log = log


def print_note(text: str) -> None:
    """Print a message on one line, --quiet or not."""
    if _log:
        _log.info("%s", text)
    else:
        print_line(f"mockexport: {text}")


def print_error(message: str) -> None:
    """Print an error message on one line."""
    if _log:
        _log.error("%s", message)
    else:
        print_line(f"mockexport: error: {message}")


def print_traceback() -> None:
    """Print where the exception that is being handled came from."""
    if _log:
        _log.error("where the error came from", exc_info=True)
        return
    import traceback

    traceback.print_exc()


def print_line(text: str) -> None:
    """Print one line to stderr, if it is open."""
    try:
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
