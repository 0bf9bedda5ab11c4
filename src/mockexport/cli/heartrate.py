"""The commands `mockexport heartrate send` and `mockexport heartrate query`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mockexport.cli.completion import complete_source
from mockexport.cli.heartrate_clients import DEFAULT_URL, open_client, open_servers
from mockexport.cli.options import (
    BudgetOption,
    BundleOption,
    ProgressOption,
    QuietOption,
    RetriesOption,
    TimeoutOption,
    TokenOption,
    VerboseOption,
)
from mockexport.cli.output import check_writable, csv_text, write_output
from mockexport.cli.progress import asking, sending_progress
from mockexport.cli.remedies import says_variable, source_variable
from mockexport.cli.terminal import Terminal
from mockexport.encoding import json_bytes
from mockexport.errors import NotFoundError, UsageError, url_meant
from mockexport.model import parse_time
from mockexport.settings import Settings

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mockexport.heartrate import Summary

__all__ = ["app"]

FileOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", show_default=False,
        help="Write the output to FILE, only once it is complete; - is stdout.",
    ),
]  # fmt: skip
app = typer.Typer(
    help="Send generated heart-rate readings to a server, and query them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

SEND_EXAMPLES = """\b
Examples:
  mockexport heartrate send                            10,000, to localhost
  mockexport heartrate send -n 1000000 --users 1000    a million
  mockexport heartrate send --seconds 60 --rate 20000  20,000/s for a minute
  mockexport heartrate send --singles --duplicates 0.2 --invalid 0.01
  mockexport heartrate send --whole -s http://host:8000  to another service
  mockexport heartrate send -s http://node1:8000 -s http://node2:8000
  mockexport count heart_rate -s http://127.0.0.1:8000
"""
QUERY_EXAMPLES = """\b
Examples:
  mockexport heartrate query user_001 --start 2025-08-26 --end 2025-08-26
  mockexport heartrate query ann --start 2025-08-26 --end 2025-08-26 \\
      --format chart
  mockexport heartrate query ann --start 2025-08-26 --end 2025-08-26 \\
      --device device_b
  mockexport heartrate query ann --start 2025-08-26 --end 2025-08-26 \\
      -s readings --format csv                 a folder, without a server
"""


class QueryFormat(StrEnum):
    """The format of the output of `query`."""

    json = "json"
    table = "table"
    csv = "csv"
    chart = "chart"


MINUTE = ("timestamp", "heart_rate", "device_id")

ServersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--source", "-s", metavar="URL", show_default=False, autocompletion=complete_source,
        help="The URL of the server. Given several times, the requests are spread over these nodes of one service.  "
        f"[env: MOCKEXPORT_SOURCE, if it is a URL; default: {DEFAULT_URL}]",
    ),
]  # fmt: skip
ReadingsOption = Annotated[
    str | None,
    typer.Option(
        "--source", "-s", metavar="SOURCE", show_default=False,
        help="The URL of the server, or the folder of its readings.  "
        f"[env: MOCKEXPORT_SOURCE, if it is one of these; default: {DEFAULT_URL}]",
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
            help="Send N readings, including duplicates.  [default: 10000; no limit with --seconds]",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.001, metavar="S", show_default=False, help="Stop after S seconds."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            min=0.001,
            metavar="N",
            show_default=False,
            help="Send N readings per second.  [default: as fast as they are acknowledged]",
        ),
    ] = None,
    burst: Annotated[
        int, typer.Option("--burst", min=1, metavar="N", help="With --rate, send N readings at once, then pause.")
    ] = 2_000,
    singles: Annotated[
        bool, typer.Option("--singles", help="Send one reading per request instead of batches.")
    ] = False,
    batch: Annotated[
        int, typer.Option("--batch", min=1, max=1000, metavar="N", help="Send N readings per batch.")
    ] = 1_000,
    clients: Annotated[
        int, typer.Option("--clients", min=1, max=64, metavar="N", help="Send N requests in parallel.")
    ] = 4,
    users: Annotated[int, typer.Option("--users", min=1, metavar="N", help="Generate readings of N users.")] = 10,
    devices: Annotated[
        int, typer.Option("--devices", min=1, metavar="N", help="Generate readings of N devices per user.")
    ] = 3,
    duplicates: Annotated[
        float,
        typer.Option(
            "--duplicates", min=0, max=0.9, metavar="FRACTION", help="The fraction of readings to send twice."
        ),
    ] = 0.05,
    invalid: Annotated[
        float,
        typer.Option("--invalid", min=0, max=0.9, metavar="FRACTION", help="The fraction of readings to make invalid."),
    ] = 0.0,
    whole: Annotated[
        bool, typer.Option("--whole", help="Send only whole numbers, for services that accept no others.")
    ] = False,
    start: Annotated[
        str, typer.Option("--start", metavar="TIME", help="The timestamp of the first readings, in ISO 8601.")
    ] = "2025-08-26T00:00:00Z",
    seed: Annotated[
        int,
        typer.Option("--seed", metavar="N", help="The seed of the generator: the same seed gives the same readings."),
    ] = 0,
    sources: ServersOption = None,
    timeout: TimeoutOption = 30.0,
    retries: RetriesOption = 5,
    retry_budget: BudgetOption = 300.0,
    token_file: TokenOption = None,
    ca_bundle: BundleOption = None,
    output: FileOption = None,
    progress: ProgressOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Send generated heart-rate readings to a server, and print a summary.

    Start the server with `mockexport serve --data`; --timeout bounds the wait until it is ready. The readings come from
    several devices per user, out of order, in bursts, and some of them twice. Requests that are interrupted or
    temporarily refused (503, 429) are retried; of several nodes, at another one. If no other readings were sent,
    "distinct" equals the result of `mockexport count heart_rate`. Ctrl-C prints the summary of what was acknowledged by
    then.
    """
    from mockexport.heartrate import READINGS, Plan, SendInterrupted, send

    if output is not None and str(output) != "-":
        check_writable(output)
    terminal = Terminal(progress=progress, quiet=quiet, verbose=verbose)
    if verbose:
        terminal.show_log()
    plan = Plan(
        readings=readings or (None if seconds else READINGS), seconds=seconds, seed=seed, users=users, devices=devices,
        start=read_start(start), batch=batch, singles=singles, duplicates=duplicates, invalid=invalid,
        rate=rate, burst=burst, whole=whole, clients=clients,
    )  # fmt: skip
    with open_servers(sources or [], timeout, retries, retry_budget, token_file, ca_bundle) as client:
        client.wait_until_ready(lambda: terminal.note(f"waiting for {client.url}, for at most {timeout:g} s"))
        with sending_progress(terminal, plan.readings, plan.seconds) as sending:
            try:
                summary = send(client, plan, sending.sending)
            except SendInterrupted as interrupted:
                write_output(json_bytes(_document(interrupted.summary)), output)
                raise
    write_output(json_bytes(_document(summary)), output)


def _document(summary: Summary) -> dict[str, Any]:
    """Return a summary as JSON; what each node did is there if there are several."""
    document = asdict(summary)
    if summary.nodes is None:
        del document["nodes"]
    return document


@app.command("query", epilog=QUERY_EXAMPLES)
def query_command(
    user: Annotated[str, typer.Argument(metavar="USER", help="The id of the user.", show_default=False)],
    start: Annotated[
        str,
        typer.Option(
            "--start",
            metavar="TIME",
            help="The start of the time range: a date or a time, in ISO 8601; UTC if it has no offset.",
            show_default=False,
        ),
    ],
    end: Annotated[
        str,
        typer.Option(
            "--end",
            metavar="TIME",
            help="The end of the time range, inclusive; a date is the whole day.",
            show_default=False,
        ),
    ],
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="DEVICE", help="Use only the readings of this device.", show_default=False),
    ] = None,
    format: Annotated[QueryFormat, typer.Option("--format", help="The format of the output.")] = QueryFormat.json,
    source: ReadingsOption = None,
    priority: Annotated[
        str | None,
        typer.Option(
            "--priority",
            metavar="DEVICE=N,...",
            show_default=False,
            help="For a folder, the priority of devices, as with `serve`.  [default: device_a=1,device_b=2]",
        ),
    ] = None,
    timeout: TimeoutOption = 30.0,
    retries: RetriesOption = 5,
    retry_budget: BudgetOption = 300.0,
    token_file: TokenOption = None,
    ca_bundle: BundleOption = None,
    output: FileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Query the heart rate of a user, minute by minute.

    The value of a minute is the mean of the readings of one device: of those that reported in that minute, the one with
    the highest priority. A folder is only read; a server may be using it.
    """
    if output is not None and str(output) != "-":
        check_writable(output)
    terminal = Terminal(quiet=quiet, verbose=verbose)
    if verbose:
        terminal.show_log()
    first, last = read_range(start, end)
    if folder := readings_folder(source):
        with says_variable(source_variable(source, Settings.from_environment()), str(folder)):
            response = query_folder(folder, user, first, last, device, priority)
    elif priority is not None:
        raise UsageError("--priority applies to a folder only: a server has its own, from its option --priority")
    else:
        with (
            open_client(source, timeout, retries, retry_budget, token_file, ca_bundle) as client,
            asking(terminal, client.url, "the heart rate"),
        ):
            response = client.query(user, first.isoformat(), last.isoformat(), device)
    data: list[dict[str, Any]] = response["data"]
    if format is QueryFormat.json:
        write_output(json_bytes(response), output)
    elif format is QueryFormat.csv:
        write_output(csv_text(MINUTE, ([minute[name] for name in MINUTE] for minute in data)).encode(), output)
    else:
        drawn = _table(data) if format is QueryFormat.table else _chart(response)
        write_output(terminal.render(drawn, to_file=output is not None and str(output) != "-"), output)


def readings_folder(source: str | None) -> Path | None:
    """Return the folder of readings that the option or the environment names; None if it is a server."""
    from mockexport.heartrate import is_heart_rate_folder

    if source is not None:
        is_server = "://" in source or (url_meant(source) is not None and not Path(source).exists())
        return None if is_server else Path(source)
    folder = Path(Settings.from_environment().source)
    return folder if is_heart_rate_folder(folder) else None


def query_folder(
    folder: Path, user: str, first: datetime, last: datetime, device: str | None, priority: str | None
) -> dict[str, Any]:
    """Answer a query from a folder, as a server that has it would. Raises NotFoundError if there are no readings."""
    from mockexport.cli.serve import read_priorities
    from mockexport.extras import needs_extra

    priorities: dict[str, Any] = {} if priority is None else {"priorities": read_priorities(priority)}
    with needs_extra("heartrate"):
        from mockexport.heartrate import HeartRate, microseconds_of, minutes_document

        with HeartRate(folder, read_only=True, **priorities) as service:
            points = service.query(user, microseconds_of(first), microseconds_of(last), device)
    if not points:
        what = f"of user {user!r}" + (f" and device {device!r}" if device is not None else "")
        raise NotFoundError(f"no heart rate {what} from {first.isoformat()} to {last.isoformat()} in {folder}")
    return minutes_document(user, points)


def read_start(text: str) -> datetime:
    """Read the timestamp of the first readings. Raises UsageError."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise UsageError(f"--start {text} is not an ISO 8601 timestamp, such as 2025-08-26T00:00:00Z") from error


def read_range(start: str, end: str) -> tuple[datetime, datetime]:
    """Read a range of time, of which the end is inclusive. Raises UsageError."""
    from mockexport.heartrate import LeapSecondError, parse_instant, time_of

    instants = []
    for option, text in (("--start", start), ("--end", end)):
        try:
            instants.append(time_of(parse_instant(text, is_end=option == "--end")))
        except LeapSecondError as error:
            raise UsageError(f"{option} {text} {error}") from error
        except ValueError as error:
            raise UsageError(
                f"{option} {text} is not an ISO 8601 date, or date and time, such as 2025-08-26T10:00:00Z"
            ) from error
    first, last = instants
    if first > last:
        raise UsageError(f"--start {start} is after --end {end}")
    return first, last


def _table(data: list[dict[str, Any]]) -> RenderableType:
    from mockexport.cli.tables import listing_table

    return listing_table(data, "minutes")


def _chart(response: dict[str, Any]) -> RenderableType:
    from mockexport.cli.chart import Chart

    return Chart(response["user_id"], response["data"])
