"""Kinds of runs that do as a test says."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.sources import WAIT_SECONDS

from mockexport.server import Answer, Progress

if TYPE_CHECKING:
    from mockexport.server import Watch


@dataclass
class HeldRun:
    """Tells that it has begun, and ends when it may: with an answer, or the error that it was given."""

    error: Exception | None = None
    answer: Answer = field(default_factory=lambda: Answer(b'{"patients":{},"totals":{}}', b"a,b\r\n1,2\r\n"))
    name: str = "held"
    title: str = "Hold"
    view: str = "table"
    begun: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def command(self, export: str, server: str) -> str:
        return f"mockexport held {export} --source {server}"

    def run(self, export: str, watch: Watch) -> Answer:
        assert export
        try:
            watch(Progress(rows=7, total=14, done=7))
            self.begun.set()
            for _ in range(WAIT_SECONDS * 100):
                watch(Progress(rows=7, total=14, done=7))
                if self.may_end.wait(0.01):
                    break
            if self.error:
                raise self.error
            return self.answer
        finally:
            self.ended.set()
