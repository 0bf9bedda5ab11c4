"""What a person sees: notes and progress on stderr, tables on stdout."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mockexport.settings import is_dumb_terminal

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.console import RenderableType

    from mockexport.heartrate import OnSending
    from mockexport.pipeline import OnProgress

__all__ = ["Terminal", "flush_stdout", "print_error", "printable"]

UNBOUNDED_WIDTH = 1000  # for tables that go to a file or a pipe, where nothing needs to wrap


class Terminal:
    """stderr, as the user wants it: `progress` None shows progress on a terminal alone."""

    def __init__(self, *, progress: bool | None = None, quiet: bool = False, verbose: bool = False) -> None:
        animated = sys.stderr.isatty() and not is_dumb_terminal()
        self._shows_progress = not quiet and (animated if progress is None else progress)
        self._animated = animated
        self._quiet = quiet
        self._verbose = verbose

    def note(self, text: str) -> None:
        """Say something that the user should know."""
        if not self._quiet:
            print_line(f"mockexport: {text}")

    def detail(self, text: str) -> None:
        """Say something to those who asked for more."""
        if self._verbose:
            self.note(text)

    def show_log(self) -> None:
        """Show what the library logs, a line each: warnings, and with --verbose each try after a failure."""
        import logging

        terminal = self

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                terminal.note(record.getMessage())

        log = logging.getLogger("mockexport")
        log.addHandler(Handler())
        log.setLevel(logging.INFO if self._verbose else logging.WARNING)

    @contextmanager
    def progress(self, title: str) -> Generator[OnProgress | None, None, None]:
        """Give a function that shows how far the work is, once it has taken a second."""
        if not self._shows_progress:
            yield None
            return
        from mockexport.cli.progress import Progress

        shown = Progress(title, animated=self._animated)
        try:
            yield shown.update
        finally:
            shown.close()

    @contextmanager
    def sending_progress(self, readings: int | None, seconds: float | None) -> Generator[OnSending | None, None, None]:
        """Give a function that shows how much is sent of so many readings, or in so much time, after a second."""
        if not self._shows_progress:
            yield None
            return
        from mockexport.cli.sending_progress import SendingProgress

        shown = SendingProgress(readings, seconds, animated=self._animated)
        try:
            yield shown.update
        finally:
            shown.close()

    @staticmethod
    def render(table: RenderableType, *, to_file: bool) -> bytes:
        """Draw a table: in colour and the terminal's width on a terminal, else plain and as wide as it needs."""
        from rich.console import Console

        plain = to_file or not sys.stdout.isatty()
        console = Console(
            width=UNBOUNDED_WIDTH if plain else None,
            no_color=True if plain else None,
            force_terminal=False if plain else None,
            highlight=False,
        )
        with console.capture() as capture:
            console.print(table)
        lines = capture.get().splitlines()
        return "".join(f"{line.rstrip() if plain else line}\n" for line in lines).encode(errors="surrogateescape")


def flush_stdout() -> None:
    """Flush stdout, while a reader that has gone away can still be passed over in silence."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(message: str) -> None:
    """Print an error as one line."""
    print_line(f"mockexport: error: {message}")


def print_line(text: str) -> None:
    """Print one line to stderr; a stderr that is closed hears nothing."""
    try:
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def printable(text: str) -> str:
    """Show what came from elsewhere without letting it steer the terminal: control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
