"""The options that several commands share, and the Run that is made from them."""

from __future__ import annotations

import inspect
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from mockexport.cli.output import check_writable, csv_lines, json_list, write_output
from mockexport.cli.remedies import says_variable, source_variable
from mockexport.cli.terminal import Terminal
from mockexport.cli.token import read_token
from mockexport.cli.version import kernels_text
from mockexport.encoding import json_bytes
from mockexport.errors import UsageError
from mockexport.factory import open_source
from mockexport.pipeline import workers_for
from mockexport.settings import Settings
from mockexport.sources import generator_name
from mockexport.tally import tally_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import RenderableType

    from mockexport.pipeline import StartWorkers
    from mockexport.source import Source

__all__ = [
    "ExportArgument",
    "Format",
    "Invocation",
    "MaxPairsOption",
    "Run",
    "SourceOption",
    "complete_export",
    "with_run",
]

MAX_PAIRS_LIMIT = 1_000_000_000  # of the native tally


class Format(StrEnum):
    """The format of the output."""

    json = "json"
    table = "table"
    csv = "csv"


def complete_export(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the id of an export of the source on the command line; no completions if the source fails."""
    try:
        source = open_source(ctx.params.get("source") or Settings.from_environment().source, timeout=2)
        return [export for export in source.exports() if export.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - a shell that completes a line cannot show errors
        return []


ExportArgument = Annotated[
    str,
    typer.Argument(metavar="EXPORT", help="The id of the export.", autocompletion=complete_export, show_default=False),
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source", "-s", metavar="SOURCE", show_default=False,
        help="mock (generated data), a folder of exports, or the URL of a server.  "
        "[env: MOCKEXPORT_SOURCE; default: mock]",
    ),
]  # fmt: skip
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, max=1024, metavar="N", show_default=False,
        help="Process N downloads in parallel.  [default: the number of CPUs]",
    ),
]  # fmt: skip
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="ADDRESS", show_default=False,
        help="Run on the Dask cluster with this scheduler, such as tcp://host:8786; needs the [cluster] extra.  "
        "[env: MOCKEXPORT_SCHEDULER]",
    ),
]  # fmt: skip
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", show_default=False,
        help="Write the output to FILE, only once it is complete; - is stdout.",
    ),
]  # fmt: skip
FormatOption = Annotated[Format, typer.Option("--format", help="The format of the output.")]
MaxPairsOption = Annotated[
    int,
    typer.Option(
        "--max-pairs", min=1, max=MAX_PAIRS_LIMIT, metavar="N",
        help="Fail if there are more than N distinct pairs of patient and event type; this limits memory.",
    ),
]  # fmt: skip
ProgressOption = Annotated[
    bool | None,
    typer.Option(
        "--progress/--no-progress", show_default=False,
        help="Show progress on stderr or not.  [default: show it on a terminal, after one second]",
    ),
]  # fmt: skip
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors to stderr.")]


@dataclass
class Invocation:
    """What app.py needs to know if a command fails; the `obj` of Typer's context."""

    verbose: bool = False


def _note_verbose(ctx: typer.Context, verbose: bool) -> bool:
    invocation = ctx.find_object(Invocation)
    if invocation and verbose:
        invocation.verbose = True
    return verbose


VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v",
        is_eager=True,  # so that it is known if another option is invalid
        callback=_note_verbose,
        help="Print more to stderr, and a traceback if there is an error.",
    ),
]  # fmt: skip


TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0.001,
        metavar="SECONDS",
        help="How long to wait for a response, or for the next bytes of its body.",
    ),
]
RetriesOption = Annotated[
    int,
    typer.Option(
        "--retries", min=0, max=1000, metavar="N", help="How often to retry a request that makes no progress."
    ),
]
BudgetOption = Annotated[
    float,
    typer.Option(
        "--retry-budget", min=0, metavar="SECONDS", help="The total time that all attempts at one download may take."
    ),
]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE", show_default=False,
        help="Send the first line of FILE to the server as a bearer token.  [env: MOCKEXPORT_TOKEN_FILE]",
    ),
]  # fmt: skip
BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-bundle", metavar="FILE", show_default=False,
        help="Trust the CA certificates in FILE instead of the default ones.",
    ),
]  # fmt: skip
UnprovenEndOption = Annotated[
    bool,
    typer.Option(
        "--allow-unproven-end",
        help="Accept a response without a length, a last chunk and a declared number of rows, which may be incomplete.",
    ),
]


class Run(NamedTuple):
    """One run of a command: its source, what processes the data, and where the output goes."""

    source: Source
    kernel: str
    start_workers: StartWorkers
    terminal: Terminal
    output: Path | None
    format: Format

    def write(
        self,
        document: Any,
        *,
        table: Callable[[], RenderableType],
        csv: Callable[[], str],
    ) -> None:
        """Write the output in the requested format; `table` and `csv` are called only if theirs is requested."""
        if self.format is Format.json:
            data = json_bytes(document)
        elif self.format is Format.csv:
            data = csv().encode(errors="surrogateescape")  # a file's name need not be UTF-8
        else:
            data = self._render(table())
        write_output(data, self.output)

    def write_list(self, documents: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
        """Write a list, one document at a time; only a table needs all of them, to know how wide its columns are."""
        data: bytes | Iterable[bytes]
        if self.format is Format.json:
            data = json_list(documents)
        elif self.format is Format.csv:
            lines = csv_lines(columns, ([document[column] for column in columns] for document in documents))
            data = (line.encode() for line in lines)
        else:
            from mockexport.cli.tables import listing_table

            data = self._render(listing_table(list(documents)))
        write_output(data, self.output)

    def _render(self, table: RenderableType) -> bytes:
        return self.terminal.render(table, to_file=self.output is not None and str(self.output) != "-")


def prepare(
    source: SourceOption = None,
    timeout: TimeoutOption = 30.0,
    retries: RetriesOption = 5,
    retry_budget: BudgetOption = 300.0,
    token_file: TokenOption = None,
    ca_bundle: BundleOption = None,
    allow_unproven_end: UnprovenEndOption = False,
    jobs: JobsOption = None,
    scheduler: SchedulerOption = None,
    output: OutputOption = None,
    format: FormatOption = Format.json,
    progress: ProgressOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> Run:
    """Make a Run from the options. Raises UsageError or NotFoundError before any work is done."""
    settings = Settings.from_environment()
    if output is not None and str(output) != "-":
        check_writable(output)
    terminal = Terminal(progress=progress, quiet=quiet, verbose=verbose)
    terminal.show_log()
    terminal.detail(kernels_text(settings.kernel))
    token = read_token(token_file, settings.token_file)
    with says_variable(source_variable(source, settings)):
        data = open_source(
            source or settings.source,
            kernel=settings.kernel,
            timeout=timeout,
            retries=retries,
            retry_budget=retry_budget,
            token=token,
            ca_bundle=ca_bundle,
            allow_unproven_end=allow_unproven_end,
        )
    return Run(
        source=data,
        kernel=settings.kernel,
        start_workers=choose_workers(settings.kernel, jobs, scheduler, data, timeout),
        terminal=terminal,
        output=output,
        format=format,
    )


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


def with_run(*, parallel: bool, on_cluster: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of `prepare` to a command, and call it with the Run made from them as its first argument.

    `parallel` commands process downloads and have --jobs, --progress and --allow-unproven-end too; those that can do so
    `on_cluster` have --scheduler.
    """
    left_out = {
        *(() if parallel else ("jobs", "progress", "allow_unproven_end")),
        *(() if on_cluster else ("scheduler",)),
    }
    shared = {
        name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(prepare, eval_str=True).parameters.items()
        if name not in left_out
    }

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        _run, *own = signature.parameters.values()

        @wraps(command)
        def run_command(**options: Any) -> None:
            given = {name: options.pop(name) for name in shared}
            settings = Settings.from_environment()
            scheduler = None
            if on_cluster and settings.scheduler and not given["scheduler"]:
                given["scheduler"], scheduler = settings.scheduler, "MOCKEXPORT_SCHEDULER"
            with says_variable(scheduler, "--scheduler"):
                run = prepare(**given)
            with (
                closing(run.source),
                says_variable(source_variable(given["source"], settings), run.source.name),
                says_variable(scheduler, settings.scheduler or ""),
            ):
                command(run, **options)

        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        parameters = [*own, *shared.values()]
        run_command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run_command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run_command

    return decorate
