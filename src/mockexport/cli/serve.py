"""The command `mockexport serve`."""

from __future__ import annotations

import re
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from enum import StrEnum
from functools import partial
from ipaddress import ip_address
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from mockexport.cli.json_log import log_as_json
from mockexport.cli.options import QuietOption, SourceOption, VerboseOption
from mockexport.cli.progress import asking
from mockexport.cli.remedies import says_variable, source_variable
from mockexport.cli.serve_options import (
    ClientLimitOption,
    CompressionOption,
    FileSizeOption,
    LogFormat,
    LogFormatOption,
    PublicUrlOption,
    UserLimitOption,
)
from mockexport.cli.sizes import read_size
from mockexport.cli.terminal import Terminal
from mockexport.cli.token import read_token
from mockexport.errors import UsageError
from mockexport.factory import open_source
from mockexport.settings import Settings
from mockexport.shared import InMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mockexport.heartrate import HeartRateRoutes
    from mockexport.shared import Documents
    from mockexport.smart import TokenServer
    from mockexport.source import Source

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)

EXAMPLES = """\b
Examples:
  mockexport serve                        mock, on http://127.0.0.1:8000
  mockexport serve --port 0               on a free port, printed to stderr
  mockexport serve --source exports       serve a folder of exports
  mockexport serve --source mock-fhir     serve generated FHIR resources
  mockexport serve --faults 'data:cut=100000,p=0.1;seed=7'
  mockexport serve --data readings        also accept heart-rate readings
  mockexport serve --data s3://bucket/key --journal postgresql://host/db
  mockexport count demo -s http://127.0.0.1:8000
"""
AGE = re.compile(r"([0-9]{1,6})(d|h)")
PRIORITY = re.compile(r"(.+)=([0-9]{1,3})", re.DOTALL)


class GuideVersion(StrEnum):
    """The versions of the FHIR Bulk Data Access IG that the server can follow."""

    V2 = "2.0"
    V3 = "3.0"


class CommitLevel(StrEnum):
    """The levels of PostgreSQL's `synchronous_commit`."""

    OFF = "off"
    LOCAL = "local"
    REMOTE_WRITE = "remote_write"
    ON = "on"
    REMOTE_APPLY = "remote_apply"


class Served(NamedTuple):
    """What is served: a source, what is kept of its clients, and with --data the routes of the heart-rate service."""

    source: Source
    documents: Documents
    routes: HeartRateRoutes | None = None


@app.command("serve", short_help="Serve exports over HTTP (needs the [server] extra).", epilog=EXAMPLES)
def serve_command(
    source: SourceOption = None,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", "-p", min=0, max=65535, metavar="PORT", help="The port to listen on; 0 selects a free port."
        ),
    ] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            show_default=False,
            help="Require clients to send the first line of FILE as a bearer token.  [env: MOCKEXPORT_TOKEN_FILE]",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow access from other machines without a token.")
    ] = False,
    faults: Annotated[
        str | None,
        typer.Option(
            "--faults",
            metavar="SPEC",
            show_default=False,
            help="Inject faults: rules such as data:cut=100000,p=0.1;seed=7, or a TOML file (docs/faults.md).",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DIR|URL",
            show_default=False,
            help="Accept heart-rate readings and store them in this folder, or in a table at a URL such as s3://bucket/key.",
        ),
    ] = None,
    journal: Annotated[
        str | None,
        typer.Option(
            "--journal",
            metavar="DIR|URL",
            show_default=False,
            help=(
                "The folder for the journal of readings, or postgresql://host/db for one that several servers share.  "
                "[default: inside --data, if that is a folder]"
            ),
        ),
    ] = None,
    journal_commit: Annotated[
        CommitLevel | None,
        typer.Option(
            "--journal-commit",
            metavar="LEVEL",
            show_default=False,
            help=(
                "When PostgreSQL acknowledges a reading, by its synchronous_commit: off, local, remote_write, on or "
                "remote_apply.  [default: as set there]"
            ),
        ),
    ] = None,
    replace_journal: Annotated[
        bool,
        typer.Option(
            "--replace-journal",
            help="Use a new journal instead of the one that --data names or, for a URL, in addition to it.",
        ),
    ] = False,
    retain: Annotated[
        str | None,
        typer.Option(
            "--retain",
            metavar="AGE",
            show_default=False,
            help="Delete readings, by whole days, that are older than AGE, such as 90d or 36h.",
        ),
    ] = None,
    trust_clock: Annotated[
        bool,
        typer.Option("--trust-clock", help="Apply --retain even if the clock of this machine seems to have jumped."),
    ] = False,
    accept_ahead: Annotated[
        str,
        typer.Option(
            "--accept-ahead",
            metavar="AGE",
            help="Reject readings that are further than AGE in the future, such as 1d or 2h.",
        ),
    ] = "1d",
    priority: Annotated[
        str,
        typer.Option(
            "--priority",
            metavar="DEVICE=N,...",
            help="The priority of devices: the lowest number wins if several report in a minute; others have 999.",
        ),
    ] = "device_a=1,device_b=2",
    table_compression: CompressionOption = None,
    table_file_size: FileSizeOption = None,
    rate_limit_client: ClientLimitOption = None,
    rate_limit_user: UserLimitOption = None,
    fhir_version: Annotated[
        GuideVersion,
        typer.Option(
            "--fhir-version",
            metavar="VERSION",
            help="The version of the Bulk Data Access IG that /fhir follows: 2.0 or 3.0.",
        ),
    ] = GuideVersion.V3,
    fhir_clients: Annotated[
        Path | None,
        typer.Option(
            "--fhir-clients",
            metavar="FILE",
            show_default=False,
            help="Give the clients in FILE tokens for /fhir, by SMART Backend Services (docs/fhir.md).",
        ),
    ] = None,
    export_seconds: Annotated[
        float,
        typer.Option("--export-seconds", min=0, metavar="N", help="How long a FHIR export takes until it is complete."),
    ] = 0.0,
    files_of: Annotated[
        int | None,
        typer.Option(
            "--files-of",
            min=1,
            metavar="N",
            show_default=False,
            help="Split the files of FHIR exports into files of N resources, where their number is known.",
        ),
    ] = None,
    public_url: PublicUrlOption = None,
    log_format: LogFormatOption = LogFormat.text,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Serve the exports of a source over HTTP, until you press Ctrl-C.

    The page at / shows the exports and counts them (docs/page.md). The API is documented at /docs. With --verbose, each
    request is logged. With --data, the server accepts heart-rate readings too (docs/heart-rate.md). At /fhir it answers
    by the FHIR Bulk Data API (docs/fhir.md).
    """
    as_json = log_format is LogFormat.json
    if as_json:
        log_as_json()
    settings = Settings.from_environment()
    terminal = Terminal(progress=False if as_json else None, quiet=quiet, verbose=verbose)
    token = read_token(token_file, settings.token_file)
    if token is None and not insecure and not is_loopback(host):
        raise UsageError(f"--host {host} is reachable from other machines: specify --token-file or --insecure")
    if data is None and (journal or retain or replace_journal or trust_clock):
        raise UsageError("--journal, --replace-journal, --retain and --trust-clock require --data")
    if data is None and (rate_limit_client or rate_limit_user):
        raise UsageError("--rate-limit-client and --rate-limit-user limit heart-rate requests: they require --data")
    if data is None and (table_compression or table_file_size):
        raise UsageError("--table-compression and --table-file-size are for the table of readings: they require --data")
    if data is not None and "://" in data and journal is None:
        raise UsageError(
            f"--data {data} is the URL of a table: specify a local folder for the journal with --journal, "
            "or a PostgreSQL database"
        )
    if journal_commit and not (journal and "://" in journal):
        raise UsageError("--journal-commit is for a journal in PostgreSQL: specify --journal postgresql://host/db")
    if not isfinite(export_seconds):
        raise UsageError(f"--export-seconds {export_seconds:g} is not a number of seconds")
    from mockexport.cli.page import kinds_of_runs
    from mockexport.server import (
        Faults,
        Fhir,
        Page,
        PublicUrl,
        RequestLog,
        create_app,
        log_to_stderr,
        read_faults,
        read_origin,
        run,
    )  # needs the extra, and takes its time
    from mockexport.sources import as_fhir

    plan = read_faults(faults) if faults else None
    origin = read_origin(public_url) if public_url else None
    tokens_in = token_server(fhir_clients) if fhir_clients else None
    limits = (rate_limit_client, rate_limit_user, token is not None)
    with until_ctrl_c(terminal), log_to_stderr(access_log=verbose, as_json=as_json), ExitStack() as stack:
        with says_variable(source_variable(source, settings)):
            exports = stack.enter_context(closing(open_source(source or settings.source, kernel=settings.kernel)))
        served = Served(exports, InMemory())
        if data is not None:
            with asking(terminal, data, "its readings"):
                served = with_readings(
                    stack,
                    exports,
                    data,
                    limits,
                    journal=journal,
                    journal_commit=journal_commit.value if journal_commit else None,
                    replace_journal=replace_journal,
                    retain=read_age(retain) if retain else None,
                    trust_clock=trust_clock,
                    accept_ahead=read_age(accept_ahead, "--accept-ahead"),
                    priorities=read_priorities(priority),
                    files=(
                        table_compression or "zstd:1",
                        read_size(table_file_size, "--table-file-size") if table_file_size else None,
                    ),
                )
        routes, view = served.routes, as_fhir(served.source)
        tokens = tokens_in(served.documents) if tokens_in else None
        kinds = kinds_of_runs(served.source, settings.kernel)
        page = stack.enter_context(closing(Page(served.source, kinds, routes, served.documents)))
        application = create_app(
            served.source,
            token=token,
            routes=routes.router if routes else None,
            health=routes.health if routes else None,
            fhir=Fhir(fhir_version.value, export_seconds, files_of, view, tokens, documents=served.documents),
            page=page,
        )
        named = PublicUrl(application, origin) if origin else application
        faulty = Faults(named, plan) if plan else named
        run(
            RequestLog(faulty) if as_json else faulty,
            host,
            port,
            on_listening=lambda url: terminal.note(f"listening on {url}"),
            on_stopping=page.stop,
        )


@contextmanager
def until_ctrl_c(terminal: Terminal) -> Generator[None, None, None]:
    """Take Ctrl-C for the usual end of a server: everything is closed by then."""
    try:
        yield
    except KeyboardInterrupt:
        terminal.note("stopped")


def with_readings(
    stack: ExitStack,
    source: Source,
    data: str,
    limits: tuple[str | None, str | None, bool],
    files: tuple[str, int | None],
    **options: Any,
) -> Served:
    """Open the heart-rate service, until the stack is closed, and add its export and its routes to a source.

    `limits` are the texts of the limits of a client and of a user, and whether clients are told apart by their token;
    `files` is how the table's files are compressed, and their size. `options` are those of `HeartRate`.
    """
    from mockexport.extras import needs_extra

    with needs_extra("heartrate"):
        from mockexport.heartrate import (
            FileFormat,
            HeartRate,
            HeartRateRoutes,
            HeartRateSource,
            RateLimits,
            read_compression,
        )
        from mockexport.sources import UnionSource

        client, user, by_token = limits
        rate_limits = RateLimits(client, user, by_token=by_token)
        compression, size = files
        table_files = FileFormat(*read_compression(compression), size)
        service = stack.enter_context(HeartRate(data, table_files=table_files, **options))
        union = UnionSource(source, HeartRateSource(data, service))
        return Served(union, service.documents, HeartRateRoutes(service, rate_limits))


def token_server(clients: Path) -> Callable[[Documents], TokenServer]:
    """Return what gives tokens to the clients in a file, once it gets where to keep them. Raises UsageError."""
    from mockexport.smart import TokenServer, read_clients

    return partial(TokenServer, read_clients(clients))


def read_age(text: str, option: str = "--retain") -> timedelta:
    """Read an age such as 90d or 36h. Raises UsageError."""
    found = AGE.fullmatch(text)
    if not found or int(found[1]) == 0:
        raise UsageError(f"{option} {text} is not a number of days or hours, such as 90d or 36h")
    return timedelta(**{"d": {"days": int(found[1])}, "h": {"hours": int(found[1])}}[found[2]])


def read_priorities(text: str) -> dict[str, int]:
    """Read priorities such as device_a=1,device_b=2. Raises UsageError."""
    priorities: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        found = PRIORITY.fullmatch(part.strip())
        if not found or found[1] in priorities:
            raise UsageError(f"--priority {text} is invalid at {part!r}; expected a list such as device_a=1,device_b=2")
        priorities[found[1]] = int(found[2])
    return priorities


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address; names other than localhost are not resolved."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
