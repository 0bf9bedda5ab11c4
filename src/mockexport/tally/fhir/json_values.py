"""JSON in plain Python, as it is written: an object keeps all its keys, even one that stands twice.

`json` does not, and refuses deep nesting. Numbers keep their digits.
"""

from __future__ import annotations

import json
import re
from typing import TypeAlias

from mockexport.tally.fhir.contract import MAX_DEPTH, REASONS

__all__ = ["JsonObject", "Problem", "Text", "Value", "decoded", "parse_object", "text_of"]

(_, _, NOT_OBJECT, NOT_VALID, TOO_DEEP, MORE_VALUES, _, _, TWICE, NOT_UNICODE) = REASONS

TOKEN = re.compile(
    r"""[ \t\r\n]*+ (?:
        (?P<bracket> [{}\[\]:,] )
      | (?P<text> " [^"\\\x00-\x1f]*+ (?: \\ (?: ["\\/bfnrt] | u[0-9a-fA-F]{4} ) [^"\\\x00-\x1f]*+ )*+ " )
      | (?P<scalar> true | false | null | -? (?: 0 | [1-9][0-9]*+ ) (?: \.[0-9]++ )?+ (?: [eE][-+]?[0-9]++ )?+ )
    )""",
    re.VERBOSE,
)


class Text(str):
    """A string as it is written, with its quotes and escapes."""

    __slots__ = ()


class Scalar(str):
    """A number, true, false or null, as it is written."""

    __slots__ = ()


class JsonObject(list[tuple[Text, "Value"]]):
    """The members of an object, in order. A member is None where there is none; Problem is raised if there are two."""

    def member(self, name: str) -> Value | None:
        """Return a member's value."""
        found = [item for key, item in self if (json.loads(key) if "\\" in key else key[1:-1]) == name]
        if len(found) > 1:
            raise Problem(TWICE)
        return found[0] if found else None

    def text(self, name: str) -> str:
        """Return a member that is a string; nothing for any other."""
        return text_of(self.member(name))

    def scalar(self, name: str) -> str | None:
        """Return a member that is a number, true, false or null, as it is written."""
        value = self.member(name)
        return value if isinstance(value, Scalar) else None

    def object(self, name: str) -> JsonObject | None:
        """Return a member that is an object."""
        value = self.member(name)
        return value if isinstance(value, JsonObject) else None

    def objects(self, name: str) -> list[JsonObject]:
        """Return a member that is an object, or those in a member that is a list."""
        value = self.member(name)
        items = [value] if isinstance(value, JsonObject) else value if isinstance(value, list) else []
        return [item for item in items if isinstance(item, JsonObject)]


Value: TypeAlias = "Text | Scalar | JsonObject | list[Value]"


class Problem(Exception):  # noqa: N818 - as Malformed
    """The reason why a row is malformed."""


def parse_object(text: str) -> JsonObject:
    """Parse a row that is one JSON object. Raises Problem with the first thing that is wrong."""
    if not text.lstrip(" \t\r\n").startswith("{"):
        raise Problem(NOT_OBJECT)
    tokens = _Tokens(text)
    tokens.next()
    result = JsonObject()
    containers: list[JsonObject | list[Value]] = [result]  # those that are open, the innermost one last
    while containers:
        item = tokens.add_item(containers[-1])
        if item is None:
            containers.pop()
        elif isinstance(item, list):
            containers.append(item)
            if len(containers) > MAX_DEPTH:
                raise Problem(TOO_DEEP)
    if text[tokens.at :].strip(" \t\r\n"):
        raise Problem(MORE_VALUES)
    return result


class _Tokens:
    """The tokens of a JSON text, from left to right; `at` is where the next one begins."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0

    def next(self) -> str:
        """Return a Text, a Scalar or a bracket, comma or colon."""
        token = TOKEN.match(self._text, self.at)
        if token is None:
            raise Problem(NOT_VALID)
        self.at = token.end()
        mark = token[token.lastgroup or 0]
        return Text(mark) if token.lastgroup == "text" else Scalar(mark) if token.lastgroup == "scalar" else mark

    def add_item(self, container: JsonObject | list[Value]) -> Value | None:
        """Read the next item of an open container and add it, an object or a list still empty; None is its end."""
        mark = self.next()
        if mark == ("}" if isinstance(container, JsonObject) else "]"):
            return None
        if container:
            if mark != ",":
                raise Problem(NOT_VALID)
            mark = self.next()
        if not isinstance(container, JsonObject):
            container.append(item := self._value(mark))
            return item
        key = mark
        if not isinstance(key, Text) or self.next() != ":":
            raise Problem(NOT_VALID)
        container.append((key, item := self._value(self.next())))
        return item

    def _value(self, mark: str) -> Value:
        if isinstance(mark, Text | Scalar):
            return mark
        if mark not in ("{", "["):
            raise Problem(NOT_VALID)
        return JsonObject() if mark == "{" else []


def decoded(text: Text) -> str:
    """Return a string with its escapes resolved. Raises Problem for half of a surrogate pair."""
    value: str = json.loads(text)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Problem(NOT_UNICODE) from None
    return value


def text_of(value: Value | None) -> str:
    """Return a string; nothing for anything else."""
    return decoded(value) if isinstance(value, Text) else ""
