"""The command line as a whole, and the one place where errors become a line on stderr and an exit code."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import threading
import time
from collections import UserDict
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from mockexport.cli.completion import COMPLETE, complete
from mockexport.cli.options import Invocation
from mockexport.cli.remedies import error_text
from mockexport.cli.terminal import flush_stdout, print_error, print_traceback
from mockexport.cli.usage import usage_text
from mockexport.cli.version import version_text
from mockexport.errors import MockExportError

__all__ = ["app", "run"]

COMMANDS = (
    "count",
    "stats",
    "reconcile",
    "diff",
    "verify",
    "exports",
    "downloads",
    "serve",
    "heartrate",
)  # each a module of this package
BUG, INTERRUPTED, TERMINATED = 70, 130, 143
GRACE_SECONDS = 1.0


class LazyCommands(UserDict[str, Any]):
    """The commands by name. One is imported when it is looked up, so that each run loads only the command it needs."""

    def __getitem__(self, name: str) -> Any:
        return get_command(importlib.import_module(self.data[name]).app)


class LazyGroup(TyperGroup):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = LazyCommands({name: f"mockexport.cli.{name}" for name in COMMANDS})


app = typer.Typer(
    name="mockexport",
    cls=LazyGroup,
    help="List, count, describe, reconcile, fetch, verify and serve bulk healthcare exports.",
    epilog="\b\nExamples:\n"
    "  mockexport exports list                    list the available exports\n"
    "  mockexport count small -o small.json       count an export, save the result\n"
    "  mockexport stats demo --table              means, anomalies, gaps in time\n"
    "  mockexport verify outputs/                 compare saved counts\n"
    "  mockexport reconcile small -s exports      certify that an export is whole\n"
    "  mockexport count demo -s http://host:8000  count an export of a server\n"
    "  mockexport count group/1 -s fhir+https://ehr.example/fhir\n"
    "  mockexport help count                      show the help of a command\n"
    "\n\b\nEnvironment variables:\n"
    "  MOCKEXPORT_SOURCE      mock, mock-fhir, a folder or a URL\n"
    "  MOCKEXPORT_TOKEN_FILE  a file that contains a bearer token\n"
    "  MOCKEXPORT_SCHEDULER   the address of a Dask scheduler\n"
    "  MOCKEXPORT_KERNEL      auto, native or pure\n"
    "  MOCKEXPORT_FORMAT      json, table or csv, for output on a terminal\n"
    "  PAGER                  the pager for long tables\n"
    "  NO_COLOR, FORCE_COLOR  no colours, or colours in pipes too\n"
    "\n\b\nExit codes:\n"
    "  0  success                      4  not authorised\n"
    "  1  differences, or not whole    5  source or cluster unreachable\n"
    "  2  usage error                  6  incomplete or invalid data\n"
    "  3  not found                   70  bug in mockexport",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


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
            "-V",
            callback=_show_version,
            is_eager=True,
            help="Show the versions of mockexport and Python, and the kernels in use.",
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


class Terminated(BaseException):
    """SIGTERM as an exception in the main thread, so that files and connections are closed on the way out."""


def run(arguments: list[str]) -> NoReturn:
    """Run the command line and end the process with its exit code (docs/cli.md, "Exit codes")."""
    if COMPLETE in os.environ:
        complete(app)
    signal.signal(signal.SIGTERM, _raise_terminated)
    _end_with_the_terminal()
    if arguments[:1] == ["help"]:
        arguments = [*(name for name in arguments[1:] if name != "help"), "--help"]
    code = _run(arguments)
    if code in (INTERRUPTED, TERMINATED):
        print_error("interrupted" if code == INTERRUPTED else "terminated")
    flush_stdout()
    # What reads object stores has threads of its own; some abort the process if the interpreter ends before them.
    if "obstore" in sys.modules or (code and _threads_are_stuck()):
        sys.stderr.flush()
        os._exit(code)
    gc.freeze()  # saves a last collection of everything that was imported
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Run the command line; print an error, and return the exit code."""
    invocation = Invocation()
    code: int
    try:
        code = app(arguments, standalone_mode=False, obj=invocation) or 0
    except typer.TyperException as error:
        code = _print_usage_error(error, arguments)
    except MockExportError as error:
        print_error(error_text(error))
        code = error.exit_code
        _print_traceback(invocation)
    except SystemExit:  # how Typer ends when it prints help to a closed pipe
        code = 0
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Terminated:
        code = TERMINATED
    except Exception as error:  # noqa: BLE001 - every other exception is a bug
        print_error(f"this is a bug in mockexport: {type(error).__name__}: {error}; run with --verbose for a traceback")
        code = BUG
        _print_traceback(invocation)
    return code


def _print_usage_error(error: typer.TyperException, arguments: list[str]) -> int:
    """Print what is wrong with the command line on one line; a group without a command prints its help."""
    message = error.format_message()
    if message.startswith("Usage:"):
        typer.echo(message, err=True)
    else:
        print_error(usage_text(error, arguments, _command_named(arguments)))
    return error.exit_code


def _command_named(arguments: list[str]) -> str:
    """Return the command that the arguments begin with, such as `mockexport exports list`."""
    names, command = ["mockexport"], get_command(app)
    for argument in arguments:
        commands = getattr(command, "commands", {})  # of a group
        if argument not in commands:
            break
        names.append(argument)
        command = commands[argument]
    return " ".join(names)


def _print_traceback(invocation: Invocation) -> None:
    if invocation.verbose:
        print_traceback()


def _raise_terminated(_signal: int, _frame: object) -> NoReturn:
    raise Terminated


def _end_with_the_terminal() -> None:
    """Have SIGHUP end the run as SIGTERM does, unless it is ignored, as `nohup` has it."""
    hangup: Any = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is None or signal.getsignal(hangup) is not signal.SIG_DFL:
        return

    def terminate(_signal: int, _frame: object) -> None:
        signal.signal(hangup, signal.SIG_IGN)  # the shell sends it, too, and files are being removed then
        signal.raise_signal(signal.SIGTERM)

    signal.signal(hangup, terminate)


def _threads_are_stuck() -> bool:
    """Tell whether a worker thread still runs after a grace period; it may be waiting for a server's response."""
    deadline = time.monotonic() + GRACE_SECONDS
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    return any(thread.is_alive() for thread in others)
