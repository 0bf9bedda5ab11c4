"""Servers that open a new place at the same instant, each in a process of its own."""

from __future__ import annotations

import multiprocessing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mockexport.errors import MockExportError

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Barrier

__all__ = ["Found", "at_once", "one_is_named"]

SECONDS = 250


class Found(NamedTuple):
    """What a server found: its journal, that which the place names, and why it was refused."""

    journal: str = ""
    named: str = ""
    refused: str = ""


def take_part(
    work: Callable[[str, str], Found], number: int, rounds: list[list[tuple[str, str]]], start: Barrier
) -> list[Found]:
    found = []
    for places in rounds:
        start.wait(SECONDS)
        try:
            found.append(work(*places[number]))
        except MockExportError as error:
            found.append(Found(refused=str(error)))
    return found


def at_once(work: Callable[[str, str], Found], rounds: list[list[tuple[str, str]]]) -> list[list[Found]]:
    """Do the works of a round at the same instant, for each round; return what they found.

    A server is given a place and a journal. `work` is a function of a module, for the processes begin anew.
    """
    context, servers = multiprocessing.get_context("spawn"), len(rounds[0])
    with context.Manager() as manager, context.Pool(servers) as pool:
        part = partial(take_part, work, rounds=rounds, start=manager.Barrier(servers))
        results = [pool.apply_async(part, (number,)) for number in range(servers)]
        return [list(of_round) for of_round in zip(*(result.get(SECONDS) for result in results), strict=True)]


def one_is_named(found: list[Found]) -> bool:
    """Tell whether the place names one journal, which all have but those that were refused for that."""
    accepted = [each for each in found if not each.refused]
    return (
        len({each.named for each in accepted}) == 1
        and all(each.journal == each.named for each in accepted)
        and all("belongs to other data" in each.refused for each in found if each.refused)
    )
