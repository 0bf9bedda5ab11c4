"""The command `mockexport exports list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from mockexport.cli.documents import export_document
from mockexport.cli.prepare import Run, with_run
from mockexport.model import summarise

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

EXAMPLES = """\b
Examples:
  mockexport exports list
  mockexport exports list --table
  mockexport exports list --source http://127.0.0.1:8000
"""


@app.callback()
def _group() -> None:
    """List exports."""


@app.command("list", epilog=EXAMPLES)
@with_run(parallel=False)
def list_command(run: Run) -> None:
    """List the exports of a source.

    The downloads of each export are summarized. Values that the source does not declare are null.
    """

    def documents() -> Iterator[dict[str, Any]]:  # the source is asked only while that is shown
        for export in run.source.exports():
            yield export_document(summarise(export, run.source.downloads(export)))

    run.write_list(documents(), list(export_document(summarise("", []))), "exports")
