"""Servers of the FHIR API on loopback."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest
from tests.server.fhir.walking import FhirSource
from tests.server.serving import PLAIN, serving
from tests.sources import WAIT_SECONDS

from mockexport.server import Fhir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockexport.source import Source


class ServeFhir(Protocol):
    """Serves a source until the test has ended, with settings of the FHIR API; the client's paths are relative."""

    def __call__(self, source: Source | None = None, *, token: str | None = None, **settings: Any) -> httpx.Client: ...


@pytest.fixture
def serve_fhir() -> Iterator[ServeFhir]:
    with ExitStack() as stack:

        def start(source: Source | None = None, *, token: str | None = None, **settings: Any) -> httpx.Client:
            url = stack.enter_context(serving(source or FhirSource({}), token=token, fhir=Fhir(**settings)))
            return stack.enter_context(httpx.Client(base_url=url, timeout=WAIT_SECONDS, headers=PLAIN))

        yield start
