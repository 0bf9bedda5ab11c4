"""What is written: JSON, and text that UTF-8 can hold."""

from __future__ import annotations

from typing import Any

import orjson

__all__ = ["json_bytes", "unicode_only"]


def json_bytes(document: Any) -> bytes:
    """Return JSON with two-space indent and a newline at the end; keys stay in the order given."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        return orjson.dumps(document, option=options)
    except orjson.JSONEncodeError:  # a name in it is not UTF-8
        return orjson.dumps(_unicode_only(document), option=options)


def unicode_only(text: str) -> str:
    r"""Return text that can be written as UTF-8: a byte that is not UTF-8 in a name becomes `\udcxx`."""
    return text.encode(errors="backslashreplace").decode()


def _unicode_only(value: Any) -> Any:
    if isinstance(value, str):
        return unicode_only(value)
    if isinstance(value, dict):
        return {_unicode_only(key): _unicode_only(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_unicode_only(held) for held in value]
    return value
