"""The runs that a page has started: each in a thread of its own, bounded in number, kept for a while."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any

from mockexport.encoding import unicode_only
from mockexport.errors import MockExportError
from mockexport.server.page.kinds import Progress, RunCancelled

if TYPE_CHECKING:
    from mockexport.server.page.kinds import Answer, Kind

__all__ = ["Run", "Runs", "TooManyRunsError"]

RUNNING_AT_ONCE = 2
KEPT = 16  # runs that have ended, whose answers may have some megabytes each
KEPT_SECONDS = 3600.0
CLOSE_SECONDS = 5.0
STEPS_SHOWN = 16
RUNNING, DONE, FAILED, CANCELLED = "running", "done", "failed", "cancelled"

logger = logging.getLogger(__name__)


class TooManyRunsError(MockExportError):
    """As many runs are under way as may be at a time."""


@dataclass(eq=False, slots=True)
class Run:
    """One run. Its thread writes it, and others read it: each field is replaced as a whole."""

    id: str
    kind: Kind
    export: str
    began: float = field(default_factory=time.monotonic)
    state: str = RUNNING
    progress: Progress = field(default_factory=Progress)
    error: str = ""
    answer: Answer | None = None
    ended: float | None = None
    cancelled: bool = False

    def document(self, server: str) -> dict[str, Any]:
        """Return how the run is, for a page that was reached at the URL `server`.

        The seconds are rounded down, so that it changes with what it tells.
        """
        state = self.state  # the first, since it says that the rest is there
        progress = self.progress
        seconds = (self.ended or time.monotonic()) - self.began
        return {
            "id": self.id,
            "kind": self.kind.name,
            "title": self.kind.title,
            "view": self.kind.view,
            "export": unicode_only(self.export),
            "command": unicode_only(self.kind.command(self.export, server)),
            "state": state,
            "error": unicode_only(self.error),
            "seconds": round(seconds, 3) if self.ended else int(seconds),
            **progress._asdict(),
            "text": unicode_only(progress.text),
            "steps": [{**step._asdict(), "id": unicode_only(step.id)} for step in progress.steps[:STEPS_SHOWN]],
            "more_steps": max(0, len(progress.steps) - STEPS_SHOWN),
        }

    def watch(self, progress: Progress) -> None:
        """Take how far the run is; the contract is `Watch`."""
        if self.cancelled:
            raise RunCancelled
        self.progress = progress

    def work(self) -> None:
        """Do it, in the run's own thread."""
        state = FAILED
        try:
            self.watch(Progress(text="starting"))
            self.answer = self.kind.run(self.export, self.watch)
            state = DONE
        except RunCancelled:
            state = CANCELLED
        except MockExportError as error:
            self.error = error.message  # a remedy is in terms of the library
        except Exception:
            logger.exception("%s of export %s failed", self.kind.name, self.export)
            self.error = "an internal error ended the run; the server's log tells more"
        finally:
            self.ended = time.monotonic()
            self.state = state  # the last, since it says that the rest is there


class Runs:
    """All runs of one server. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._stopped = False

    def start(self, kind: Kind, export: str) -> Run:
        """Start a run. Raises TooManyRunsError."""
        with self._lock:
            self._forget_old()
            running = sum(run.state == RUNNING for run in self._runs.values())
            if self._stopped or running >= RUNNING_AT_ONCE:
                why = "the server is stopping" if self._stopped else f"{running} runs are under way"
                raise TooManyRunsError(f"{why}; wait for one to end, or cancel it")
            run = Run(token_urlsafe(12), kind, export)
            thread = threading.Thread(target=run.work, name=f"{kind.name} of the page", daemon=True)
            self._runs[run.id], self._threads[run.id] = run, thread
            thread.start()
        return run

    def all(self) -> list[Run]:
        """Return the runs that are kept, the newest first."""
        with self._lock:
            self._forget_old()
            return list(reversed(self._runs.values()))

    def find(self, run_id: str) -> Run | None:
        """Return a run, None if it is not known or forgotten."""
        return self._runs.get(run_id)

    def stop(self) -> None:
        """Cancel all runs, without waiting for them, and start no more."""
        with self._lock:
            self._stopped = True
            for run in self._runs.values():
                run.cancelled = True

    def close(self) -> None:
        """Cancel all runs, and wait a moment for their threads."""
        self.stop()
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in list(self._threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _forget_old(self) -> None:
        ended = [run for run in self._runs.values() if run.state != RUNNING]
        now = time.monotonic()
        old = {run.id for run in ended if run.ended and now - run.ended > KEPT_SECONDS}
        old |= {run.id for run in ended[: max(0, len(ended) - KEPT)]}
        for run_id in old:
            del self._runs[run_id], self._threads[run_id]
