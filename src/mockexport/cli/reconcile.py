"""The command `mockexport reconcile`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mockexport.cli.certificate_text import finding_rows, summary_lines
from mockexport.cli.help import CommandWithSections
from mockexport.cli.options import ExportArgument, Format, MaxPairsOption, MemoryOption
from mockexport.cli.output import csv_text, is_stdout, write_output
from mockexport.cli.prepare import Run, with_run
from mockexport.cli.sizes import read_size
from mockexport.reconciliation import check_codes
from mockexport.tally import MAX_PAIRS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mockexport.reconciliation import Certificate
    from mockexport.report import About

__all__ = ["app", "findings_csv"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)

EXAMPLES = """\b
Examples:
  mockexport reconcile small -s exports                the export in exports/small
  mockexport reconcile small -s http://host:8000 -o small.cert.json
  mockexport reconcile demo -s exports --allow duplicate --deny type-absent
  mockexport reconcile system -s fhir+https://ehr.example/fhir --ask-server
  mockexport reconcile demo -s exports --digest        to be signed or compared
"""
NOT_WHOLE = 1


@app.command(
    "reconcile", cls=CommandWithSections, short_help="Certify that an export is what was declared.", epilog=EXAMPLES
)
@with_run(parallel=True, certifies=True, reports=True)
def reconcile_command(
    run: Run,
    export: ExportArgument = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="CODE",
            show_default=False,
            help="Accept findings with this code: they are listed, and do not count. May be repeated.",
        ),
    ] = None,
    deny: Annotated[
        list[str] | None,
        typer.Option(
            "--deny",
            metavar="CODE",
            show_default=False,
            help="Take findings with this code for errors. May be repeated.",
        ),
    ] = None,
    by_patient: Annotated[
        bool, typer.Option("--by-patient", help="Add the records of each patient, and what was deleted.")
    ] = False,
    ask_server: Annotated[
        bool, typer.Option("--ask-server", help="Ask a FHIR server how many resources it has of each type.")
    ] = False,
    digest: Annotated[
        bool,
        typer.Option("--digest", help="Print only the digest to stdout; --output still takes the certificate."),
    ] = False,
    memory: MemoryOption = "256MB",
    max_pairs: MaxPairsOption = MAX_PAIRS,
) -> None:
    """Certify what was declared of an export and what is in it: records, bytes, patients, types, times, duplicates.

    The exit code is 0 if the export is whole, and 1 if it is not. Each finding has a code, which docs/reconcile.md
    explains. A summary with the digest of the certificate goes to stderr.
    """
    from mockexport.pipeline import reconcile

    size = read_size(memory)
    for option, codes in (("--allow", allow), ("--deny", deny)):
        check_codes(option, codes or ())
    export = run.export(export)
    with run.progress(export) as progress:
        certificate = reconcile(
            run.source, export, allow=allow or (), deny=deny or (), by_patient=by_patient, ask_server=ask_server,
            memory=size, jobs=run.jobs, max_pairs=max_pairs, kernel=run.kernel, csv=run.csv, fhir=run.fhir,
            start_workers=run.start_workers, on_progress=progress.downloads, on_listing=progress.listing,
        )  # fmt: skip

    def table() -> RenderableType:
        from mockexport.cli.certificate_table import certificate_table

        return certificate_table(certificate, all_rows=run.all_rows)

    def report(about: About) -> str:
        from mockexport.report import certificate_report

        return certificate_report(certificate, about)

    if not (digest and is_stdout(run.output)):
        run.write(
            certificate.document(),
            table=table,
            csv=lambda: findings_csv(certificate),
        )
    if digest:
        write_output(f"{certificate.digest}\n".encode(), None)
    if run.report:
        run.report.write(run.source.name, export, report)
    for line in summary_lines(certificate, run.terminal.width, short=run.format is Format.table):
        run.terminal.line(line)
    raise typer.Exit(0 if certificate.whole else NOT_WHOLE)


def findings_csv(certificate: Certificate) -> str:
    """Return the output of `reconcile` as CSV: a row for each finding."""
    return csv_text(["code", "severity", "accepted", "count", "meaning", "places"], finding_rows(certificate))
