"""The options that several commands share, and what becomes of them: a Run."""

from __future__ import annotations

import inspect
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mockexport.cli.output import check_writable, csv_lines, json_list, write_answer
from mockexport.cli.terminal import Terminal
from mockexport.cli.version import kernels_text
from mockexport.encoding import json_bytes
from mockexport.errors import UntrustedDataError, UsageError
from mockexport.factory import open_source
from mockexport.local_file import read_whole
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
    "read_token",
    "takes_run",
]

MAX_PAIRS_TO_ASK_FOR = 1_000_000_000  # what the native tally holds


class Format(StrEnum):
    """How an answer is written."""

    json = "json"
    table = "table"
    csv = "csv"


def complete_export(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the ids of the exports of the source that the command line names; in silence when it has none."""
    try:
        source = open_source(ctx.params.get("source") or Settings.from_environment().source, timeout=2)
        return [export for export in source.exports() if export.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - a shell in the middle of a line has no use for an error
        return []


ExportArgument = Annotated[
    str,
    typer.Argument(metavar="EXPORT", help="The export's id.", autocompletion=complete_export, show_default=False),
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source", "-s", metavar="SOURCE", show_default=False,
        help="mock (made up here), a folder of exports, or the URL of a server.  "
        "[env: MOCKEXPORT_SOURCE; default: mock]",
    ),
]  # fmt: skip
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, max=1024, metavar="N", show_default=False,
        help="How many downloads at a time.  [default: one a processor]",
    ),
]  # fmt: skip
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="ADDRESS", show_default=False,
        help="Work on the Dask cluster there, such as tcp://host:8786 [cluster].  [env: MOCKEXPORT_SCHEDULER]",
    ),
]  # fmt: skip
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", show_default=False,
        help="Write the answer there, whole or not at all; - is stdout.",
    ),
]  # fmt: skip
FormatOption = Annotated[Format, typer.Option("--format", help="How the answer is written.")]
MaxPairsOption = Annotated[
    int,
    typer.Option(
        "--max-pairs", min=1, max=MAX_PAIRS_TO_ASK_FOR, metavar="N",
        help="End at more distinct pairs of patient and type than N: a limit of memory.",
    ),
]  # fmt: skip
ProgressOption = Annotated[
    bool | None,
    typer.Option(
        "--progress/--no-progress", show_default=False,
        help="Progress on stderr, or none.  [default: on a terminal, after a second]",
    ),
]  # fmt: skip
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")]


@dataclass
class Invocation:
    """What the boundary (app.py) has to know of a command line, as its parser read it; the context's `obj`."""

    verbose: bool = False


def _tell_verbose(ctx: typer.Context, verbose: bool) -> bool:
    invocation = ctx.find_object(Invocation)
    if invocation and verbose:
        invocation.verbose = True
    return verbose


VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v",
        is_eager=True,  # so that it is known when another option turns out to be wrong
        callback=_tell_verbose,
        help="More on stderr; with an error, where it came from.",
    ),
]  # fmt: skip


TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout", min=0.001, metavar="SECONDS", help="The longest wait for an answer, and for the next bytes of it."
    ),
]
RetriesOption = Annotated[
    int,
    typer.Option(
        "--retries", min=0, max=1000, metavar="N", help="How often a request is tried again without progress."
    ),
]
BudgetOption = Annotated[
    float,
    typer.Option(
        "--retry-budget", min=0, metavar="SECONDS", help="How long the tries for one download may take in all."
    ),
]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE", show_default=False,
        help="A file whose first line is sent to the server as a bearer token.  [env: MOCKEXPORT_TOKEN_FILE]",
    ),
]  # fmt: skip
BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-bundle", metavar="FILE", show_default=False,
        help="Certificates to trust in place of the usual ones.",
    ),
]  # fmt: skip
UnprovenEndOption = Annotated[
    bool,
    typer.Option(
        "--allow-unproven-end",
        help="Take a server's data that nothing proves to be whole: no length, no last chunk, no rows declared.",
    ),
]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: where the data comes from, what works on it, and where the answer goes."""

    source: Source
    kernel: str
    start_workers: StartWorkers
    terminal: Terminal
    output: Path | None
    format: Format

    def answer(
        self,
        document: Any,
        *,
        table: Callable[[], RenderableType],
        csv: Callable[[], str],
    ) -> None:
        """Write the answer in the form that was asked for; the other forms are never made."""
        if self.format is Format.json:
            data = json_bytes(document)
        elif self.format is Format.csv:
            data = csv().encode(errors="surrogateescape")  # a file's name need not be UTF-8
        else:
            data = self._render(table())
        write_answer(data, self.output)

    def answer_list(self, documents: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
        """Write a list one document at a time; only a table takes all of them at once, for its columns' widths."""
        data: bytes | Iterable[bytes]
        if self.format is Format.json:
            data = json_list(documents)
        elif self.format is Format.csv:
            lines = csv_lines(columns, ([document[column] for column in columns] for document in documents))
            data = (line.encode() for line in lines)
        else:
            from mockexport.cli.tables import listing_table

            data = self._render(listing_table(list(documents)))
        write_answer(data, self.output)

    def _render(self, table: RenderableType) -> bytes:
        return self.terminal.render(table, to_file=self.output is not None and str(self.output) != "-")


def read_token(path: Path | None) -> str | None:
    """Read a bearer token, the first line of a file. Raises UsageError; never tells what is in the file."""
    if path is None:
        return None
    try:
        token = read_whole(path).decode("ascii").partition("\n")[0].strip()
    except UntrustedDataError as error:
        raise UsageError(f"--token-file {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no plain text"
        raise UsageError(f"--token-file {path} can't be read: {reason}") from None
    if not token or not token.isprintable() or " " in token:
        raise UsageError(f"--token-file {path} holds no token in its first line")
    return token


def begin(
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
    """Turn the options into a Run; whatever can be wrong with them is found here, before any work."""
    settings = Settings.from_environment()
    if output is not None and str(output) != "-":
        check_writable(output)
    terminal = Terminal(progress=progress, quiet=quiet, verbose=verbose)
    terminal.show_log()
    terminal.detail(kernels_text(settings.kernel))
    opened = open_source(
        source or settings.source,
        kernel=settings.kernel,
        timeout=timeout,
        retries=retries,
        retry_budget=retry_budget,
        token=read_token(token_file or settings.token_file),
        ca_bundle=ca_bundle,
        allow_unproven_end=allow_unproven_end,
    )
    return Run(
        source=opened,
        kernel=settings.kernel,
        start_workers=choose_workers(settings.kernel, jobs, scheduler, opened, timeout),
        terminal=terminal,
        output=output,
        format=format,
    )


def choose_workers(
    kernel: str, jobs: int | None, scheduler: str | None, source: Source, timeout: float
) -> StartWorkers:
    """Return what does the work: this machine, or a cluster. Raises UsageError when the cluster's extra is missing."""
    if not scheduler:
        releases_gil = "pure" not in (tally_name(kernel), generator_name(kernel))
        return workers_for(jobs, releases_gil=releases_gil, over_http="://" in source.name)
    if jobs:
        raise UsageError("--jobs is for this machine and --scheduler for a cluster; give one of them")
    from mockexport.pipeline import cluster_workers

    return partial(cluster_workers, scheduler=scheduler, timeout=timeout)


def takes_run(*, works: bool, on_cluster: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `begin` behind its own, and the Run that they make as its first argument.

    `works` tells whether it works on downloads, side by side and for a while: then it has --jobs and --progress too.
    `on_cluster` tells whether a cluster can do that: then it has --scheduler.
    """
    left_out = {*(() if works else ("jobs", "progress", "allow_unproven_end")), *(() if on_cluster else ("scheduler",))}
    shared = {
        name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(begin, eval_str=True).parameters.items()
        if name not in left_out
    }

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        _run, *own = signature.parameters.values()

        @wraps(command)
        def with_run(**options: Any) -> None:
            given = {name: options.pop(name) for name in shared}
            if on_cluster:
                given["scheduler"] = given["scheduler"] or Settings.from_environment().scheduler
            run = begin(**given)
            with closing(run.source):
                command(run, **options)

        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        parameters = [*own, *shared.values()]
        with_run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        with_run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_run

    return decorate
