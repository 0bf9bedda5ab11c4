"""The command `mockexport serve`."""

from __future__ import annotations

from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from mockexport.cli.options import QuietOption, SourceOption, VerboseOption, read_token
from mockexport.cli.terminal import Terminal
from mockexport.errors import UsageError
from mockexport.opening import open_source
from mockexport.settings import Settings

__all__ = ["EXAMPLES", "serve_command"]

EXAMPLES = """\b
Examples:
  mockexport serve                        mock, on http://127.0.0.1:8000
  mockexport serve --port 0               on a free port, told on stderr
  mockexport serve --source exports       a folder of CSV files as an API
  mockexport serve --faults 'data:cut=100000,p=0.1;seed=7'
  mockexport count demo -s http://127.0.0.1:8000
"""


def serve_command(
    source: SourceOption = None,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, metavar="PORT", help="The port; 0 picks a free one.")
    ] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            show_default=False,
            help="A file whose first line clients must send as a bearer token.  [env: MOCKEXPORT_TOKEN_FILE]",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without a token all the same.")
    ] = False,
    faults: Annotated[
        str | None,
        typer.Option(
            "--faults",
            metavar="SPEC",
            show_default=False,
            help="What is to go wrong: rules such as data:cut=100000,p=0.1;seed=7, or a TOML file (docs/faults.md).",
        ),
    ] = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Serve the exports of a source over HTTP, until Ctrl-C; --verbose logs each request.

    Rows are made as they are sent. The API is described at /docs.
    """
    from mockexport.server import Faults, create_app, read_faults, run  # needs the extra

    settings = Settings.from_environment()
    terminal = Terminal(quiet=quiet, verbose=verbose)
    token = read_token(token_file or settings.token_file)
    if token is None and not insecure and not is_loopback(host):
        raise UsageError(f"--host {host} lets others in: name a --token-file, or say --insecure")
    plan = read_faults(faults) if faults else None
    with closing(open_source(source or settings.source, kernel=settings.kernel)) as served:
        application = create_app(served, token=token)
        run(
            Faults(application, plan) if plan else application,
            host,
            port,
            access_log=verbose,
            on_listening=lambda url: terminal.note(f"listening on {url}"),
        )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what listens there; a name other than localhost is not looked up."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
