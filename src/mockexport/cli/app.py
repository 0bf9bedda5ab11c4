"""The command line as a whole, and the one boundary where errors become a line on stderr and an exit code."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import traceback
from typing import Annotated, NoReturn

import typer

from mockexport.cli import count, downloads, exports, heartrate, serve, verify
from mockexport.cli.options import Invocation
from mockexport.cli.remedies import error_text
from mockexport.cli.terminal import flush_stdout, print_error
from mockexport.cli.version import version_text
from mockexport.errors import MockExportError

__all__ = ["app", "run"]

BUG, INTERRUPTED, TERMINATED = 70, 130, 143
GRACE_SECONDS = 1.0

app = typer.Typer(
    name="mockexport",
    help="List, count, fetch and verify bulk healthcare exports, and serve them.",
    epilog="\b\nExamples:\n"
    "  mockexport exports list                    what there is to count\n"
    "  mockexport count small -o small.json       count an export, keep the answer\n"
    "  mockexport verify outputs/                 count again, compare with what was kept\n"
    "  mockexport count demo -s http://host:8000  the same from a server\n"
    "\n\b\nEnvironment: MOCKEXPORT_SOURCE (mock, a folder or a URL),\n"
    "  MOCKEXPORT_KERNEL (auto, native or pure), NO_COLOR,\n"
    "  MOCKEXPORT_SCHEDULER (of a Dask cluster).\n"
    "\n\b\nExit codes: 0 done, 1 differences found, 2 usage, 3 not found, 4 not authorised,\n"
    "  5 not reached, 6 data not to be trusted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.add_typer(exports.app, name="exports")
app.add_typer(downloads.app, name="downloads")
app.add_typer(heartrate.app, name="heartrate")
app.command("count", short_help="Count an export by patient and event type.", epilog=count.EXAMPLES)(
    count.count_command
)
app.command("verify", epilog=verify.EXAMPLES)(verify.verify_command)
app.command("serve", short_help="Serve exports over HTTP [server].", epilog=serve.EXAMPLES)(serve.serve_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version_text())
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the version, Python and the kernels.",
        ),
    ] = False,
) -> None:
    """Hold the options of the command as a whole."""


class Terminated(BaseException):
    """SIGTERM, as an exception in the main thread, so that everything is closed on the way out."""


def run(arguments: list[str]) -> NoReturn:
    """Run the command line and end the process with its exit code (docs/cli.md, "Exit codes")."""
    invocation = Invocation()
    signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        code = app(arguments, standalone_mode=False, obj=invocation) or 0
    except typer.TyperException as error:
        code = _usage(error)
    except MockExportError as error:
        print_error(error_text(error))
        code = error.exit_code
        _trace(invocation)
    except SystemExit:  # the parser's own way to end when the reader of its help has gone away
        code = 0
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Terminated:
        code = TERMINATED
    except Exception as error:  # noqa: BLE001 - the boundary: what gets here is a bug
        print_error(f"this is a bug in mockexport: {type(error).__name__}: {error}; --verbose shows where")
        code = BUG
        _trace(invocation)
    if code in (INTERRUPTED, TERMINATED):
        print_error("interrupted" if code == INTERRUPTED else "terminated")
    flush_stdout()
    if code and _threads_are_stuck():
        sys.stderr.flush()
        os._exit(code)
    gc.freeze()  # or all that was loaded would be looked through for garbage once more, on the way out
    sys.exit(code)


def _usage(error: typer.TyperException) -> int:
    """Print what was wrong with the command line, in one line; a bare group has its help for a message."""
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if message.startswith("Usage:"):
        typer.echo(message, err=True)
    else:
        path = context.command_path if context else "mockexport"
        print_error(f"{message.rstrip('.').replace(chr(10), ' ')}; see `{path} --help`")
    return error.exit_code


def _trace(invocation: Invocation) -> None:
    if invocation.verbose:
        traceback.print_exc()


def _raise_terminated(_signal: int, _frame: object) -> NoReturn:
    raise Terminated


def _threads_are_stuck() -> bool:
    """Tell whether a worker still waits for something, a server's answer say, that nobody wants any more."""
    deadline = time.monotonic() + GRACE_SECONDS
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    return any(thread.is_alive() for thread in others)
