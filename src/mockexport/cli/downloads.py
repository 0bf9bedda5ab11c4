"""The commands `mockexport downloads list` and `mockexport downloads fetch`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mockexport.cli.documents import download_document
from mockexport.cli.options import ExportArgument, MaxPairsOption, Run, with_run
from mockexport.cli.output import csv_text
from mockexport.cli.progress import download_progress
from mockexport.model import Download
from mockexport.tally import MAX_PAIRS

if TYPE_CHECKING:
    from mockexport.cli.grid import Grid

__all__ = ["app"]

app = typer.Typer(
    help="List and fetch the downloads of an export.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

LIST_EXAMPLES = """\b
Examples:
  mockexport downloads list demo
  mockexport downloads list large --table
"""
FETCH_EXAMPLES = """\b
Examples:
  mockexport downloads fetch demo --dir exports
  mockexport count demo --source exports          count the fetched files
"""


@app.command("list", epilog=LIST_EXAMPLES)
@with_run(parallel=False)
def list_command(run: Run, export: ExportArgument = None) -> None:
    """List the downloads of an export.

    Values that the source does not declare are null.
    """
    documents = map(download_document, run.source.downloads(run.export(export)))
    run.write_list(documents, list(download_document(Download("", ""))), "downloads")


@app.command("fetch", epilog=FETCH_EXAMPLES)
@with_run(parallel=True)
def fetch_command(
    run: Run,
    directory: Annotated[
        Path,
        typer.Option(
            "--dir", metavar="DIR", help="Write to DIR/EXPORT, which is created if needed.", show_default=False
        ),
    ],
    export: ExportArgument = None,
    max_pairs: MaxPairsOption = MAX_PAIRS,
) -> None:
    """Fetch the CSV files of an export into a folder.

    The files and a manifest are written to DIR/EXPORT; DIR can then be used as a --source. A file gets its name only
    once it is complete. If you run the command again, it checks the existing files and fetches those that are missing
    or may have changed.
    """
    from mockexport.pipeline import fetch

    export = run.export(export)
    with download_progress(run.terminal, export) as on_progress:
        fetched = fetch(
            run.source, export, directory,
            max_pairs=max_pairs, kernel=run.kernel, csv=run.csv,
            start_workers=run.start_workers, on_progress=on_progress,
        )  # fmt: skip
    documents = [asdict(download) for download in fetched]
    columns = ["id", "file", "rows", "bytes", "sha256"]

    def table() -> Grid:
        from mockexport.cli.tables import listing_table

        return listing_table(documents, "downloads", all_rows=run.all_rows)

    run.write(
        {"export": export, "dir": str(directory / export), "downloads": documents},
        table=table,
        csv=lambda: csv_text(columns, ([document[column] for column in columns] for document in documents)),
    )
