"""What is drawn while a command works or waits: lines on a terminal, and now and then a line in a log.

A thread draws, so a command that waits, whatever for, is never silent.
"""

from __future__ import annotations

import io
import sys
import threading
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Protocol, Self

from mockexport.cli.terminal import print_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

__all__ = ["Display", "Drawing"]

SHOW_AFTER_SECONDS = 0.3
FRAME_SECONDS = 0.1
FIRST_LINE_SECONDS = 1.0
LINE_SECONDS = 10.0  # between two lines of a log
MARGIN = 3  # columns, for the ^C that a terminal echoes


class Drawing(Protocol):
    """What a display shows; it is called from the display's thread."""

    def lines(self, width: int, height: int) -> Sequence[str | Text]:
        """Return the lines to draw, none wider or higher than this."""

    def summary(self) -> str:
        """Return all of it as one line."""


class Display:
    """Shows a drawing while the `with` lasts: from 0.3 s on, on a terminal (`animated`), else every ten seconds."""

    def __init__(self, drawing: Drawing, *, animated: bool) -> None:
        self._drawing = drawing
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._draw if animated else self._print, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _print(self) -> None:
        seconds = FIRST_LINE_SECONDS
        while not self._ended.wait(seconds):
            print_line(f"mockexport: {self._drawing.summary()}")
            seconds = LINE_SECONDS

    def _draw(self) -> None:
        if self._ended.wait(SHOW_AFTER_SECONDS):
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(file=sys.stderr)
        live = Live(console=console, auto_refresh=False, transient=True, redirect_stderr=False)
        above = LinesAbove(console)
        try:
            with redirect_stderr(above):
                try:
                    self._animate(live, console, above.lock)
                finally:
                    with above.lock:
                        live.stop()
        except (OSError, ValueError):  # stderr was closed
            pass

    def _animate(self, live: Live, console: Console, lock: threading.RLock) -> None:
        from rich.text import Text

        live.start()
        shown = None
        while True:
            width, height = console.size
            lines = self._drawing.lines(max(1, width - MARGIN), max(1, height - 2))
            text = Text("\n", no_wrap=True, overflow="crop", end="").join(
                Text(line) if isinstance(line, str) else line for line in lines
            )
            if (text, width) != shown:  # what has not changed is not drawn again
                with lock:
                    live.update(text, refresh=True)
                shown = (text, width)
            if self._ended.wait(FRAME_SECONDS):
                return


class LinesAbove(io.TextIOBase):
    """stderr while lines are drawn: what is written there stands above them, as it is.

    rich's own redirection breaks long lines and colours numbers. `lock` keeps a line and a picture apart.
    """

    def __init__(self, console: Console) -> None:
        self.lock = threading.RLock()  # not Lock: a finalizer may write in between
        self._console = console
        self._rest = ""  # of a line that has not ended

    def write(self, text: str) -> int:
        """Write whole lines."""
        from rich.text import Text

        with self.lock:
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                self._console.print(Text(line), soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """Write what is there of a line that has not ended."""
        if self._rest:
            self.write("\n")

    def isatty(self) -> bool:
        """Tell whether stderr is a terminal."""
        return self._console.is_terminal

    def fileno(self) -> int:
        """Return the descriptor of stderr."""
        return self._console.file.fileno()
