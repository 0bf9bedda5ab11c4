"""What an error of deltalake, Polars or the system says, in one line."""

from __future__ import annotations

import re

__all__ = ["one_line"]

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CAUSE = "↳"  # before each cause, on a line of its own, the first one last
TOLD_BY_STORE = re.compile(r"<Message>([^<]+)</Message>")


def one_line(error: BaseException) -> str:
    """Return the first line of an error's message, with its first cause if it names causes."""
    text = COLOUR.sub("", str(error)).strip() or type(error).__name__
    whole, *causes = (part.strip() for part in text.split(CAUSE))
    parts = [whole.splitlines()[0]]
    if told := TOLD_BY_STORE.search(text):  # a store's answer in XML, behind its status
        parts += [*causes[-2:-1], told[1]]
    elif causes:
        parts.append(causes[-1].splitlines()[0])
    return ": ".join(parts)
