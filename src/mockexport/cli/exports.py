"""The commands `mockexport exports list`, `start`, `status` and `cancel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from mockexport.cli.documents import export_document
from mockexport.cli.help import CommandWithSections
from mockexport.cli.options import MadeExportArgument
from mockexport.cli.prepare import Run, with_run
from mockexport.errors import NotFoundError, UsageError
from mockexport.model import Export, summarise
from mockexport.source import MakesExports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockexport.source import Source

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

EXAMPLES = """\b
Examples:
  mockexport exports list
  mockexport exports list --table
  mockexport exports list --source http://127.0.0.1:8000
"""


START_EXAMPLES = """\b
Examples:
  mockexport exports start group/1 -s fhir+https://ehr.example/fhir --state job.json
  mockexport exports status group/1 -s fhir+https://ehr.example/fhir --state job.json
  mockexport count group/1 -s fhir+https://ehr.example/fhir --state job.json
  mockexport exports cancel group/1 -s fhir+https://ehr.example/fhir --state job.json
"""


@app.callback()
def _group() -> None:
    """List exports; begin, await and cancel those of a FHIR server."""


@app.command("list", epilog=EXAMPLES)
@with_run(parallel=False, states=False)
def list_command(run: Run) -> None:
    """List the exports of a source.

    The downloads of each export are summarized. Values that the source does not declare are null.
    """

    def documents() -> Iterator[dict[str, Any]]:  # the source is asked only while that is shown
        for export in run.source.exports():
            yield export_document(known_export(run.source, export))

    run.write_list(documents(), list(export_document(summarise("", []))), "exports")


@app.command("start", cls=CommandWithSections, epilog=START_EXAMPLES)
@with_run(parallel=False, begins=True)
def start_command(run: Run, export: MadeExportArgument = None) -> None:
    """Begin an export on a FHIR server, without waiting for it.

    With --state FILE, other commands go on with it.
    """
    source, export = maker(run), run.export(export)
    url = source.start(export)
    run.write_list([{"export": export, "status_url": url}], ["export", "status_url"], "exports")


@app.command("status", cls=CommandWithSections, epilog=START_EXAMPLES)
@with_run(parallel=False)
def status_command(run: Run, export: MadeExportArgument = None) -> None:
    """Wait until a FHIR server has made the export in --state FILE, and list it."""
    source, export = maker(run), run.export(export)

    def documents() -> Iterator[dict[str, Any]]:
        downloads = source.made(export)
        if downloads is None:
            raise NotFoundError(f"no export {export!r} was begun; `mockexport exports start` begins it")
        yield export_document(summarise(export, downloads))

    run.write_list(documents(), list(export_document(summarise("", []))), "exports")


@app.command("cancel", cls=CommandWithSections, epilog=START_EXAMPLES)
@with_run(parallel=False)
def cancel_command(run: Run, export: MadeExportArgument = None) -> None:
    """Have a FHIR server delete the export in --state FILE, whether it is complete or not."""
    source, export = maker(run), run.export(export)
    source.cancel(export)
    run.terminal.note(f"the server was told to delete export {export}")


def maker(run: Run) -> MakesExports:
    """Return the source if it has to make exports. Raises UsageError for any other."""
    if not isinstance(run.source, MakesExports):
        raise UsageError(f"the exports of {run.source.name} are there already; a FHIR server is fhir+https://…")
    return run.source


def known_export(source: Source, export: str) -> Export:
    """Sum up an export; one that would have to be made first is not."""
    if isinstance(source, MakesExports):
        return Export(export, None, None, None, None, None, None)
    return summarise(export, source.downloads(export))
