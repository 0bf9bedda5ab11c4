"""The command `mockexport exports list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mockexport.catalog import summarise
from mockexport.cli.options import Run, takes_run
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
@takes_run(works=False)
def list_command(run: Run) -> None:
    """List the exports of a source, each summed up over its downloads.

    What the source doesn't declare is null.
    """
    exports = [summarise(export, run.source.downloads(export)) for export in run.source.exports()]
    documents = [export_document(export) for export in exports]

    def table() -> Table:
        from mockexport.cli.tables import listing_table

        return listing_table(documents)

    def csv() -> str:
        columns = list(export_document(summarise("", [])))
        return csv_text(columns, ([document[column] for column in columns] for document in documents))

    run.answer(documents, table=table, csv=csv)
