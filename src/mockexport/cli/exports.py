"""The command `mockexport exports list`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import typer

from mockexport.catalog import summarise
from mockexport.cli.options import (
    BudgetOption,
    BundleOption,
    Format,
    FormatOption,
    OutputOption,
    QuietOption,
    RetriesOption,
    SourceOption,
    TimeoutOption,
    TokenOption,
    VerboseOption,
    begin,
)
from mockexport.output import csv_text, export_document

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["app"]

app = typer.Typer(help="What there is to count.", no_args_is_help=True, rich_markup_mode=None)

EXAMPLES = """\b
Examples:
  mockexport exports list
  mockexport exports list --format table
  mockexport exports list --source http://127.0.0.1:8000
"""


@app.command("list", epilog=EXAMPLES)
def list_command(
    source: SourceOption = None,
    timeout: TimeoutOption = 30.0,
    retries: RetriesOption = 5,
    retry_budget: BudgetOption = 300.0,
    token_file: TokenOption = None,
    ca_bundle: BundleOption = None,
    output: OutputOption = None,
    format: FormatOption = Format.json,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """List the exports of a source, each summed up over its downloads.

    What the source doesn't declare is null.
    """
    run = begin(
        source=source, timeout=timeout, retries=retries, retry_budget=retry_budget,
        token_file=token_file, ca_bundle=ca_bundle, output=output, format=format, quiet=quiet, verbose=verbose,
    )  # fmt: skip
    with closing(run.source):
        exports = [summarise(export, run.source.downloads(export)) for export in run.source.exports()]
    documents = [export_document(export) for export in exports]

    def table() -> Table:
        from mockexport.cli.tables import listing_table

        return listing_table(documents)

    def csv() -> str:
        columns = list(export_document(summarise("", [])))
        return csv_text(columns, ([document[column] for column in columns] for document in documents))

    run.answer(documents, table=table, csv=csv)
