"""The command `mockexport serve`."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from mockexport.cli.options import QuietOption, SourceOption, VerboseOption
from mockexport.cli.terminal import Terminal
from mockexport.opening import open_source
from mockexport.settings import Settings

__all__ = ["EXAMPLES", "serve_command"]

EXAMPLES = """\b
Examples:
  mockexport serve                        mock, on http://127.0.0.1:8000
  mockexport serve --port 0               on a free port, told on stderr
  mockexport serve --source exports       a folder of CSV files as an API
  mockexport count demo -s http://127.0.0.1:8000
"""


def serve_command(
    source: SourceOption = None,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", "-p", min=0, max=65535, metavar="PORT", help="The port; 0 picks a free one."),
    ] = 8000,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Serve the exports of a source over HTTP, until Ctrl-C; --verbose logs each request.

    Rows are made as they are sent. The API is described at /docs.
    """
    from mockexport.server import create_app, run

    settings = Settings.from_environment()
    terminal = Terminal(quiet=quiet, verbose=verbose)
    with closing(open_source(source or settings.source, kernel=settings.kernel)) as served:
        run(
            create_app(served),
            host,
            port,
            access_log=verbose,
            on_listening=lambda url: terminal.note(f"listening on {url}"),
        )
