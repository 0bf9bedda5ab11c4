"""Reports read as a browser reads them, and what they may hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

from mockexport.report import About

EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onmouseover='alert(3)",
    "]]><svg onload=alert(4)>",
    "--><iframe src=//evil.example></iframe>",
    "</style></title></bdi><a href=javascript:alert(5)>x</a>",
    "&lt;b&gt;&#60;b&#62;",
    "\x1b[31m\x00\u202egnirts\n\udcff",
    "http://evil.example/?a=1&b=2",
)
ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "section", "h1", "h2", "p", "dl", "dt",
    "dd", "div", "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "bdi", "span", "code", "time",
    "ul", "li", "svg", "rect", "g", "path", "text",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "role", "aria-label", "aria-hidden",
    "tabindex", "scope", "datetime", "viewbox", "width", "height", "x", "y", "rx", "d", "transform",
    "text-anchor", "direction", "preserveaspectratio",
}  # fmt: skip


@dataclass
class Read(HTMLParser):
    """The elements of a page: their names, their attributes and the text in them."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def about(export: str = "demo", source: str = "mock", command: str = "mockexport count demo") -> About:
    time = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
    return About(command, source, export, time, time.replace(second=2, microsecond=500_000))


def read(page: str) -> Read:
    """Read a page, and check all that is true of every report."""
    ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    found = Read()
    found.feed(page)
    found.close()
    assert not found.comments
    assert {name for name, _ in found.elements} <= ELEMENTS
    for name, attributes in found.elements:
        assert set(attributes) <= ATTRIBUTES, name
    assert [attributes.get("lang") for name, attributes in found.elements if name == "html"] == ["en"]
    assert not re.search(r"url\(|@import", page)
    heads = [attributes for name, attributes in found.elements if name == "th"]
    assert all(attributes.get("scope") in {"col", "row"} for attributes in heads)
    tables = [name for name, _ in found.elements if name in {"table", "caption", "thead", "tbody"}]
    assert tables == ["table", "caption", "thead", "tbody"] * (len(tables) // 4)
    return found
