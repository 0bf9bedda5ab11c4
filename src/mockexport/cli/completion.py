"""Completion in shells: what Typer's scripts ask for while a user types.

Nobody sees errors there, and everybody sees a delay. So it says nothing on stderr, and ends within a second, whatever
the source does.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from mockexport.source import Source

__all__ = ["COMPLETE", "complete", "complete_export", "complete_source"]

COMPLETE = "_MOCKEXPORT_COMPLETE"  # set by the scripts, to the shell and what it wants
SECONDS = 0.8  # of the second; Python took some of it to start
FISH_SECONDS = 0.4  # fish asks twice
SOURCES = ("mock", "mock-fhir", "http://", "http://127.0.0.1:8000", "https://")  # no space follows a part of one
OPTION_AND_VALUE = re.compile(r"\s(--[a-z][a-z-]*=)\S*$")
WORD_BREAKS = ":="  # where bash takes words apart (COMP_WORDBREAKS)


def complete(app: typer.Typer) -> None:
    """Print the completions that a shell asks for, and end the process."""
    asked = os.environ[COMPLETE]
    limit = threading.Timer(FISH_SECONDS if asked.endswith("fish") else SECONDS, os._exit, (1,))
    limit.daemon = True
    limit.start()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    left_out = join_words() if asked == "complete_bash" else 0
    output, code = io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(output):
            app()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except Exception:  # noqa: BLE001 - nobody could read of it
        code = 1
    if not code:
        lines, option = output.getvalue().splitlines(keepends=True), option_typed()
        with contextlib.suppress(OSError):
            if option and asked == "complete_zsh":  # a command that completes what stands behind the option
                lines.insert(0, f"compset -P '{option}'; ")
            elif option and asked == "complete_fish":  # whole words
                lines = [option + line for line in lines]
            sys.stdout.write("".join(line[left_out:] for line in lines))
            sys.stdout.flush()
    os._exit(code)  # a request to a slow source may still run


def join_words() -> int:
    """Join the words that bash took apart at `:` and `=`; return how much of the last one bash keeps by itself."""
    words, current = os.environ["COMP_WORDS"].split("\n"), int(os.environ["COMP_CWORD"])
    if current >= len(words):
        return 0
    joined: list[str] = []
    joins = False
    for word in words[: current + 1]:
        breaks = bool(word) and not word.strip(WORD_BREAKS)
        if len(joined) > 1 and (joins or breaks):
            joined[-1] += word
        else:
            joined.append(word)
        joins = breaks
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(joined), str(len(joined) - 1)
    typed = joined[-1]
    if typed.startswith("--"):  # of --source=VALUE, the value alone is completed
        typed = typed.partition("=")[2]
    return max(typed.rfind(mark) for mark in WORD_BREAKS) + 1


def option_typed() -> str:
    """Return `--source=` in zsh and fish, if its value is being typed: they take both for one word, unlike bash."""
    found = OPTION_AND_VALUE.search(os.environ.get("_TYPER_COMPLETE_ARGS", ""))
    return found[1] if found else ""


def complete_source(incomplete: str) -> list[str]:
    """Complete a source; the shell itself completes folders, for which nothing is returned."""
    from mockexport.settings import Settings

    known = dict.fromkeys([*SOURCES, Settings.from_environment().source])
    return [name for name in known if name.startswith(incomplete)]


def complete_export(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the id of an export of the source on the command line; no completions if the source fails."""
    try:
        return [export for export in opened(ctx.params).exports() if export.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - a shell that completes a line cannot show errors
        return []


def opened(options: dict[str, Any]) -> Source:
    """Open the source that the options on the command line, or the environment, name."""
    from mockexport.cli.token import read_token
    from mockexport.factory import open_source
    from mockexport.settings import Settings

    settings = Settings.from_environment()
    return open_source(
        options.get("source") or settings.source,
        timeout=SECONDS,
        retries=0,
        token=read_token(options.get("token_file"), settings.token_file),
        ca_bundle=options.get("ca_bundle"),
    )
