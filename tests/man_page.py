"""The man page of mockexport, made from the help of all commands and from docs/cli.md; `tests.documents` writes it."""

from __future__ import annotations

import inspect
import re
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import typer
from typer.main import get_command

from mockexport import __version__
from mockexport.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["man_page"]

TITLES = {"Environment variables": "ENVIRONMENT"}  # as man pages call them; other blocks keep their titles
TABLE_ROW = re.compile(r"^\| ([\d, ]+) \| (.*) \|$", re.MULTILINE)
NEEDLESS_BREAK = re.compile(r"^(\.S[HS] .*\n)\.PP\n", re.MULTILINE)  # a title begins a paragraph by itself
NAME_AND_TEXT = re.compile(r"^(\S.*?)  +(.*)$", re.MULTILINE)
LITERAL_BLOCK = re.compile(r"(?:^    .*\n)+", re.MULTILINE)


def man_page(docs: str) -> str:
    """Return the page in the language of man(7); `docs` is the text of docs/cli.md."""
    root: Any = get_command(app)
    contexts = list(all_contexts(root, "mockexport"))
    blocks = help_blocks(root.epilog)
    lines = [
        r".\" Generated from the help: uv run --group dev python -m tests.documents",
        f'.TH MOCKEXPORT 1 "" "mockexport {__version__}" "User Commands"',
        *(".nh", ".ad l"),  # names of options stay whole
        *(".SH NAME", rf"mockexport \- {lower_first(root.help.rstrip('.'))}"),
        ".SH SYNOPSIS",
        *synopsis(contexts[0]),
        ".SH DESCRIPTION",
        *paragraphs(f"{root.help}\n\n{without_markdown(docs_introduction(docs))}"),
        ".SH OPTIONS",
        *options(contexts[0]),
        ".SH COMMANDS",
    ]
    for context in contexts[1:]:
        lines += command_section(context)
    for title, text in blocks.items():
        if title in TITLES:
            lines += [f".SH {TITLES[title]}", *entries(NAME_AND_TEXT.findall(text))]
    lines += [
        ".SH FILES",
        *entries(NAME_AND_TEXT.findall(dedent(LITERAL_BLOCK.findall(docs_section(docs, "Folders"))[0]))),
    ]
    lines += [".SH EXIT STATUS", *entries(TABLE_ROW.findall(docs_section(docs, "Exit codes")))]
    lines += [".SH EXAMPLES", *literal(blocks["Examples"])]
    return NEEDLESS_BREAK.sub(r"\1", "\n".join(lines) + "\n")


def all_contexts(command: Any, name: str, parent: Any = None) -> Iterator[Any]:
    """The command and all commands below it, each in a context that knows its whole name."""
    context = typer.Context(command, info_name=name, parent=parent, **command.context_settings)
    yield context
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from all_contexts(inner, inner_name, context)


def command_section(context: Any) -> list[str]:
    command = context.command
    lines = [f".SS {escaped(context.command_path)}", *synopsis(context), *paragraphs(command.help or "")]
    lines += options(context)
    for title, text in help_blocks(command.epilog).items():
        lines += [".PP", f".B {escaped(title)}:", *literal(text)]
    return lines


def synopsis(context: Any) -> list[str]:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return [".PP", rf"\fB{escaped(context.command_path)}\fR {escaped(pieces)}"]


def options(context: Any) -> list[str]:
    """The arguments and options of a command, in the panels in which its help has them."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in context.command.get_params(context):
        if record := parameter.get_help_record(context):
            panels.setdefault(getattr(parameter, "rich_help_panel", None) or "", []).append(record)
    lines = []
    for title, records in panels.items():
        lines += [".PP", f".B {escaped(title)}:"] if title else []
        lines += entries(records)
    return lines


def help_blocks(epilog: str | None) -> dict[str, str]:
    r"""The blocks of an epilog, `\b Title: lines`, by their titles."""
    blocks = {}
    for block in (epilog or "").split("\b"):
        title, _, text = block.strip().partition(":\n")
        if text:
            blocks[title] = dedent(text)
    return blocks


def docs_introduction(docs: str) -> str:
    """What holds for the output of all commands; the help of none has it."""
    return docs_section(docs, "Output").split("\n###", maxsplit=1)[0]


def docs_section(docs: str, title: str) -> str:
    _, _, rest = docs.partition(f"\n## {title}\n")
    assert rest, f"docs/cli.md has no section {title!r}"
    return rest.split("\n## ", maxsplit=1)[0]


def paragraphs(text: str) -> list[str]:
    lines = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        lines += [".PP", escaped(" ".join(paragraph.split()))]
    return lines


def entries(records: list[tuple[str, str]]) -> list[str]:
    lines = []
    for name, text in records:
        lines += [".TP", f".B {escaped(name)}", escaped(without_markdown(text)) or r"\&"]
    return lines


def literal(text: str) -> list[str]:
    return [".PP", ".nf", *(escaped(line) or r"\&" for line in dedent(text).splitlines()), ".fi"]


def without_markdown(text: str) -> str:
    return re.sub(r"`|\[([^\]]*)\]\([^)]*\)", lambda found: found[1] or "", text)


def escaped(text: str) -> str:
    """Text as it stands in the page: roff has meanings of its own for backslashes, dashes and the start of a line."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("~", r"\(ti").replace("^", r"\(ha")
    text = text.replace("'", r"\(aq").replace("`", r"\(ga").replace('"', r"\(dq")
    text = "".join(letter if letter.isascii() else rf"\[u{ord(letter):04X}]" for letter in text)
    return rf"\&{text}" if text.startswith(".") else text


def lower_first(text: str) -> str:
    return text[0].lower() + text[1:]
