"""The command `mockexport exports list`."""

from __future__ import annotations

import typer

from mockexport.cli.documents import export_document
from mockexport.cli.options import Run, takes_run
from mockexport.model import summarise

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
    exports = (summarise(export, run.source.downloads(export)) for export in run.source.exports())
    run.answer_list(map(export_document, exports), columns=list(export_document(summarise("", []))))
