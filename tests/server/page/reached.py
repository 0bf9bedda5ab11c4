"""Documents that a server may lose, as it may lose a database."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tests.sources import WAIT_SECONDS

from mockexport.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockexport.shared import InMemory


class Reached:
    """Documents as one server reaches them, unless it is cut off or has to wait."""

    def __init__(self, documents: InMemory) -> None:
        self.clock = documents.clock
        self._documents = documents
        self._lock = threading.Lock()
        self._is_cut = False
        self.asked, self.answers = threading.Event(), threading.Event()
        self.answers.set()

    def cut(self, is_cut: bool = True) -> None:
        """Once this returns, no request is under way."""
        with self._lock:
            self._is_cut = is_cut

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def reach(*arguments: Any, **named: Any) -> Any:
            self.asked.set()
            assert self.answers.wait(2 * WAIT_SECONDS)  # longer than a test waits
            with self._lock:
                if self._is_cut:
                    raise UnreachableError("the database does not answer")
                return getattr(self._documents, name)(*arguments, **named)

        return reach
