"""The source is asked now and then, however many ask the server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.sources import EXPORT, WAIT_SECONDS, MemorySource, csv_body

from mockexport import NotFoundError
from mockexport.server import ids as identity
from mockexport.server.ids import WireDownloads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockexport import Download

BODIES = {"a": csv_body(3), "b": csv_body(1)}


class AskedSource(MemorySource):
    """Counts how often it is asked for an export's downloads; the first answer waits until it may come."""

    def __init__(self) -> None:
        super().__init__(dict(BODIES))
        self.asked = 0
        self.may_answer = threading.Event()

    def downloads(self, export: str) -> Sequence[Download]:
        self.asked += 1
        assert self.may_answer.wait(WAIT_SECONDS)
        return super().downloads(export)


def test_many_who_ask_at_once_are_answered_by_one_look_at_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "CACHE_SECONDS", 3600.0)
    source = AskedSource()
    downloads = WireDownloads(source)
    with ThreadPoolExecutor(8) as executor:
        futures = [executor.submit(downloads.of, EXPORT) for _ in range(100)]
        source.may_answer.set()
        answers = [list(future.result(WAIT_SECONDS)) for future in futures]
    assert source.asked == 1
    assert len(answers[0]) == 2
    assert all(answer == answers[0] for answer in answers)


def test_what_the_source_said_holds_for_a_moment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    source = AskedSource()
    source.may_answer.set()
    downloads = WireDownloads(source)
    assert len(downloads.of(EXPORT)) == 2
    source.bodies = {**BODIES, "c": csv_body(2)}
    monkeypatch.setattr(identity, "CACHE_SECONDS", 3600.0)
    assert len(downloads.of(EXPORT)) == 2
    monkeypatch.setattr(identity, "CACHE_SECONDS", -1.0)
    assert len(downloads.of(EXPORT)) == 3


def test_an_export_that_is_not_there_is_asked_for_each_time() -> None:
    source = AskedSource()
    source.may_answer.set()
    downloads = WireDownloads(source)
    for expected in (1, 2):
        with pytest.raises(NotFoundError):
            downloads.of("nothing")
        assert source.asked == expected
