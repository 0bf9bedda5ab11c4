"""What is wrong with a command line, on one line: what was given, what would be right, and what may have been meant."""

from __future__ import annotations

import inspect
from enum import Enum
from typing import TYPE_CHECKING, Any, get_args

import typer

from mockexport.errors import listed, suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["usage_text"]

SHORT = 2  # characters of an option such as -j


def usage_text(error: typer.TyperException, arguments: Sequence[str], command: str) -> str:
    """Return what is wrong with the arguments, and where to read more; `command` is the command that they name.

    Values are described in our own words: those of Typer depend on its version.
    """
    context = getattr(error, "ctx", None)
    message = _wrong_value(error, arguments) if isinstance(error, typer.BadParameter) else _unknown_option(error)
    message = message or error.format_message().rstrip(".").replace("\n", " ")
    path = context.command_path if context else command  # an option without its value has no context
    return f"{message} See `{path} --help`" if message.endswith("?") else f"{message}; see `{path} --help`"


def _unknown_option(error: typer.TyperException) -> str | None:
    name, near = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    return f"No such option: {name}. Did you mean {near[0]!r}?" if name and near else None


def _wrong_value(error: typer.BadParameter, arguments: Sequence[str]) -> str | None:
    """Describe a value that an option does not take; None for an error of another kind."""
    if error.param is None or error.ctx is None or error.ctx.command.callback is None:
        return None
    parameters = inspect.signature(error.ctx.command.callback, eval_str=True).parameters
    taken, choices = _taken(parameters[error.param.name or ""].annotation)
    value = _given(arguments, error.param.opts)
    if not taken or (value is None and error.param.required):  # it is missing
        return None
    message = f"{error.param.opts[0]} takes {taken}"
    if value is None:  # it is there, but not on its own
        return message
    return f"{message}, not {value!r}{suggestion(value, choices)}"


def _taken(annotation: Any) -> tuple[str, list[str]]:
    """Describe what an option takes, and list the values if there are few; nothing if it takes any text."""
    kinds, option = annotation.__args__, annotation.__metadata__[0]
    kind = next(kind for kind in get_args(kinds[0]) or kinds if kind is not type(None))
    if issubclass(kind, Enum):
        choices = [str(choice.value) for choice in kind]
        return listed(choices, "or"), choices
    if kind not in (int, float):
        return "", []
    number = "a whole number" if kind is int else "a number"
    if option.max is not None:
        return f"{number} from {option.min:,} to {option.max:,}", []
    return f"{number} of at least {option.min:,}" if option.min is not None else number, []


def _given(arguments: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the last value given to an option; None if there is none, or if it is written behind other options."""
    value = None
    for index, argument in enumerate(arguments):
        name, equals, text = argument.partition("=")
        if argument in names:
            value = next(iter(arguments[index + 1 : index + 2]), value)
        elif equals and name in names and name.startswith("--"):
            value = text
        elif argument[:SHORT] in names and not argument.startswith("--"):
            value = argument[SHORT:]
    return value
