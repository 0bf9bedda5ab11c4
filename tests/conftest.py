"""What the tests of several stages share."""

from __future__ import annotations

import importlib.util
import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import orjson
import pytest
from tests.scripted_http import ScriptedServer
from tests.sources import WAIT_SECONDS

from mockexport.http.retry import Retries
from mockexport.sources.http import HttpSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


hypothesis.settings.register_profile("ours", deadline=None)  # a busy machine is no reason to fail
hypothesis.settings.load_profile("ours")

NATIVE_BUILT = all(importlib.util.find_spec(f"mockexport.{part}._native") for part in ("tally", "sources.mock"))
KERNELS = ["native", "pure"] if NATIVE_BUILT and os.environ.get("MOCKEXPORT_KERNEL") != "pure" else ["pure"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out of the run without native parts what knows nothing of them."""
    if KERNELS == ["pure"] and NATIVE_BUILT:
        known = pytest.mark.skip(reason="heart rates are taken in without a kernel; tried in the run with native parts")
        for item in items:
            if "heartrate" in item.path.parts:
                item.add_marker(known)


LONG_ID = 40  # bytes


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name long bytes by their number: packed ones differ from process to process, and a name must not."""
    return f"{len(val)} bytes" if isinstance(val, bytes) and len(val) > LONG_ID else None


@pytest.fixture(scope="session")
def golden() -> Any:
    """What the made-up exports hold, read off an independent implementation."""
    return orjson.loads((Path(__file__).parent / "golden" / "mock-exports.json").read_bytes())


@pytest.fixture(scope="session")
def golden_demo(golden: Any) -> dict[str, dict[str, int]]:
    """The counts of the export demo by patient and event type."""
    patients: dict[str, dict[str, int]] = {}
    for download in golden["demo"]["downloads"].values():
        for key, records in download["counts"].items():
            patient, event_type = key.split("/")
            types = patients.setdefault(patient, {})
            types[event_type] = types.get(event_type, 0) + records
    return patients


@pytest.fixture(scope="session", params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    """The kernels in turn, native and pure."""
    name: str = request.param
    return name


@pytest.fixture
def http_server() -> Iterator[ScriptedServer]:
    """A server on loopback that says what it is told to."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def http_source(http_server: ScriptedServer) -> Iterator[HttpSource]:
    """That server as a source; it is asked once, and not again after a failure."""
    with closing(HttpSource(http_server.url, timeout=WAIT_SECONDS, retries=Retries(0))) as source:
        yield source


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """The folder of the export trial, still empty, in a source that is the folder above."""
    folder = tmp_path / "trial"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is not reached through the proxy of the machine."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait, not for ever, until a condition holds."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)

    return wait
