"""Real servers on loopback, each on a free port and in a thread of its own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import httpx
import pytest
from tests.server.serving import PLAIN, serving
from tests.sources import WAIT_SECONDS

from mockexport.sources.mock import MockSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockexport.source import Source


class Serve(Protocol):
    """Serves a source until the test has ended; the client's paths are relative to that server."""

    def __call__(self, source: Source) -> httpx.Client: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve a source of the test's own."""
    with ExitStack() as stack:

        def start(source: Source) -> httpx.Client:
            url = stack.enter_context(serving(source))
            return stack.enter_context(httpx.Client(base_url=url, timeout=WAIT_SECONDS, headers=PLAIN))

        yield start


@pytest.fixture(scope="module")
def mock() -> Iterator[httpx.Client]:
    """Serve the made-up exports, with whichever twin there is."""
    source = MockSource()
    with serving(source) as url, httpx.Client(base_url=url, timeout=WAIT_SECONDS, headers=PLAIN) as client:
        yield client
