"""What the shared options mean: the delimiter, the format of the output, and what runs the tasks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mockexport.cli.options import Format
from mockexport.errors import UsageError, suggestion
from mockexport.pipeline import workers_for
from mockexport.sources import generator_name
from mockexport.tally import DELIMITERS, tally_name

if TYPE_CHECKING:
    from mockexport.pipeline import StartWorkers
    from mockexport.source import Source

__all__ = ["choose_format", "choose_workers", "read_delimiter"]


def read_delimiter(text: str) -> str | None:
    """Read a delimiter: a character, or its name; None for `auto`. Raises UsageError."""
    names = {"auto": None, "comma": ",", "semicolon": ";", "pipe": "|", "tab": "\t", "\\t": "\t"}
    delimiter = names.get(text.lower(), text)
    if delimiter is not None and delimiter not in DELIMITERS:
        raise UsageError(f"--delimiter {text!r} is not one of , ; | tab auto")
    return delimiter


def choose_format(option: Format | None, variable: str | None, *, table: bool, on_terminal: bool) -> Format:
    """Return the format of the options, of the environment if the output goes to a terminal, or JSON."""
    if variable is not None and variable not in Format.__members__:
        hint = suggestion(variable, Format.__members__)
        raise UsageError(f"MOCKEXPORT_FORMAT is {variable!r}; it takes json, table or csv{hint}")
    if table and option not in (None, Format.table):
        raise UsageError(f"--table and --format {option} cannot be used together")
    if table:
        return Format.table
    return option or Format(variable if variable and on_terminal else Format.json)


def choose_workers(
    kernel: str, jobs: int | None, scheduler: str | None, source: Source, timeout: float
) -> StartWorkers:
    """Return the workers: threads or processes of this machine, or a cluster. Raises UsageError for both."""
    if not scheduler:
        releases_gil = "pure" not in (tally_name(kernel), generator_name(kernel))
        return workers_for(jobs, releases_gil=releases_gil, over_http="://" in source.name)
    if jobs:
        raise UsageError("--jobs and --scheduler cannot be used together: --jobs applies to this machine only")
    from mockexport.pipeline import cluster_workers

    return partial(cluster_workers, scheduler=scheduler, timeout=timeout)
