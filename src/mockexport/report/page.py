"""The page of a report: its head, what was run, and the sections between."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from mockexport._version import __version__
from mockexport.report.markup import element, fragment, source_text, style_sheet

if TYPE_CHECKING:
    from datetime import datetime

    from mockexport.report.markup import Content, Markup

__all__ = ["About", "facts", "note", "page", "section"]


@dataclass(frozen=True, slots=True)
class About:
    """What was run: the command line as a shell takes it, the source and the export, and from when to when, in UTC."""

    command: str
    source: str
    export: str
    begun: datetime
    ended: datetime


def page(kind: str, about: About, *content: Content) -> str:
    """Return the HTML of a report of this kind, such as `Counts`. It loads nothing and runs nothing."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=f"mockexport {__version__}"),
        element("title", f"{kind} of {about.export}"),
        style_sheet(_style()),
    )
    title = element(
        "header",
        element("p", kind, class_="kind"),
        element("h1", source_text(about.export)),
        element("p", "from ", source_text(about.source), " · ", _time(about.ended), class_="faint"),
    )
    body = element("body", title, element("main", *content, _what_was_run(about)))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def section(heading: str, *content: Content) -> Markup:
    """Return a part of a report below a heading."""
    return element("section", element("h2", heading), *content)


def note(*content: Content) -> Markup:
    """Return what is to be said of figures."""
    return element("p", *content, class_="note")


def facts(*pairs: tuple[str, Content]) -> Markup:
    """Return names, each with its value."""
    return element("dl", [element("div", element("dt", name), element("dd", value)) for name, value in pairs])


def _what_was_run(about: About) -> Markup:
    seconds = (about.ended - about.begun).total_seconds()
    return section(
        "What was run",
        element("p", element("code", about.command), class_="command"),
        facts(
            ("Source", source_text(about.source)),
            ("Export", source_text(about.export)),
            ("Begun", _time(about.begun)),
            ("Ended", fragment(_time(about.ended), f", after {seconds:,.1f} s")),
            ("Version", f"mockexport {__version__}"),
        ),
    )


def _time(time: datetime) -> Markup:
    return element("time", f"{time:%Y-%m-%d %H:%M:%S} UTC", datetime=f"{time:%Y-%m-%dT%H:%M:%SZ}")


@cache
def _style() -> str:
    return (files(__package__) / "style.css").read_text(encoding="utf-8")


def _policy() -> str:
    """Return a Content-Security-Policy under which a browser takes our style sheet and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
