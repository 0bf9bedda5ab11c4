"""The commands `mockexport downloads list` and `fetch`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mockexport.cli.documents import download_document
from mockexport.cli.options import ExportArgument, MaxPairsOption, Run, takes_run
from mockexport.cli.output import csv_text
from mockexport.model import Download
from mockexport.tally import MAX_PAIRS

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["app"]

app = typer.Typer(help="The downloads of an export: list them, keep them.", no_args_is_help=True, rich_markup_mode=None)

LIST_EXAMPLES = """\b
Examples:
  mockexport downloads list demo
  mockexport downloads list large --format table
"""
FETCH_EXAMPLES = """\b
Examples:
  mockexport downloads fetch demo --dir exports
  mockexport count demo --source exports          count what was fetched
"""


@app.command("list", epilog=LIST_EXAMPLES)
@takes_run(works=False)
def list_command(run: Run, export: ExportArgument) -> None:
    """List an export's downloads, as the source declares them; what it doesn't declare is null."""
    documents = map(download_document, run.source.downloads(export))
    run.answer_list(documents, columns=list(download_document(Download("", ""))))


@app.command("fetch", epilog=FETCH_EXAMPLES)
@takes_run(works=True)
def fetch_command(
    run: Run,
    export: ExportArgument,
    directory: Annotated[
        Path,
        typer.Option(
            "--dir", metavar="DIR", help="The folder that takes EXPORT/; made if need be.", show_default=False
        ),
    ],
    max_pairs: MaxPairsOption = MAX_PAIRS,
) -> None:
    """Keep an export's CSV files, with a manifest, in DIR/EXPORT; DIR is then a source of its own.

    A file gets its name once it is whole. Run again, it checks what is there and fetches what is missing, or may have
    changed.
    """
    from mockexport.pipeline import fetch

    with run.terminal.progress(export) as on_progress:
        fetched = fetch(
            run.source, export, directory,
            max_pairs=max_pairs, kernel=run.kernel,
            start_workers=run.start_workers, on_progress=on_progress,
        )  # fmt: skip
    documents = [asdict(download) for download in fetched]
    columns = ["id", "file", "rows", "bytes", "sha256"]

    def table() -> Table:
        from mockexport.cli.tables import listing_table

        return listing_table(documents)

    run.answer(
        {"export": export, "dir": str(directory / export), "downloads": documents},
        table=table,
        csv=lambda: csv_text(columns, ([document[column] for column in columns] for document in documents)),
    )
