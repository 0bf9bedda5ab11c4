"""The runs that the page of this server has started, bounded in number, kept for a while.

Each has a thread that does it, and one that tells the other servers of it, so that neither waits for the other.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from mockexport.encoding import unicode_only
from mockexport.errors import MockExportError
from mockexport.server.page.kinds import Progress, RunCancelled
from mockexport.server.page.records import CANCELLED, DONE, FAILED, KEPT_SECONDS, RUNNING
from mockexport.shared import NoRoomError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockexport.server.page.kinds import Answer, Kind
    from mockexport.server.page.records import Record, Records

__all__ = ["Run", "Runs", "TooManyRunsError"]

RUNNING_AT_ONCE = 2
KEPT = 16  # runs that have ended
ANSWER_BYTES = 64 << 20  # of all answers that are kept
SHARE_SECONDS = 0.5
SHARE_AGAIN_SECONDS = 10.0  # after a failure, which may have been due to a large answer
SHARED_SECONDS = 2.0  # for which the end of a run is not told, so that other servers know of it first
CLOSE_SECONDS = 5.0
STEPS_SHOWN = 16

logger = logging.getLogger(__name__)


class TooManyRunsError(MockExportError):
    """As many runs are under way, or kept, as may be at a time."""


@dataclass(eq=False, slots=True)
class Run:
    """One run. Its thread writes it, and others read it: each field is replaced as a whole."""

    id: str
    kind: Kind
    export: str
    began: float = field(default_factory=time.monotonic)
    progress: Progress = field(default_factory=Progress)
    cancelled: bool = False
    outcome: str = FAILED
    error: str = ""
    answer: Answer | None = None
    ended: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)  # it says that the rest is there
    shared: bool = False  # whether the other servers know of its end, or could not be told

    @property
    def state(self) -> str:
        """How the run is: running until the others know of its end, as the next request may go to one of them."""
        told = self.over.is_set() and (self.shared or time.monotonic() - self.ended > SHARED_SECONDS)
        return self.outcome if told else RUNNING

    @property
    def answer_bytes(self) -> int:
        """How large the answer is."""
        return len(self.answer.json) + len(self.answer.csv) if self.answer else 0

    def record(self, state: str | None = None) -> Record:
        """Return how the run is, but for its command, which depends on how a server was reached.

        The seconds are rounded down, so that it changes with what it tells.
        """
        state = state or self.state  # the first, since it says that the rest is there
        progress = self.progress
        return {
            "id": self.id,
            "kind": self.kind.name,
            "title": self.kind.title,
            "view": self.kind.view,
            "export": unicode_only(self.export),
            "state": state,
            "error": "" if state == RUNNING else unicode_only(self.error),
            "seconds": int(time.monotonic() - self.began) if state == RUNNING else round(self.ended - self.began, 3),
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
        try:
            self.watch(Progress(text="starting"))
            self.answer = self.kind.run(self.export, self.watch)
            self.outcome = DONE
        except RunCancelled:
            self.outcome = CANCELLED
        except MockExportError as error:
            self.error = error.message  # a remedy is in terms of the library
        except Exception:
            logger.exception("%s of export %s failed", self.kind.name, self.export)
            self.error = "an internal error ended the run; the server's log tells more"
        finally:
            if (size := self.answer_bytes) > ANSWER_BYTES:
                self.outcome, self.answer = FAILED, None
                self.error = f"the answer has {size:,} bytes, and at most {ANSWER_BYTES:,} are kept: run the command"
            self.ended = time.monotonic()
            self.over.set()


class Runs:
    """All runs of one server. Safe to share between threads. Call `stop` when the server stops, and `close` at last."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._lock = threading.Lock()  # never held while a database is waited for
        self._runs: dict[str, Run] = {}
        self._threads: dict[str, tuple[threading.Thread, threading.Thread]] = {}
        self._stopped = False
        self._closing = threading.Event()

    def start(self, kind: Kind, export: str) -> Run:
        """Start a run, of which all servers know at once. Raises TooManyRunsError, and UnreachableError."""
        self._forget_old()
        run = Run(token_urlsafe(12), kind, export)
        with self._lock:
            running = sum(not other.over.is_set() for other in self._runs.values())
            if self._stopped or running >= RUNNING_AT_ONCE:
                why = "the server is stopping" if self._stopped else f"{running} runs are under way"
                raise TooManyRunsError(f"{why}; wait for one to end, or cancel it")
            self._runs[run.id] = run
        try:
            self._records.add(run.record())
        except BaseException as error:
            with self._lock:
                del self._runs[run.id]
            if isinstance(error, NoRoomError):
                raise TooManyRunsError("too many runs are kept; wait until the oldest are forgotten") from None
            raise
        work = threading.Thread(target=run.work, name=f"{kind.name} of the page", daemon=True)
        share = threading.Thread(target=self._share, args=(run,), name=f"sharing of {work.name}", daemon=True)
        with self._lock:
            run.cancelled |= self._stopped
            self._threads[run.id] = work, share
            work.start()
            share.start()
        return run

    def own(self, run_id: str) -> Run | None:
        """Return a run of this server, None if it is not known or forgotten. It is had without waiting."""
        return self._runs.get(run_id)

    def all(self) -> list[Record]:
        """Return how the runs of all servers are, the newest first. Raises UnreachableError."""
        self._forget_old()
        with self._lock:
            own = {run.id: run for run in reversed(self._runs.values())}
        newest = self._records.newest()
        unshared = [run.record() for run in own.values() if run.id not in newest]
        found = (own[run_id].record() if run_id in own else self._records.find(run_id) for run_id in newest)
        return unshared + [record for record in found if record]

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
        with self._lock:
            threads = list(self._threads.values())
        for work, _ in threads:
            work.join(max(0.0, deadline - time.monotonic()))
        self._closing.set()
        for _, share in threads:
            share.join(max(0.0, deadline - time.monotonic()))

    def _share(self, run: Run) -> None:
        """Tell the other servers how a run is until they know its end, and cancel it if one of them asked for that."""
        while not run.over.wait(SHARE_SECONDS):
            if self._closing.is_set():
                return
            self._tried(self._renew, run)
        known = self._tried(self._end, run)
        run.shared = True
        self._forget_old()
        while not known and not self._closing.wait(SHARE_AGAIN_SECONDS) and self.own(run.id):
            known = self._tried(self._end, run)

    def _renew(self, run: Run) -> None:
        self._records.renew(run.record(RUNNING))
        run.cancelled |= self._records.is_to_be_cancelled(run.id)

    def _end(self, run: Run) -> None:
        self._records.end(run.record(run.outcome), run.answer)

    def _forget_old(self) -> None:
        """Forget the oldest runs that have ended, as many as are too many, too large or too long ago."""
        with self._lock:
            ended = sorted((run for run in self._runs.values() if run.over.is_set()), key=lambda run: run.ended)
            left, left_bytes = len(ended), sum(run.answer_bytes for run in ended)
            old = []
            for run in ended:
                if left <= KEPT and left_bytes <= ANSWER_BYTES and time.monotonic() - run.ended <= KEPT_SECONDS:
                    break
                left, left_bytes = left - 1, left_bytes - run.answer_bytes
                old.append(run)
                del self._runs[run.id], self._threads[run.id]
        for run in old:
            if not self._tried(lambda run: self._records.delete(run.id), run):
                return  # the others expire by themselves

    def _tried(self, do: Callable[[Run], None], run: Run) -> bool:
        """Return whether it could be done: a database that fails is no reason for a run to fail."""
        try:
            do(run)
        except MockExportError as error:
            logger.warning("a run of the page is not known to the other servers: %s", error.message)
        except Exception:
            logger.exception("a run of the page is not known to the other servers")
        else:
            return True
        return False
