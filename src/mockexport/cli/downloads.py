"""The commands `mockexport downloads list` and `mockexport downloads fetch`."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mockexport.cli.bars import size_text
from mockexport.cli.documents import download_document
from mockexport.cli.help import CommandWithSections
from mockexport.cli.options import ExportArgument, MaxPairsOption
from mockexport.cli.output import csv_text
from mockexport.cli.prepare import Run, with_run
from mockexport.errors import MockExportError, UnreachableError, UsageError
from mockexport.model import Download
from mockexport.source import MakesExports
from mockexport.tally import MAX_PAIRS
from mockexport.wire import is_plain_path

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from mockexport.cli.grid import Grid
    from mockexport.place import Place
    from mockexport.source import Source

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
  mockexport downloads fetch group/1 --dir exports -s fhir+https://host/fhir
"""
STATE = ".export-state.json"  # in the folder of an export


@app.command("list", cls=CommandWithSections, epilog=LIST_EXAMPLES)
@with_run(parallel=False)
def list_command(run: Run, export: ExportArgument = None) -> None:
    """List the downloads of an export.

    Values that the source does not declare are null.
    """

    def documents() -> Iterator[dict[str, Any]]:  # the source is asked only while that is shown
        yield from map(download_document, known_downloads(run.source, run.export(export)))

    run.write_list(documents(), list(download_document(Download("", ""))), "downloads")


def known_downloads(source: Source, export: str) -> Iterable[Download]:
    """Return the downloads of an export. Raises UsageError where they would have to be made first."""
    if not isinstance(source, MakesExports):
        return source.downloads(export)
    downloads = source.made(export)
    if downloads is None:
        raise UsageError(
            f"the downloads of {export} are known once the server has made it: begin it with `mockexport exports start "
            f"{export} --state FILE`, then name that --state here"
        )
    return downloads


def state_file(directory: str, export: str | None, **_others: object) -> Path | str | None:
    """Return where the state of an export is kept that is fetched: a path or a URL; None if it can't be a folder."""
    from mockexport.stores import check_store_url, is_store_url

    if not export or not is_plain_path(export):
        return None
    if not is_store_url(directory):
        return Path(directory, export, STATE)
    check_store_url(directory)  # so that an error names what the user gave
    return f"{directory.rstrip('/')}/{export}/{STATE}"


@app.command("fetch", cls=CommandWithSections, epilog=FETCH_EXAMPLES)
@with_run(parallel=True, state_in=state_file)
def fetch_command(
    run: Run,
    directory: Annotated[
        str,
        typer.Option(
            "--dir",
            metavar="DIR",
            show_default=False,
            help="Write to DIR/EXPORT, which is created if needed. DIR may be a URL such as s3://bucket/prefix.",
        ),
    ],
    export: ExportArgument = None,
    max_pairs: MaxPairsOption = MAX_PAIRS,
) -> None:
    """Fetch the files of an export into a folder.

    The files and a manifest are written to DIR/EXPORT; DIR can then be used as a --source. A file gets its name only
    once it is complete. If you run the command again, it checks the existing files and fetches those that are missing
    or may have changed.

    With a FHIR server, manifest.json is the server's own, and unless --state names a file, the state of the export is
    kept in DIR/EXPORT. All of that holds for a DIR in an object store, too.
    """
    from mockexport.pipeline import fetch

    export = run.export(export)
    root = run.open_place(directory)
    folder = root / export
    was_listed = False
    with says_what_is_kept(run, folder, export), run.progress(export) as progress:

        def listing(known: int, total: int | None) -> None:
            nonlocal was_listed
            was_listed = True
            progress.listing(known, total)

        fetched = fetch(
            run.source, export, root,
            max_pairs=max_pairs, kernel=run.kernel, csv=run.csv, fhir=run.fhir,
            start_workers=run.start_workers, on_progress=progress.downloads, on_listing=listing,
            restart=run.restart,
        )  # fmt: skip
    if not was_listed:  # so nothing was fetched
        run.terminal.note(f"{export} was complete in {folder}; --restart has it exported again")
    documents = [asdict(download) for download in fetched]
    columns = ["id", "file", "rows", "bytes", "sha256"]

    def table() -> Grid:
        from mockexport.cli.tables import listing_table

        return listing_table(documents, "downloads", all_rows=run.all_rows)

    run.write(
        {"export": export, "dir": str(folder), "downloads": documents},
        table=table,
        csv=lambda: csv_text(columns, ([document[column] for column in columns] for document in documents)),
    )


@contextmanager
def says_what_is_kept(run: Run, folder: Place, export: str) -> Generator[None, None, None]:
    """If the fetch is interrupted, or the source fails, say what the next fetch need not fetch."""
    from mockexport.pipeline import kept_in

    try:
        yield
    except BaseException as error:
        if not isinstance(error, MockExportError) or isinstance(error, UnreachableError):
            kept = kept_in(folder, export) if isinstance(folder, Path) else None
            if kept and (kept.files or kept.bytes):
                rest = f" and {size_text(kept.bytes)} of the others" if kept.bytes else ""
                run.terminal.note(
                    f"{kept.files} of {kept.total} downloads{rest} are kept in {folder}; "
                    f"run {run.same_command} again to resume"
                )
            elif kept:
                run.terminal.note(f"{folder} keeps nothing that {run.same_command} could resume from")
        raise
