"""Read one download through an accumulator: all of it, as many rows as declared, or an error."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Protocol, TypeVar

from mockexport.errors import MockExportError, NotResumableError, UntrustedDataError
from mockexport.pipeline.progress import Cancelled
from mockexport.tally import Malformed, Result

if TYPE_CHECKING:
    from mockexport.model import Download
    from mockexport.pipeline.progress import TaskProgress
    from mockexport.source import Source
    from mockexport.tally import Accumulator, AccumulatorSpec

__all__ = ["RESTARTS", "Sink", "describe", "read_download"]

R = TypeVar("R", bound=Result)
log = logging.getLogger(__name__)
RESTARTS = 5  # of one body, where its source cannot resume it


class Sink(Protocol):
    """Where a download's bytes are kept."""

    def begin(self, accumulator: Accumulator[Result], *, resume: bool) -> int:
        """Feed what is kept already to the accumulator, and return how many bytes that is; none without `resume`."""

    def write(self, chunk: bytes, /) -> None:
        """Keep the next bytes."""


class _MismatchError(UntrustedDataError):
    """A body that came to an end, but not to the one declared; another reading may do better."""


def read_download(
    source: Source,
    download: Download,
    spec: AccumulatorSpec[R],
    progress: TaskProgress,
    sink: Sink | None = None,
    *,
    other_rows: bool = False,
) -> tuple[R, int]:
    """Stream a download through an accumulator; return its result, and how many rows it read, as many as declared.

    Where its source cannot resume a body, it is read again from its start, and so is, once, a body that ended wrongly;
    each reading has its own accumulator. `sink` is where the bytes are kept. With `other_rows`, the second reading may
    have other rows than declared.
    """
    restarts, mismatches = 0, 0
    while True:
        progress.restart()
        try:
            accumulator = spec.new()
            offset = sink.begin(accumulator, resume=restarts + mismatches == 0) if sink else 0
            if offset:
                progress.keep(accumulator.rows, offset)
            declared = None if other_rows and mismatches else download.rows
            result = _read_once(source, download, offset, accumulator, progress, sink, declared)
        except NotResumableError as problem:
            restarts += 1
            if restarts > RESTARTS:
                raise
            log.info("%s; reading it again from its start", problem)
        except _MismatchError as problem:
            mismatches += 1
            if mismatches > 1:
                raise UntrustedDataError(problem.message, remedy=problem.remedy) from None
            log.info("%s; reading it once more from its start", problem)
        else:
            progress.finish(accumulator.rows)
            return result, accumulator.rows
        progress.retry()


def _read_once(
    source: Source,
    download: Download,
    offset: int,
    accumulator: Accumulator[R],
    progress: TaskProgress,
    sink: Sink | None,
    declared: int | None,
) -> R:
    name, ended = describe(download), False
    opened = source.open(download, offset, on_retry=progress.retry_after, cancel=progress.cancel)
    try:
        with contextlib.closing(opened) as chunks:
            for chunk in chunks:
                accumulator.feed(chunk)
                if sink:
                    sink.write(chunk)
                progress.advance(accumulator.rows, len(chunk))
                if declared is not None and accumulator.rows > declared:
                    raise _MismatchError(f"{name} declares {declared:,} rows but holds {accumulator.rows:,} or more")
        ended = True
        result = accumulator.finish()
    except MockExportError as error:
        if progress.cancel.cancelled:  # the error may have come of that, whatever it says
            raise Cancelled from error
        raise
    except Malformed as problem:
        kind = _MismatchError if ended else UntrustedDataError
        raise kind(f"{name} is malformed at {problem}", remedy=problem.remedy) from None
    if declared is not None and declared != accumulator.rows:
        raise _MismatchError(
            f"{name} declares {declared:,} rows but holds {accumulator.rows:,}; it ended early, or was declared wrongly"
        )
    return result


def describe(download: Download) -> str:
    """Name a download as errors do."""
    return f"download {download.id!r} of export {download.export!r}"
