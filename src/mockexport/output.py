"""The answers as JSON, table and CSV; written to stdout or, whole or not at all, to a file."""

from __future__ import annotations

import csv
import io
import os
import stat
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson

from mockexport.catalog import time_text
from mockexport.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from mockexport.catalog import Download, Export
    from mockexport.counts import Counts
    from mockexport.verify import Difference

__all__ = [
    "check_writable",
    "counts_document",
    "csv_lines",
    "csv_text",
    "download_document",
    "export_document",
    "json_bytes",
    "json_list",
    "sync_folder",
    "verdict_document",
    "write_answer",
    "write_atomically",
]

WAITS_IN_MEMORY = 1 << 20  # bytes of an answer that comes in pieces


def json_bytes(document: Any) -> bytes:
    """Return JSON with two-space indent and a newline at the end; keys stay in the order given."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def json_list(documents: Iterable[Any]) -> Iterator[bytes]:
    """Yield what `json_bytes` returns for a list of these documents, of which one at a time is held."""
    between = b"[\n"
    for document in documents:
        yield between + orjson.dumps([document], option=orjson.OPT_INDENT_2)[2:-2]
        between = b",\n"
    yield b"[]\n" if between == b"[\n" else b"\n]\n"


def counts_document(counts: Counts, elapsed_seconds: float | None = None) -> dict[str, Any]:
    """Return the answer of `count`, all keys sorted (docs/cli.md, "Counts")."""
    document: dict[str, Any] = {} if elapsed_seconds is None else {"elapsed_seconds": round(elapsed_seconds, 3)}
    document["patients"] = {patient: _sorted(types) for patient, types in sorted(counts.patients.items())}
    document["totals"] = _sorted(counts.totals)
    return document


def _sorted(numbers: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(numbers.items()))


def export_document(export: Export) -> dict[str, Any]:
    """Return one entry of the answer of `exports list`."""
    return {
        **asdict(export),
        "start_time": _time(export.start_time),
        "end_time": _time(export.end_time),
    }


def download_document(download: Download) -> dict[str, Any]:
    """Return one entry of the answer of `downloads list`."""
    return {
        "id": download.id,
        "rows": download.rows,
        "event_types": download.event_types,
        "patients": download.patients,
        "start_time": _time(download.start_time),
        "end_time": _time(download.end_time),
    }


def _time(time: datetime | None) -> str | None:
    return None if time is None else time_text(time)


def verdict_document(file: str, export: str, differences: Sequence[Difference], error: str | None) -> dict[str, Any]:
    """Return one entry of the answer of `verify`; `error` tells why there is no verdict."""
    document: dict[str, Any] = {
        "file": file,
        "export": export,
        "status": "error" if error else "differs" if differences else "match",
        "differences": [asdict(difference) for difference in differences],
    }
    if error:
        document["error"] = error
    return document


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return CSV with a header; a list within a field is joined by spaces, what is not declared is empty."""
    return "".join(csv_lines(columns, rows))


def csv_lines(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield the rows of `csv_text`, of which one at a time is held."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in chain([columns], rows):
        writer.writerow([" ".join(field) if isinstance(field, tuple | list) else field for field in row])
        yield out.getvalue()
        out.seek(0)
        out.truncate()


def check_writable(path: Path) -> None:
    """Raise UsageError when a file can't be written there; called before the work whose answer it is to hold."""
    mode = _mode(path)
    if mode is not None and stat.S_ISDIR(mode):
        raise UsageError(f"--output {path} is a folder; name a file in it")
    written = [] if mode is None else [path]
    if mode is None or stat.S_ISREG(mode):  # it is replaced as a whole, so its folder changes too
        folder = path.resolve().parent
        if not folder.is_dir():
            raise UsageError(f"--output {path}: there is no folder {path.parent}; make it first")
        written.append(folder)
    if not all(os.access(place, os.W_OK) for place in written):
        raise UsageError(f"--output {path} can't be written; choose a place that you may write to")


def _mode(path: Path) -> int | None:
    """Return what kind of file `path` leads to, and its permissions; None when there is nothing yet."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def write_answer(data: bytes | Iterable[bytes], path: Path | None) -> None:
    """Write an answer to a file, or to stdout where there is none or it is called `-`: all of it, or nothing.

    A reader of stdout that has gone away is no error: it has had what it wanted.
    """
    if path is not None and str(path) != "-":
        write_atomically(path, data)
        return
    with _whole(data) as chunks:
        try:
            sys.stdout.flush()
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        except OSError as error:
            # What is still in the buffer must not be tried again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):
                raise UsageError(f"cannot write to stdout: {error.strerror}") from error


@contextmanager
def _whole(data: bytes | Iterable[bytes]) -> Generator[Iterable[bytes], None, None]:
    """Take in all that is to be written before any of it is written; what is large waits in a temporary file."""
    if isinstance(data, bytes):
        yield [data]
        return
    with tempfile.SpooledTemporaryFile(WAITS_IN_MEMORY) as file:
        for chunk in data:
            try:
                file.write(chunk)
            except OSError as error:
                raise UsageError(
                    f"cannot write a temporary file: {error.strerror}; set TMPDIR to a folder with more room"
                ) from error
        file.seek(0)
        yield iter(partial(file.read, WAITS_IN_MEMORY), b"")


def write_atomically(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write a file whole or not at all: a temporary file beside it, fsync, rename, fsync of the folder.

    A link is followed; a device or a pipe is written to as it is. Raises UsageError when the file can't be written.
    """
    try:
        mode = _mode(path)
        if mode is not None and not stat.S_ISREG(mode):  # opened as it is called: what /dev/stdout leads to has no path
            with _whole(data) as chunks, path.open("wb") as file:
                file.writelines(chunks)
            return
        target = path.resolve()
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                temporary.chmod(stat.S_IMODE(mode))
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
