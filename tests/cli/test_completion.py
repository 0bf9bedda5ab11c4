"""Completion in real shells: what a user types, Tab, and what stands on the line then."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.conftest import COMMAND, environment, write_export
from tests.documents import COMPLETIONS, SHARE
from tests.scripted_http import Request, ScriptedServer, json
from tests.sources import HEADER
from tests.terminals import OnTerminal

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

pytestmark = pytest.mark.gate

SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "--no-rcs", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
COMPINIT = "autoload -Uz compinit; compinit -u -D"
SOURCED = {"bash": "source {script}", "zsh": f"{COMPINIT}; source {{script}}", "fish": "source {script}"}
SHOWN = {  # what the command shows on a terminal: by itself it knows the shell
    shell: f"mockexport --show-completion > shown; {load.format(script='./shown')}" for shell, load in SOURCED.items()
}
SHARED = {  # what wheels install to share/, found as each shell finds it there
    "bash": f"source {SHARE / COMPLETIONS['bash']}",
    "zsh": f"fpath=({(SHARE / COMPLETIONS['zsh']).parent} $fpath); {COMPINIT}",
    "fish": f"set -p fish_complete_path {(SHARE / COMPLETIONS['fish']).parent}",
}
TRIES = 5
START_OF_LINE = "\x01"
LINE = re.compile(r"[\r\n]LINE (.*?) *[\r\n]")


def completed(shell: str, typed: str, workplace: Path, loaded: Mapping[str, str] = SOURCED, **changes: str) -> str:
    """Type this in a shell that has loaded the completions, with the script of --install-completion, and Tab.

    Returns the line.
    """
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    home, empty = workplace / "home", workplace / "here"
    home.mkdir(exist_ok=True)
    empty.mkdir(exist_ok=True)
    path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
    changes = {**environment(**changes), "HOME": str(home), "PATH": path}
    script = home / "script"
    asked = {**changes, "_MOCKEXPORT_COMPLETE": f"source_{shell}"}
    with script.open("wb") as file:
        subprocess.run([COMMAND], env=asked, stdout=file, check=True, timeout=60)
    with OnTerminal(SHELLS[shell], empty, changes, width=200) as terminal:
        terminal.type(f"{loaded[shell].format(script=script)}; echo prepared''!\r")
        terminal.wait_for("prepared!")
        terminal.type(f"{typed}\t{START_OF_LINE}echo LINE \r")
        line = terminal.wait_for_match(LINE)[1]
        assert "rror" not in terminal.shown
        assert "Traceback" not in terminal.shown
        return line


def becomes(
    line: str, shell: str, typed: str, workplace: Path, loaded: Mapping[str, str] = SOURCED, **changes: str
) -> bool:
    """Tell whether Tab makes this of what was typed; on a busy machine it may take more time than it has, so again."""
    return any(completed(shell, typed, workplace, loaded, **changes).removesuffix("/") == line for _ in range(TRIES))


def in_shells(cases: Mapping[str, Any]) -> list[Any]:
    """Each case in each shell."""
    return [pytest.param(shell, case, id=f"{shell}-{name}") for shell in SHELLS for name, case in cases.items()]


TYPED = {
    "mockexport count s": "mockexport count small",
    "mockexport count -s m": "mockexport count -s mock",
    "mockexport count -s htt": "mockexport count -s http",  # http:// or https://
    "mockexport count -s https": "mockexport count -s https://",
    "mockexport count -s http://1": "mockexport count -s http://127.0.0.1:8000",
    "mockexport count -s http://host:80": "mockexport count -s http://host:8042",
    "mockexport downloads list -s fold": "mockexport downloads list -s folder",
}


@pytest.mark.parametrize(("shell", "case"), in_shells({typed: (typed, line) for typed, line in TYPED.items()}))
def test_what_a_user_types_is_completed(shell: str, case: tuple[str, str], workplace: Path) -> None:
    typed, line = case
    write_export(workplace / "here" / "folder", "trial", day=HEADER)
    source = "http://host:8042" if "host" in typed else "mock"
    assert becomes(line.removesuffix("/"), shell, typed, workplace, MOCKEXPORT_SOURCE=source)


@pytest.mark.parametrize(("shell", "loaded"), in_shells({"shown": SHOWN, "shared": SHARED}))
def test_what_is_shown_and_what_wheels_install_complete_as_well(
    shell: str, loaded: Mapping[str, str], workplace: Path
) -> None:
    assert becomes("mockexport count small", shell, "mockexport count s", workplace, loaded)


TYPED_WITH_EQUALS = {
    "count --source=m": "count --source=mock",
    "count --source=http://12": "count --source=http://127.0.0.1:8000",
    "count --source=fold": "count --source=folder",
    "count --source=folder t": "count --source=folder trial",
    "verify -s folder --export=tr": "verify -s folder --export=trial",
}


@pytest.mark.parametrize(
    ("shell", "case"), in_shells({typed: (typed, line) for typed, line in TYPED_WITH_EQUALS.items()})
)
def test_the_value_after_an_equals_sign_is_completed(shell: str, case: tuple[str, str], workplace: Path) -> None:
    typed, line = case
    write_export(workplace / "here" / "folder", "trial", day=HEADER)
    assert becomes(f"mockexport {line}", shell, f"mockexport {typed}", workplace)


@pytest.mark.parametrize("shell", ["bash", "zsh"])  # fish asks twice, each time for less than a busy machine takes
def test_exports_of_a_server_are_completed(shell: str, http_server: ScriptedServer, workplace: Path) -> None:
    http_server.answers["/api/export"] = json({"data": {"export_ids": ["trial", "other"]}})
    typed = f"mockexport count -s {http_server.url} "
    assert becomes(f"{typed}trial", shell, f"{typed}t", workplace)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_source_that_does_not_come_to_an_end_gives_nothing(
    shell: str, http_server: ScriptedServer, workplace: Path
) -> None:
    def dribble(_request: Request, connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not http_server.released.wait(0.05):  # bytes of a body are progress: no time-out ends this
                connection.sendall(b" ")

    http_server.answers["/api/export"] = dribble
    typed = f"mockexport count -s {http_server.url} t"
    for _ in range(TRIES):  # on a busy machine, the time may be over before it asks
        assert completed(shell, typed, workplace) == typed
        if http_server.requests:
            break
    assert http_server.requests or shell == "fish"


@pytest.mark.parametrize(
    ("shell", "source"), in_shells({source: source for source in ("http://127.0.0.1:9", "ftp://host", "nowhere")})
)
def test_a_source_that_fails_gives_nothing_and_no_error(shell: str, source: str, workplace: Path) -> None:
    typed = f"mockexport count -s {source} t"
    assert completed(shell, typed, workplace) == typed
