"""The answers as JSON, table and CSV; written to stdout or, whole or not at all, to a file."""

from __future__ import annotations

import csv
import os
import stat
import sys
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from mockexport.catalog import time_text
from mockexport.errors import UsageError
from mockexport.files import mode_of, remove_leftovers, spooled, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

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
    "unicode_only",
    "verdict_document",
    "write_answer",
]

CRLF = "\r\n"


def json_bytes(document: Any) -> bytes:
    """Return JSON with two-space indent and a newline at the end; keys stay in the order given."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        return orjson.dumps(document, option=options)
    except orjson.JSONEncodeError:  # a name in it is not UTF-8
        return orjson.dumps(_unicode_only(document), option=options)


def unicode_only(text: str) -> str:
    r"""Return text that can be written as UTF-8: a byte that is not UTF-8 in a name becomes `\udcxx`."""
    return text.encode(errors="backslashreplace").decode()


def _unicode_only(value: Any) -> Any:
    if isinstance(value, str):
        return unicode_only(value)
    if isinstance(value, dict):
        return {_unicode_only(key): _unicode_only(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_unicode_only(held) for held in value]
    return value


def json_list(documents: Iterable[Any]) -> Iterator[bytes]:
    """Yield what `json_bytes` returns for a list of these documents, of which one at a time is held."""
    between = b"[\n"
    for document in documents:
        yield between + json_bytes([document])[2:-3]
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
