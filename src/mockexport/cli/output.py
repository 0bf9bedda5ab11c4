"""The answers as JSON, table and CSV; written to stdout or, whole or not at all, to a file."""

from __future__ import annotations

import csv
import os
import stat
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mockexport.encoding import json_bytes, unicode_only
from mockexport.errors import UsageError
from mockexport.files import mode_of, remove_leftovers, spooled, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


__all__ = [
    "check_writable",
    "csv_lines",
    "csv_text",
    "json_list",
    "write_answer",
]

CRLF = "\r\n"


def json_list(documents: Iterable[Any]) -> Iterator[bytes]:
    """Yield what `json_bytes` returns for a list of these documents, of which one at a time is held."""
    between = b"[\n"
    for document in documents:
        yield between + json_bytes([document])[2:-3]
        between = b",\n"
    yield b"[]\n" if between == b"[\n" else b"\n]\n"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return CSV with a header; a list within a field is joined by spaces, what is not declared is empty."""
    return "".join(csv_lines(columns, rows))


def csv_lines(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield the rows of `csv_text`, of which one at a time is held."""
    lines: list[str] = []
    writer = csv.writer(_Lines(lines.append), lineterminator=CRLF)  # so that a lone CR in a field is quoted, too
    for row in chain([columns], rows):
        writer.writerow([" ".join(field) if isinstance(field, tuple | list) else field for field in row])
        yield unicode_only(f"{lines.pop().removesuffix(CRLF)}\n")


class _Lines(NamedTuple):
    """What `csv.writer` writes to: a call a row."""

    write: Callable[[str], object]


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
    try:
        return mode_of(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def write_answer(data: bytes | Iterable[bytes], path: Path | None) -> None:
    """Write an answer to a file, or to stdout where there is none or it is called `-`: all of it, or nothing.

    A reader of stdout that has gone away is no error: it has had what it wanted.
    """
    if path is not None and str(path) != "-":
        target = Path(os.path.realpath(path))
        remove_leftovers(target.parent, [target.name])
        write_atomically(path, data)
        return
    with spooled(data) as chunks:
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
