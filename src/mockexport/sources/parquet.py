"""Parquet files as CSV text: what reads records reads that, and there is no second way to count them.

The text has the four columns of an export if the file has them, or else all of its columns, in their order. A null is
an empty field. Needs the [parquet] extra.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from mockexport.errors import ChangedError, UntrustedDataError, UsageError
from mockexport.extras import needs_extra
from mockexport.identity import FileVersion
from mockexport.place import open_file

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from mockexport.place import Place
    from mockexport.source import Chunks

__all__ = ["is_parquet", "read_parquet", "rows_of"]

COLUMNS = ("patient_id", "event_time", "event_type", "value")
BATCH_ROWS = 1 << 16
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.6f"


def is_parquet(name: str) -> bool:
    """Tell whether a file is one, by its suffix."""
    return name.lower().endswith(".parquet")


def rows_of(path: Place) -> int | None:
    """Return how many rows the metadata of a file declares; None for one in a store, where that takes all of it.

    Raises UntrustedDataError for what is not Parquet, and UsageError without the extra.
    """
    if not isinstance(path, Path):
        return None
    polars = _polars()
    with _failures(path, polars):
        return cast("int", polars.scan_parquet(path, glob=False).select(polars.len()).collect().item())


def read_parquet(path: Place, offset: int = 0, etag: str | None = None, **watch: Any) -> Chunks:
    """Stream a file as CSV, from byte `offset` of the text on.

    `etag` is that of the version that was listed, `watch` that of `Source.open`. Raises ChangedError for any other one,
    UntrustedDataError for what is not Parquet or has a column of a type that does not fit, and UsageError without the
    extra.
    """
    with _local(path, etag, **watch) as (local, check):
        for chunk in _text(local, path):
            check()
            if offset < len(chunk):
                yield chunk[offset:] if offset else chunk
            offset = max(0, offset - len(chunk))


def _text(local: Path, path: Place) -> Iterator[bytes]:
    polars = _polars()
    with _failures(path, polars):
        file = polars.scan_parquet(local, glob=False)
        types = dict(file.collect_schema())
        names = [name for name in types if name in COLUMNS] if set(COLUMNS) <= types.keys() else list(types)
        for name in names:
            _check_type(name, types[name], path)
        times = [
            polars.col(name).dt.convert_time_zone("UTC").dt.to_string(f"{TIME_FORMAT}Z")
            for name in names
            if getattr(types[name], "time_zone", None)
        ]
        batches = file.select(names).with_columns(times).collect_batches(chunk_size=BATCH_ROWS)
        yield polars.DataFrame(schema=names).write_csv().encode()
        for batch in batches:
            yield batch.write_csv(include_header=False, datetime_format=TIME_FORMAT).encode()


def _check_type(name: str, kind: Any, path: Place) -> None:
    """Raise UntrustedDataError for a column that has no place in a CSV, or not in this column of an export."""
    polars = _polars()
    is_text = kind in (polars.String, polars.Categorical, polars.Enum)
    is_time = isinstance(kind, polars.Datetime)
    fits = {
        "patient_id": is_text or kind.is_integer(),
        "event_type": is_text,
        "event_time": is_text or is_time,
        "value": is_text or kind.is_numeric(),
    }.get(name, not (kind.is_nested() or kind == polars.Binary))
    if not fits:
        raise UntrustedDataError(f"the column {name} of {path} has the type {kind}, which does not fit; convert it")


@contextmanager
def _local(path: Place, etag: str | None, **watch: Any) -> Generator[tuple[Path, Any], None, None]:
    """Yield a file on disk with the bytes of `path`, and what raises ChangedError if it has changed.

    An object of a store is copied: Parquet is read from its end. Raises UsageError if there is no room for it.
    """
    with open_file(path, etag, **watch) as file:
        if isinstance(path, Path):
            version = FileVersion.of(path.stat())

            def check() -> None:
                file.check()
                version.check(FileVersion.of(path.stat()), path)

            if etag is not None and version.etag != etag:
                raise ChangedError(f"{path} has changed since it was listed")
            yield path, check
            check()
            return
        with ExitStack() as stack:
            try:
                copy = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".parquet"))
                shutil.copyfileobj(cast("IO[bytes]", file), cast("IO[bytes]", copy), BATCH_ROWS)
                copy.flush()
            except OSError as error:  # of the disk: a store has errors of ours
                raise UsageError(
                    f"cannot copy {path} to a temporary file: {error.strerror}; set TMPDIR to a folder with room"
                ) from error
            yield Path(copy.name), file.check


def _polars() -> Any:
    with needs_extra("parquet"):
        import polars as pl
    return pl


@contextmanager
def _failures(path: Place, polars: Any) -> Generator[None, None, None]:
    try:
        yield
    except polars.exceptions.PolarsError as error:
        raise UntrustedDataError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
