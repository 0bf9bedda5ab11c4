"""The generators under test, and what they must give."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mockexport.sources.mock import ReferenceGenerator

GENERATORS: dict[str, Any] = {"pure": ReferenceGenerator}
if os.environ.get("MOCKEXPORT_KERNEL") != "pure":
    try:
        from mockexport.sources.mock._native import NativeGenerator
    except ImportError:  # not built; that it must be is another test's claim
        pass
    else:
        GENERATORS["native"] = NativeGenerator


@pytest.fixture(scope="session", params=GENERATORS.values(), ids=list(GENERATORS))
def new_generator(request: pytest.FixtureRequest) -> Any:
    """Each generator in turn, to be called with a plan."""
    return request.param


@pytest.fixture(scope="session")
def native_generator() -> Any:
    """The native generator; what it promises beyond the contract."""
    if "native" not in GENERATORS:
        pytest.skip("the native generator was not built, or is not wanted")
    return GENERATORS["native"]


@pytest.fixture(scope="session")
def fast_generator() -> Any:
    """The native generator, or the pure one without it."""
    return GENERATORS.get("native", ReferenceGenerator)


@pytest.fixture(scope="session")
def golden() -> Any:
    """What an independent implementation made of the same specification."""
    return json.loads((Path(__file__).parents[1] / "golden" / "mock-exports.json").read_text())
