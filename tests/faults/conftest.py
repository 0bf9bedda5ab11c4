"""Servers that go wrong until the test has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.faults.misbehaving import Misbehave, misbehaving_servers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def misbehave() -> Iterator[Misbehave]:
    with misbehaving_servers() as start:
        yield start
