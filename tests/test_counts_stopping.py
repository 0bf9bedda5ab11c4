"""How a count ends before its time: the first error, or Ctrl-C, stops all downloads, and nothing is left over."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.pairing import pairs
from tests.sources import HEADER, ROW, WAIT_SECONDS, MemorySource, StallingSource, csv_body

from mockexport import (
    MockExportError,
    NotAuthorisedError,
    NotFoundError,
    UnreachableError,
    UntrustedDataError,
    UsageError,
    count,
)
from mockexport.pipeline.executors import process_workers, thread_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mockexport import Download
    from mockexport.pipeline.executors import StartWorkers
    from mockexport.pipeline.progress import ProgressCounters
    from mockexport.pipeline.splits import Split
    from mockexport.source import Chunks

THREADS: StartWorkers = partial(thread_workers, jobs=2)
PROCESSES: StartWorkers = partial(process_workers, jobs=2)
KINDS = {
    kind.__name__: kind
    for kind in (UnreachableError, UsageError, NotFoundError, NotAuthorisedError, UntrustedDataError, MockExportError)
}
EITHER = pytest.mark.parametrize("start_workers", [THREADS, PROCESSES], ids=["threads", "processes"])


class EndlessSource(MemorySource):
    """Its downloads never end."""

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        yield self.bodies[download.id][offset:]
        while True:
            time.sleep(0.001)
            yield ROW


class FailingSource(EndlessSource):
    """Its download `fails` fails at once; the others never end. `error` can travel, so this can too."""

    error: MockExportError

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        if download.id == "fails":
            raise self.error
        return super().open(download, offset)


class DyingSource(MemorySource):
    """Takes the process that reads it down with it."""

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().open(download, offset)


def interrupt_when_all_run(_downloads: Sequence[Download | Split], counters: ProgressCounters) -> None:
    """Ctrl-C, as the caller's thread sees it."""
    if len(counters.running()) == 2:
        raise KeyboardInterrupt


def assert_nothing_is_left(threads_before: set[threading.Thread], eventually: Callable[..., None]) -> None:
    eventually(lambda: set(threading.enumerate()) <= threads_before)
    assert multiprocessing.active_children() == []


def test_the_first_error_wakes_and_ends_a_download_that_waits(eventually: Callable[..., None]) -> None:
    before = set(threading.enumerate())
    source = StallingSource({"bad": HEADER + b"P001\n"})
    with pytest.raises(UntrustedDataError, match=r"'bad' .* line 2: too few fields"):
        count(source, "trial", start_workers=THREADS)
    assert source.cancelled.is_set()
    assert source.ended.wait(WAIT_SECONDS)
    assert_nothing_is_left(before, eventually)


@pytest.mark.gate
@pytest.mark.parametrize(("start_workers", "kind"), pairs({"threads": THREADS, "processes": PROCESSES}, KINDS))
def test_the_first_error_stops_the_others_and_comes_out_as_it_was_raised(
    start_workers: StartWorkers, kind: type[MockExportError], eventually: Callable[..., None]
) -> None:
    before = set(threading.enumerate())
    source = FailingSource({"endless": HEADER, "fails": HEADER})
    source.error = kind("what went wrong")
    with pytest.raises(kind) as failed:
        count(source, "trial", start_workers=start_workers)
    assert type(failed.value) is kind
    assert str(failed.value) == "what went wrong"
    assert_nothing_is_left(before, eventually)


def test_after_an_error_no_further_download_is_begun() -> None:
    opened: list[str] = []

    class Spy(MemorySource):
        def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
            opened.append(download.id)
            return super().open(download, offset)

    bodies = {"bad": HEADER + b"P001\n", **{f"d{n}": csv_body(100_000) for n in range(50)}}
    source = Spy(bodies, chunk_bytes=100, rows={"bad": 10**9})  # the largest goes first
    with pytest.raises(UntrustedDataError, match="'bad'"):
        count(source, "trial", start_workers=THREADS)
    assert "bad" in opened[:2]  # the first task of one of two threads
    assert len(opened) < 50


@pytest.mark.gate
@EITHER
def test_ctrl_c_ends_all_workers(start_workers: StartWorkers, eventually: Callable[..., None]) -> None:
    before = set(threading.enumerate())
    source = EndlessSource({"a": HEADER, "b": HEADER})
    with pytest.raises(KeyboardInterrupt):
        count(source, "trial", start_workers=start_workers, on_progress=interrupt_when_all_run)
    assert_nothing_is_left(before, eventually)


def test_a_process_that_dies_is_an_error_that_says_so_and_no_hang(eventually: Callable[..., None]) -> None:
    before = set(threading.enumerate())
    source = DyingSource({"a": HEADER, "b": HEADER})
    with pytest.raises(
        MockExportError, match="a worker process died; memory may be short; fewer jobs need less memory"
    ) as failed:
        count(source, "trial", start_workers=PROCESSES)
    assert failed.value.exit_code == 70
    assert_nothing_is_left(before, eventually)


def test_a_source_can_be_counted_again_after_an_error() -> None:
    source = MemorySource({"a": HEADER + b"P001\n"})
    for _ in range(2):
        with pytest.raises(UntrustedDataError):
            count(source, "trial")
    assert count(source, "trial", skip_malformed=True).left_out == {"too few fields": 1}
