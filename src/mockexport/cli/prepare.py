"""A Run: what a command works on, and with what; made from the options that several commands share."""

from __future__ import annotations

import inspect
import sys
from contextlib import ExitStack, closing, contextmanager, nullcontext
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mockexport.cli.choices import choose_format, choose_workers, read_delimiter
from mockexport.cli.fhir_options import (
    AllowPartialOption,
    ClientIdOption,
    ClientSecretOption,
    ElementsOption,
    ExportTimeoutOption,
    KeyOption,
    ResourceTypesOption,
    RestartOption,
    ScopeOption,
    SinceOption,
    StateOption,
    TypeFilterOption,
    UntilOption,
)
from mockexport.cli.options import (
    AllOption,
    BudgetOption,
    BundleOption,
    By,
    ByOption,
    DelimiterOption,
    EndpointOption,
    Format,
    FormatOption,
    IgnoreOption,
    JobsOption,
    MaxRowBytesOption,
    OutputOption,
    PagerOption,
    PatientColumnOption,
    ProgressOption,
    QuietOption,
    ReportOption,
    RetriesOption,
    SchedulerOption,
    SourceOption,
    StrictOption,
    TableOption,
    TimeColumnOption,
    TimeoutOption,
    TokenOption,
    TypeColumnOption,
    UnprovenEndOption,
    ValueColumnOption,
    VerboseOption,
)
from mockexport.cli.output import check_writable, csv_lines, is_stdout, json_list, write_output
from mockexport.cli.progress import download_progress, while_asking
from mockexport.cli.remedies import says_variable, source_variable, token_variable
from mockexport.cli.report import begin_report
from mockexport.cli.terminal import Terminal
from mockexport.cli.token import read_token
from mockexport.cli.version import kernels_text
from mockexport.encoding import json_bytes
from mockexport.errors import NotAuthorisedError, NotFoundError, UsageError
from mockexport.factory import open_place, open_source
from mockexport.fhir_export import SCOPE, WEEK, FhirExport
from mockexport.settings import Settings
from mockexport.source import MakesExports
from mockexport.tally import MAX_RESOURCE_BYTES, CsvFormat, FhirFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from contextlib import AbstractContextManager

    from rich.console import RenderableType

    from mockexport.cli.progress import Progress
    from mockexport.cli.report import Report
    from mockexport.pipeline import StartWorkers
    from mockexport.place import Place
    from mockexport.source import Source

__all__ = ["Run", "with_run"]

FHIR_OPTIONS = (
    "types", "since", "until", "type_filters", "elements", "restart", "export_timeout", "allow_partial",
)  # fmt: skip
FORMAT_OPTIONS = ("patient_column", "type_column", "delimiter", "strict", "max_row_bytes")
DEFAULT_EXPORT = "demo"
EXPORTS_SHOWN = 6


class Run(NamedTuple):
    """One run of a command: its source, what processes the data, and where the output goes."""

    source: Source
    source_is_named: bool
    kernel: str
    csv: CsvFormat
    fhir: FhirFormat
    start_workers: StartWorkers
    terminal: Terminal
    output: Place | None
    format: Format
    all_rows: bool  # of a table
    pager: str  # for a long table; empty: none
    state: Path | None = None  # of the export of a FHIR server, unless it is in a store
    restart: bool = False  # another one is begun
    jobs: int | None = None  # how many workers; None for the default
    timeout: float | None = None  # how long a server may send nothing; None for other sources
    report: Report | None = None
    open_place: Callable[[str], Place] = Path  # a file or folder that an option names
    variables: Sequence[tuple[Any, ...]] = ()  # what `says_variable` takes, for each value from the environment

    @contextmanager
    def says_variables(self) -> Generator[None, None, None]:
        """Let errors in the block that are about a value from the environment begin with its variable."""
        with ExitStack() as stack:
            for arguments in self.variables:
                stack.enter_context(says_variable(*arguments))
            yield

    def export(self, named: str | None) -> str:
        """Return the export that the user named, or the only one that the source holds, or the default one.

        Raises UsageError when there are others, and NotFoundError when there is none.
        """
        if named is not None:
            return named
        if isinstance(self.source, MakesExports):
            raise UsageError("name an export: system, patient or group/ID")
        if self.source.name.startswith(("http://", "https://")):
            from mockexport.sources import HttpFileSource

            if not isinstance(self.source, HttpFileSource):  # without a request
                return DEFAULT_EXPORT
        exports = self.source.exports()
        if len(exports) == 1:
            return exports[0]
        if DEFAULT_EXPORT in exports:
            return DEFAULT_EXPORT
        if not exports:
            raise NotFoundError(f"{self.source.name} holds no export")
        shown = ", ".join(exports[:EXPORTS_SHOWN]) + (", …" if len(exports) > EXPORTS_SHOWN else "")
        raise UsageError(f"name an export: {self.source.name} holds {shown}")

    @property
    def same_command(self) -> str:
        """The command that goes on where this one ended, in words."""
        return "the same command without --restart" if self.restart else "the same command"

    def progress(self, export: str) -> AbstractContextManager[Progress]:
        """Show how far the work on an export is."""
        return download_progress(self.terminal, export, self.source, self.timeout)

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
            self._write_table(table())
            return
        write_output(data, self.output)

    def write_list(self, documents: Iterable[dict[str, Any]], columns: Sequence[str], noun: str) -> None:
        """Write a list of these `noun`, one at a time; only a table needs all, to know how wide its columns are."""
        documents = while_asking(self.terminal, self.source.name, documents)
        data: bytes | Iterable[bytes]
        if self.format is Format.json:
            data = json_list(documents)
        elif self.format is Format.csv:
            lines = csv_lines(columns, ([document[column] for column in columns] for document in documents))
            data = (line.encode() for line in lines)
        else:
            from mockexport.cli.tables import listing_table

            self._write_table(listing_table(list(documents), noun, all_rows=self.all_rows))
            return
        write_output(data, self.output)

    def _write_table(self, table: RenderableType) -> None:
        data = self.terminal.render(table, to_file=not is_stdout(self.output))
        if self.pager:
            from mockexport.cli.pager import page

            if page(data, self.pager, self.terminal.note):
                return
        write_output(data, self.output)


def prepare(
    source: SourceOption = None,
    timeout: TimeoutOption = 30.0,
    retries: RetriesOption = 5,
    retry_budget: BudgetOption = 300.0,
    token_file: TokenOption = None,
    ca_bundle: BundleOption = None,
    endpoint: EndpointOption = None,
    allow_unproven_end: UnprovenEndOption = False,
    jobs: JobsOption = None,
    scheduler: SchedulerOption = None,
    patient_column: PatientColumnOption = None,
    type_column: TypeColumnOption = None,
    time_column: TimeColumnOption = None,
    value_column: ValueColumnOption = None,
    delimiter: DelimiterOption = "auto",
    by: ByOption = By.type,
    strict: StrictOption = False,
    max_row_bytes: MaxRowBytesOption = MAX_RESOURCE_BYTES,
    types: ResourceTypesOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    type_filters: TypeFilterOption = None,
    elements: ElementsOption = None,
    state: StateOption = None,
    restart: RestartOption = False,
    export_timeout: ExportTimeoutOption = WEEK,
    allow_partial: AllowPartialOption = False,
    client_id: ClientIdOption = None,
    key: KeyOption = None,
    client_secret: ClientSecretOption = None,
    scope: ScopeOption = SCOPE,
    ignore: IgnoreOption = None,
    output: OutputOption = None,
    report: ReportOption = None,
    format: FormatOption = None,
    table: TableOption = False,
    all_rows: AllOption = False,
    no_pager: PagerOption = False,
    progress: ProgressOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> Run:
    """Make a Run from the options. Raises UsageError or NotFoundError before any work is done."""
    settings = Settings.from_environment()
    place = partial(
        open_place, endpoint=endpoint, timeout=timeout, retries=retries, retry_budget=retry_budget, ca_bundle=ca_bundle
    )
    written = None if output is None else place(output)
    kept = None if state is None else place(state)  # beside what is fetched, it may be a URL
    on_terminal = is_stdout(written) and sys.stdout.isatty()
    chosen = choose_format(format, settings.format, table=table, on_terminal=on_terminal)
    if written is not None and not is_stdout(written):
        check_writable(written)
    to_report = None if report is None else begin_report(report, written)
    csv = CsvFormat(patient_column, type_column, read_delimiter(delimiter), time_column, value_column)
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
            endpoint=endpoint,
            allow_unproven_end=allow_unproven_end,
            ignore=ignore or (),
            fhir=FhirExport(
                types=tuple(types or ()),
                since=since,
                until=until,
                type_filters=tuple(type_filters or ()),
                elements=tuple(elements or ()),
                state=kept,
                restart=restart,
                timeout=export_timeout,
                allow_partial=allow_partial,
                client_id=client_id,
                key=key,
                client_secret=client_secret,
                scope=scope,
            ),
        )
    return Run(
        source=data,
        source_is_named=bool(source or settings.source_is_named),
        kernel=settings.kernel,
        csv=csv,
        fhir=FhirFormat(by, strict, max_row_bytes),
        start_workers=choose_workers(settings.kernel, jobs, scheduler, data, timeout),
        terminal=terminal,
        output=written,
        format=chosen,
        all_rows=all_rows or not on_terminal,
        pager=settings.pager if on_terminal and not no_pager else "",
        state=kept if isinstance(kept, Path) else None,
        restart=restart,
        jobs=jobs,
        timeout=timeout if "://" in data.name else None,
        report=to_report,
        open_place=place,
    )


@contextmanager
def ended(run: Run) -> Generator[None, None, None]:
    """At the end, have exports deleted that the source began, unless another run is to go on with them."""
    source = run.source
    if not isinstance(source, MakesExports):
        yield
        return
    try:
        yield
    except BaseException as error:
        if source.keeps_state and isinstance(error, NotFoundError):  # of an export that is gone
            pass
        elif source.keeps_state:
            run.terminal.note(f"the export is kept on the server; run {run.same_command} again to go on with it")
        else:
            source.end()
        raise
    source.end()


def with_run(
    *,
    parallel: bool,
    counts: bool = False,
    values: bool = False,
    on_cluster: bool = False,
    begins: bool = False,
    certifies: bool = False,
    reports: bool = False,
    states: bool = True,
    state_in: Callable[..., Path | str | None] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of `prepare` to a command, and call it with the Run made from them as its first argument.

    `parallel` commands process downloads and have --jobs, --progress, --allow-unproven-end and the options of formats
    too, those whose output `counts` records have --by, those that read `values` have --time-column and --value-column,
    those that can run `on_cluster` have --scheduler, and those with `reports` have --report. Parallel ones, and those
    that `begins` an export, have the options of FHIR servers, and all that can go on with one have its `states`.
    `state_in` takes the command's own options, and returns where the state of an export is kept unless --state says so.
    """
    left_out = {
        *(() if parallel else ("jobs", "progress", "allow_unproven_end", *FORMAT_OPTIONS)),
        *(() if parallel or begins else FHIR_OPTIONS),
        *(() if states else ("state",)),
        *(("strict", "allow_partial") if certifies else ()),
        *(() if counts else ("by",)),
        *(() if values else ("time_column", "value_column")),
        *(() if on_cluster else ("scheduler",)),
        *(() if reports else ("report",)),
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
            if given.get("state") is not None:
                check_writable(given["state"], "--state")
            elif state_in:
                given["state"] = state_in(**options)
            scheduler = None
            if on_cluster and settings.scheduler and not given["scheduler"]:
                given["scheduler"], scheduler = settings.scheduler, "MOCKEXPORT_SCHEDULER"
            with says_variable(scheduler, "--scheduler"):
                run = prepare(**given)
            variables = (
                (source_variable(given["source"], settings), run.source.name),
                (scheduler, settings.scheduler or ""),
                (token_variable(given["token_file"], settings), "", NotAuthorisedError),
            )
            run = run._replace(variables=variables)
            with closing(run.source), run.says_variables(), ended(run) if parallel else nullcontext():
                command(run, **options)

        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        parameters = [*own, *shared.values()]
        run_command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run_command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run_command

    return decorate
