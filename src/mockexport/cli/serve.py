"""The command `mockexport serve`."""

from __future__ import annotations

import re
from contextlib import ExitStack, closing
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from mockexport.cli.options import QuietOption, SourceOption, VerboseOption, read_token
from mockexport.cli.terminal import Terminal
from mockexport.errors import UsageError
from mockexport.factory import open_source
from mockexport.settings import Settings

if TYPE_CHECKING:
    from fastapi import APIRouter

    from mockexport.source import Source

__all__ = ["EXAMPLES", "serve_command"]

EXAMPLES = """\b
Examples:
  mockexport serve                        mock, on http://127.0.0.1:8000
  mockexport serve --port 0               on a free port, told on stderr
  mockexport serve --source exports       a folder of CSV files as an API
  mockexport serve --faults 'data:cut=100000,p=0.1;seed=7'
  mockexport serve --data readings        takes heart rates in too, and keeps them
  mockexport count demo -s http://127.0.0.1:8000
"""
AGE = re.compile(r"([0-9]{1,6})(d|h)")
PRIORITY = re.compile(r"(.+)=([0-9]{1,3})", re.DOTALL)


class Served(NamedTuple):
    """What is served: a source, and with --data the routes of the heart-rate service."""

    source: Source
    beside: APIRouter | None = None
    health: APIRouter | None = None


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
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DIR|URL",
            show_default=False,
            help="Take in heart-rate readings, and keep them there: a folder, or a table's URL such as s3://bucket/key.",
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            "--journal",
            metavar="DIR",
            show_default=False,
            help="The folder of the journal of readings.  [default: in --data, where that is a folder]",
        ),
    ] = None,
    replace_journal: Annotated[
        bool,
        typer.Option(
            "--replace-journal",
            help="Go on with a new journal in place of the one --data names, or, for a URL, beside it.",
        ),
    ] = False,
    retain: Annotated[
        str | None,
        typer.Option(
            "--retain", metavar="AGE", show_default=False, help="Drop days of readings when they are so old: 90d, 36h."
        ),
    ] = None,
    trust_clock: Annotated[
        bool,
        typer.Option("--trust-clock", help="Drop days by this machine's clock even where it seems to have jumped."),
    ] = False,
    accept_ahead: Annotated[
        str,
        typer.Option("--accept-ahead", metavar="AGE", help="Refuse readings that lie further in the future: 1d, 2h."),
    ] = "1d",
    priority: Annotated[
        str,
        typer.Option(
            "--priority",
            metavar="DEVICE=N,…",
            help="Whose readings count in a minute in which several devices report: the lowest; others have 999.",
        ),
    ] = "device_a=1,device_b=2",
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Serve the exports of a source over HTTP, until Ctrl-C; --verbose logs each request.

    Rows are made as they are sent. The API is described at /docs. With --data, heart-rate readings are taken in beside
    (docs/heart-rate.md).
    """
    from mockexport.server import Faults, create_app, read_faults, run  # needs the extra

    settings = Settings.from_environment()
    terminal = Terminal(quiet=quiet, verbose=verbose)
    token = read_token(token_file or settings.token_file)
    if token is None and not insecure and not is_loopback(host):
        raise UsageError(f"--host {host} lets others in: name a --token-file, or say --insecure")
    if data is None and (journal or retain or replace_journal or trust_clock):
        raise UsageError(
            "--journal, --replace-journal, --retain and --trust-clock are about the readings that --data keeps; "
            "name it too"
        )
    if data is not None and "://" in data and journal is None:
        raise UsageError(f"--data {data} is a table's URL: name a local folder for the journal with --journal")
    plan = read_faults(faults) if faults else None
    with ExitStack() as stack:
        exports = stack.enter_context(closing(open_source(source or settings.source, kernel=settings.kernel)))
        served = Served(exports)
        if data is not None:
            served = keeping_readings(
                stack,
                exports,
                data,
                journal=journal,
                replace_journal=replace_journal,
                retain=read_age(retain) if retain else None,
                trust_clock=trust_clock,
                accept_ahead=read_age(accept_ahead, "--accept-ahead"),
                priorities=read_priorities(priority),
            )
        application = create_app(served.source, token=token, routes=served.beside, health=served.health)
        run(
            Faults(application, plan) if plan else application,
            host,
            port,
            access_log=verbose,
            on_listening=lambda url: terminal.note(f"listening on {url}"),
        )


def keeping_readings(stack: ExitStack, source: Source, data: str, **options: Any) -> Served:
    """Open the heart-rate service, until the stack is closed, and have its export and its routes served beside.

    `options` are those of `HeartRate`.
    """
    from mockexport.extras import needs_extra

    with needs_extra("heartrate"):
        from mockexport.heartrate import HeartRate, HeartRateRoutes, HeartRateSource
        from mockexport.sources import UnionSource

        service = stack.enter_context(HeartRate(data, **options))
        routes = HeartRateRoutes(service)
        return Served(UnionSource(source, HeartRateSource(data, service)), routes.router, routes.health)


def read_age(text: str, option: str = "--retain") -> timedelta:
    """Read an age such as 90d or 36h. Raises UsageError."""
    found = AGE.fullmatch(text)
    if not found or int(found[1]) == 0:
        raise UsageError(f"{option} {text} is not an age; it takes days or hours, such as 90d or 36h")
    return timedelta(**{"d": {"days": int(found[1])}, "h": {"hours": int(found[1])}}[found[2]])


def read_priorities(text: str) -> dict[str, int]:
    """Read priorities such as device_a=1,device_b=2. Raises UsageError."""
    priorities: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        found = PRIORITY.fullmatch(part.strip())
        if not found or found[1] in priorities:
            raise UsageError(f"--priority {text} makes no sense at {part!r}; it is like device_a=1,device_b=2")
        priorities[found[1]] = int(found[2])
    return priorities


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what listens there; a name other than localhost is not looked up."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
