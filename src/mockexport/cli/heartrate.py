"""The commands `mockexport heartrate send` and `query`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mockexport.cli.options import (
    BudgetOption,
    BundleOption,
    OutputOption,
    ProgressOption,
    QuietOption,
    RetriesOption,
    TimeoutOption,
    TokenOption,
    VerboseOption,
    read_token,
)
from mockexport.cli.output import check_writable, write_answer
from mockexport.cli.progress import sending_progress
from mockexport.cli.terminal import Terminal
from mockexport.encoding import json_bytes
from mockexport.errors import UsageError
from mockexport.model import parse_time
from mockexport.settings import Settings

if TYPE_CHECKING:
    from mockexport.heartrate import HeartRateClient

__all__ = ["app"]

app = typer.Typer(
    help="Heart-rate readings: send made-up ones, ask for a user's.", no_args_is_help=True, rich_markup_mode=None
)

DEFAULT_URL = "http://127.0.0.1:8000"
SEND_EXAMPLES = """\b
Examples:
  mockexport heartrate send                            10,000 readings to this machine
  mockexport heartrate send -n 1000000 --users 1000    a million
  mockexport heartrate send --seconds 60 --rate 20000  at that rate for a minute
  mockexport heartrate send --singles --duplicates 0.2 --invalid 0.01
  mockexport count heart_rate -s http://127.0.0.1:8000
"""
QUERY_EXAMPLES = """\b
Examples:
  mockexport heartrate query user_001 --start 2025-08-26 --end 2025-08-27
  mockexport heartrate query ann --start 2025-08-26 --end 2025-08-27 --format chart
  mockexport heartrate query ann --start 2025-08-26 --end 2025-08-27 --device device_b
"""


class Form(StrEnum):
    """How an answer is written."""

    json = "json"
    chart = "chart"


ServerOption = Annotated[
    str | None,
    typer.Option(
        "--source", "-s", metavar="URL", show_default=False,
        help=f"The server.  [env: MOCKEXPORT_SOURCE, if it is a URL; default: {DEFAULT_URL}]",
    ),
]  # fmt: skip


@app.command("send", epilog=SEND_EXAMPLES)
def send_command(
    readings: Annotated[
        int | None,
        typer.Option(
            "--readings",
            "-n",
            min=1,
            metavar="N",
            show_default=False,
            help="How many, duplicates included.  [default: 10000; with --seconds, as many as go]",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.001, metavar="S", show_default=False, help="For how long, at the most."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            min=0.001,
            metavar="N",
            show_default=False,
            help="Readings a second.  [default: as fast as they are acknowledged]",
        ),
    ] = None,
    burst: Annotated[
        int, typer.Option("--burst", min=1, metavar="N", help="With --rate: so many at once, and then a pause.")
    ] = 2_000,
    singles: Annotated[bool, typer.Option("--singles", help="A request a reading, in place of batches.")] = False,
    batch: Annotated[int, typer.Option("--batch", min=1, max=1000, metavar="N", help="Readings a batch.")] = 1_000,
    clients: Annotated[int, typer.Option("--clients", min=1, max=64, metavar="N", help="Requests at a time.")] = 4,
    users: Annotated[int, typer.Option("--users", min=1, metavar="N", help="Whose readings they are.")] = 10,
    devices: Annotated[int, typer.Option("--devices", min=1, metavar="N", help="Devices that each user wears.")] = 3,
    duplicates: Annotated[
        float, typer.Option("--duplicates", min=0, max=0.9, metavar="SHARE", help="The share that is sent twice.")
    ] = 0.05,
    invalid: Annotated[
        float, typer.Option("--invalid", min=0, max=0.9, metavar="SHARE", help="The share that makes no sense.")
    ] = 0.0,
    start: Annotated[
        str, typer.Option("--start", metavar="TIME", help="When the first ones were taken, ISO 8601.")
    ] = "2025-08-26T00:00:00Z",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed sends the same readings.")] = 0,
    source: ServerOption = None,
    timeout: TimeoutOption = 30.0,
    retries: RetriesOption = 5,
    retry_budget: BudgetOption = 300.0,
    token_file: TokenOption = None,
    ca_bundle: BundleOption = None,
    output: OutputOption = None,
    progress: ProgressOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Send made-up readings to a server that was started with `serve --data`, and sum up what became of them.

    Several devices a user, out of order, in bursts, some twice. What was refused for now (503) or cut is sent again.
    In the answer, `distinct` is what `mockexport count heart_rate` gives when nothing else was sent.
    """
    from mockexport.heartrate import READINGS, Plan, send

    if output is not None and str(output) != "-":
        check_writable(output)
    terminal = Terminal(progress=progress, quiet=quiet, verbose=verbose)
    if verbose:
        terminal.show_log()
    plan = Plan(
        readings=readings or (None if seconds else READINGS), seconds=seconds, seed=seed, users=users, devices=devices,
        start=read_start(start), batch=batch, singles=singles, duplicates=duplicates, invalid=invalid,
        rate=rate, burst=burst, clients=clients,
    )  # fmt: skip
    client = _client(source, timeout, retries, retry_budget, token_file, ca_bundle)
    with closing(client), sending_progress(terminal, plan.readings, plan.seconds) as on_progress:
        summary = send(client, plan, on_progress)
    write_answer(json_bytes(asdict(summary)), output)


@app.command("query", epilog=QUERY_EXAMPLES)
def query_command(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whose heart rate.", show_default=False)],
    start: Annotated[
        str,
        typer.Option(
            "--start", metavar="TIME", help="The first instant, ISO 8601; UTC if it has no offset.", show_default=False
        ),
    ],
    end: Annotated[str, typer.Option("--end", metavar="TIME", help="The last instant, included.", show_default=False)],
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="DEVICE", help="Readings of this device alone.", show_default=False),
    ] = None,
    format: Annotated[Form, typer.Option("--format", help="How the answer is written.")] = Form.json,
    source: ServerOption = None,
    timeout: TimeoutOption = 30.0,
    retries: RetriesOption = 5,
    retry_budget: BudgetOption = 300.0,
    token_file: TokenOption = None,
    ca_bundle: BundleOption = None,
    output: OutputOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Ask for a user's heart rate, minute by minute, as JSON or as a chart in the terminal.

    A minute is the mean of the readings of the best device among those that reported in it.
    """
    if output is not None and str(output) != "-":
        check_writable(output)
    terminal = Terminal(quiet=quiet, verbose=verbose)
    if verbose:
        terminal.show_log()
    with closing(_client(source, timeout, retries, retry_budget, token_file, ca_bundle)) as client:
        answer = client.query(user, read_instant("--start", start), read_instant("--end", end), device)
    if format is Form.json:
        write_answer(json_bytes(answer), output)
        return
    write_answer(_chart(answer, terminal, to_file=output is not None and str(output) != "-"), output)


def _client(
    source: str | None, timeout: float, retries: int, budget: float, token_file: Path | None, ca_bundle: Path | None
) -> HeartRateClient:
    """Return a client of the server that the options and the environment name."""
    from mockexport.heartrate import HeartRateClient
    from mockexport.http import Retries

    settings = Settings.from_environment()
    return HeartRateClient(
        source or (settings.source if "://" in settings.source else DEFAULT_URL),
        timeout=timeout,
        retries=Retries(retries, budget),
        token=read_token(token_file or settings.token_file),
        ca_bundle=None if ca_bundle is None else str(ca_bundle),
    )


def read_start(text: str) -> datetime:
    """Read when the first readings were taken. Raises UsageError."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise UsageError(f"--start {text} is no ISO 8601 time, such as 2025-08-26T00:00:00Z") from error


def read_instant(option: str, text: str) -> str:
    """Return an instant as the server takes it; a date is its midnight in UTC. Raises UsageError."""
    try:
        return parse_time(text).isoformat()
    except ValueError as error:
        raise UsageError(f"{option} {text} is no ISO 8601 time, such as 2025-08-26T10:00:00Z") from error


def _chart(answer: dict[str, Any], terminal: Terminal, *, to_file: bool) -> bytes:
    from mockexport.cli.chart import Chart

    return terminal.render(Chart(answer["user_id"], answer["data"]), to_file=to_file)
