"""What the page is handed: the kinds of runs that it may start, and what tells it of fresh readings.

The server imports no pipeline. Whoever makes the application hands it objects with these contracts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from fastapi import Request
    from fastapi.responses import Response

__all__ = ["Answer", "Fresh", "Kind", "Progress", "RunCancelled", "Step", "Watch"]


class RunCancelled(Exception):  # noqa: N818 - no error: someone pressed the button
    """Raised by a `Watch`: the run is to end, and nobody waits for its answer."""


class Step(NamedTuple):
    """How far one download is: `done` of `total` in any unit, None if that is unknown; `note` is what it waits for."""

    id: str
    done: float
    total: float | None
    rows: int
    rows_per_second: float
    note: str = ""


class Progress(NamedTuple):
    """How far a run is; `text` says what it waits for before there is more to tell.

    `left` is the time left, such as `0:01:30`, empty if it is unknown. `steps` are the downloads that are being read.
    """

    text: str = ""
    done: float = 0
    total: float | None = None
    rows: int = 0
    rows_per_second: float = 0.0
    left: str = ""
    retries: int = 0
    finished: int = 0
    parts: int = 0
    steps: Sequence[Step] = ()


class Answer(NamedTuple):
    """The result of a run: the JSON and the CSV that the command writes, in UTF-8."""

    json: bytes
    csv: bytes


class Watch(Protocol):
    """Is told how far a run is, in the run's own thread."""

    def __call__(self, progress: Progress) -> None:
        """Take how far the run is. Raises RunCancelled when the run was cancelled."""


class Kind(Protocol):
    """A kind of run over an export, such as a count."""

    @property
    def name(self) -> str:
        """What the page calls it in its addresses: `count`."""

    @property
    def title(self) -> str:
        """What its button says: `Count`."""

    @property
    def view(self) -> str:
        """How its answer is shown: `heatmap` (of `count`), `certificate` (of `reconcile`), or `table`, of the CSV."""

    def command(self, export: str, server: str) -> str:
        """Return the shell command that gives the same answer; `server` is the URL by which the page was reached."""

    def run(self, export: str, watch: Watch) -> Answer:
        """Do it, and call `watch` often. Raises MockExportError, and what `watch` raises."""


class Fresh(Protocol):
    """Tells of readings as they are stored, and of those that are there."""

    def watch(self, user: str) -> AbstractContextManager[deque[dict[str, Any]]]:
        """While the block lasts, collect a user's readings: `time` in seconds since 1970, `heart_rate`, `device_id`."""

    async def minutes(self, request: Request) -> Response:
        """Answer a query of the API; the `data` of the answer is empty if there are no readings."""
