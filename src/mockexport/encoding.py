"""Output as UTF-8: JSON documents, and text with bytes that are not UTF-8."""

from __future__ import annotations

from typing import Any

import orjson

__all__ = ["json_bytes", "printable", "unicode_only"]


def json_bytes(document: Any) -> bytes:
    """Return a document as JSON, indented by two spaces, with a final newline and the keys in their order."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        return orjson.dumps(document, option=options)
    except orjson.JSONEncodeError:  # a file name in it is not UTF-8
        return orjson.dumps(_unicode_only(document), option=options)


def unicode_only(text: str) -> str:
    r"""Return text that can be written as UTF-8: a byte of a file name that is not UTF-8 becomes `\udcxx` (PEP 383)."""
    return text.encode(errors="backslashreplace").decode()


def printable(text: str) -> str:
    """Escape control characters, so that text from a source cannot control a terminal or the direction of a page."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _unicode_only(value: Any) -> Any:
    if isinstance(value, str):
        return unicode_only(value)
    if isinstance(value, dict):
        return {_unicode_only(key): _unicode_only(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_unicode_only(item) for item in value]
    return value
