"""Output as JSON and CSV, written to stdout or atomically to a file."""

from __future__ import annotations

import os
import stat
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mockexport.encoding import json_bytes, unicode_only
from mockexport.errors import UsageError
from mockexport.files import mode_of, remove_leftovers, spooled
from mockexport.place import RemotePlace, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mockexport.place import Place


__all__ = [
    "check_writable",
    "csv_lines",
    "csv_text",
    "is_stdout",
    "json_list",
    "write_output",
]

CRLF = "\r\n"


def json_list(documents: Iterable[Any]) -> Iterator[bytes]:
    """Yield what `json_bytes` returns for the list of these documents; holds one document at a time."""
    between = b"[\n"
    for document in documents:
        yield between + json_bytes([document])[2:-3]
        between = b",\n"
    yield b"[]\n" if between == b"[\n" else b"\n]\n"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return CSV with a header. The items of a list are joined by spaces; None is an empty field."""
    return "".join(csv_lines(columns, rows))


def csv_lines(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield the rows of `csv_text`; holds one row at a time."""
    import csv

    lines: list[str] = []
    writer = csv.writer(_Lines(lines.append), lineterminator=CRLF)  # so that a field with a lone CR is quoted, too
    for row in chain([columns], rows):
        writer.writerow([" ".join(field) if isinstance(field, tuple | list) else field for field in row])
        yield unicode_only(f"{lines.pop().removesuffix(CRLF)}\n")


class _Lines(NamedTuple):
    """What `csv.writer` writes to: one call per row."""

    write: Callable[[str], object]


def is_stdout(path: Place | None) -> bool:
    """Tell whether `--output` is stdout."""
    return path is None or str(path) == "-"


def check_writable(path: Place, option: str = "--output") -> None:
    """Raise UsageError if `path`, which an option names, cannot be written.

    Call it before the work, so that no result is lost.
    """
    if isinstance(path, RemotePlace):
        path.check_writable()
        return
    path = Path(str(path))
    mode = _mode(path, option)
    if mode is not None and stat.S_ISDIR(mode):
        raise UsageError(f"{option} {path} is a folder; specify a file in it")
    written = [] if mode is None else [path]
    if mode is None or stat.S_ISREG(mode):  # it is replaced by rename, which changes its folder too
        folder = path.resolve().parent
        if not folder.is_dir():
            raise UsageError(f"{option} {path}: the folder {path.parent} does not exist")
        written.append(folder)
    if not all(os.access(place, os.W_OK) for place in written):
        raise UsageError(f"{option} {path} cannot be written: permission denied")


def _mode(path: Path, option: str) -> int | None:
    try:
        return mode_of(path)
    except OSError as error:
        raise UsageError(f"cannot write {option} {path}: {error.strerror}") from error


def write_output(data: bytes | Iterable[bytes], path: Place | None) -> None:
    """Write output atomically to a file, or to stdout if `path` is None or `-`. Raises UsageError.

    A closed pipe is not an error: its reader has all it wanted.
    """
    if path is not None and not is_stdout(path):
        if isinstance(path, Path):
            target = Path(os.path.realpath(path))
            remove_leftovers(target.parent, [target.name])
        write_whole(path, data)
        return
    with spooled(data) as chunks:
        try:
            sys.stdout.flush()
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        except OSError as error:
            # Python would otherwise write the rest of its buffer, and fail again, at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):
                raise UsageError(f"cannot write to stdout: {error.strerror}") from error
