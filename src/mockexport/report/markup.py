"""HTML elements, in which text can never be markup: only what `element` returned is taken for markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

from mockexport.encoding import printable

__all__ = ["Content", "Markup", "element", "fragment", "source_text", "style_sheet"]

NO_END_TAG = {"meta"}


class Markup(str):
    """Text that is HTML. Only this file makes it."""

    __slots__ = ()


Content: TypeAlias = str | Iterable["Content"] | None
"""What an element holds: text, elements, lists of these; None is nothing."""


def element(name: str, /, *content: Content, **attributes: str | float | None) -> Markup:
    r"""Return an element. An attribute's underscores are hyphens, one at its end is dropped; None leaves it out.

    Line breaks and control characters of texts are written as escapes, such as `\x1b`.
    """
    written = "".join(
        f' {key.removesuffix("_").replace("_", "-")}="{_escaped(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in NO_END_TAG:
        return Markup(f"<{name}{written} />")
    return Markup(f"<{name}{written}>{fragment(*content)}</{name}>")


def fragment(*content: Content) -> Markup:
    """Return contents one behind the other."""
    return Markup("".join(_written(part) for part in content))


def source_text(text: str) -> Markup:
    """Return a name from a source: whatever script it is in, it does not change the order of what stands beside it."""
    return element("bdi", text)


def style_sheet(css: str) -> Markup:
    """Return an element with a style sheet of ours."""
    return Markup(f"<style>{css}</style>")


def _written(part: Content) -> str:
    if part is None:
        return ""
    if isinstance(part, Markup):
        return part
    return _escaped(part) if isinstance(part, str) else fragment(*part)


def _escaped(text: str) -> str:
    return escape(printable(text))
