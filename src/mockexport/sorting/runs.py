"""Sorted runs: records are collected, sorted when memory is full, and written to a file each time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

from mockexport.errors import UsageError
from mockexport.sorting.contract import MAX_WIDTH
from mockexport.sorting.kernel import choose_sort, records_in

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

__all__ = ["Run", "RunWriter", "Runs", "temporary_folder"]

Run: TypeAlias = "Path | bytes"
"""Sorted records: in a file, or in memory."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Records of one width, in sorted runs; what two hold together is their sum, in either order.

    Those in memory alone can be sent to another machine. The files belong to whoever owns their folder.
    """

    width: int
    runs: tuple[Run, ...] = ()
    records: int = 0

    def __add__(self, other: Runs) -> Runs:
        if self.width != other.width:
            raise ValueError(f"records of {self.width} and of {other.width} bytes can't be sorted together")
        return replace(self, runs=self.runs + other.runs, records=self.records + other.records)


class RunWriter:
    """Sorts records of one width (1 to 32 bytes) in runs, and holds at most `memory` bytes. Use it in a `with`.

    A run is a file of its own in `folder`; records that half of the memory holds stay in memory. Without a folder all
    of them do, as sorted bytes, however many. `kernel` is that of `choose_sort`.

    What is left without `finish` is removed, the files too. But the folder is the caller's: a `temporary_folder`, so
    that nothing stays whatever happens.

    `add` and `finish` raise UsageError if a run can't be written, and name the folder.
    """

    def __init__(self, width: int, *, folder: Path | None, memory: int, kernel: str = "auto") -> None:
        if not 1 <= width <= MAX_WIDTH:
            raise ValueError(f"width must be 1 to {MAX_WIDTH}")
        self._width = width
        self._folder = folder
        self._sort = choose_sort(kernel)
        self._full = records_in(memory, width, kernel) * width
        self._buffer = bytearray()
        self._runs = Runs(width)
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, records: bytes) -> None:
        """Take in a whole number of records, in any order."""
        self._check_open()
        if len(records) % self._width:
            raise ValueError(f"{len(records)} bytes are no whole number of records of {self._width} bytes")
        view = memoryview(records)
        while view:
            room = self._full - len(self._buffer)
            self._buffer += view[:room]
            view = view[room:]
            if len(self._buffer) == self._full:
                self._end_run(self._folder)

    def add_runs(self, runs: Runs) -> None:
        """Take over the runs of another writer. Those in memory are taken in as records, and so are limited, too."""
        self._check_open()
        files = tuple(run for run in runs.runs if isinstance(run, Path))
        held = [run for run in runs.runs if isinstance(run, bytes)]
        self._runs += replace(runs, runs=files, records=runs.records - sum(map(len, held)) // self._width)
        for run in held:
            self.add(run)

    def finish(self) -> Runs:
        """Return all that was added. After it, ValueError for any use but `close`."""
        self._check_open()
        small = not self._runs.runs and 2 * len(self._buffer) <= self._full  # bytes of their own are made of it
        self._end_run(None if small else self._folder)
        self._open = False
        runs, self._runs = self._runs, Runs(self._width)
        return runs

    def close(self) -> None:
        """Drop what no `finish` has returned."""
        self._open = False
        self._buffer = bytearray()
        for run in self._runs.runs:
            if isinstance(run, Path):
                run.unlink(missing_ok=True)
        self._runs = Runs(self._width)

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError("this writer has ended")

    def _end_run(self, folder: Path | None) -> None:
        """Make a run of what is collected."""
        if not self._buffer:
            return
        self._sort(self._buffer, self._width)
        run = bytes(self._buffer) if folder is None else write_run(folder, self._buffer)
        self._runs += Runs(self._width, (run,), len(self._buffer) // self._width)
        self._buffer.clear()


@contextlib.contextmanager
def temporary_folder() -> Generator[Path, None, None]:
    """Make a folder for runs, and remove it with all that is in it. Raises UsageError if there is no place for it."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="mockexport-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UsageError(
            f"cannot make a folder for temporary files: {error.strerror}; set TMPDIR to a folder with room"
        ) from error
    with folder as name:
        yield Path(name)


def write_run(folder: Path, records: bytearray) -> Path:
    """Write a run to a new file, whole or not at all. Raises UsageError."""
    path = folder / f"{os.urandom(8).hex()}.run"
    try:
        with path.open("xb", buffering=0) as file:
            view = memoryview(records)
            while view:
                view = view[file.write(view) :]
    except BaseException as error:
        with contextlib.suppress(OSError):
            path.unlink()
        if isinstance(error, OSError):
            raise UsageError(
                f"cannot write temporary files in {folder}: {error.strerror}; "
                "set TMPDIR to a folder with more room, or allow more memory"
            ) from error
        raise
    return path
