"""What the tests of several stages share."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests import forking, seeds
from tests.scripted_http import ScriptedServer
from tests.sources import WAIT_SECONDS

from mockexport.http.retry import Retries
from mockexport.sources.http import HttpSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


NATIVE_BUILT = all(
    importlib.util.find_spec(f"mockexport.{part}._native")
    for part in ("sorting", "tally", "tally.fhir", "sources.mock")
)
KERNELS = ["native", "pure"] if NATIVE_BUILT and os.environ.get("MOCKEXPORT_KERNEL") != "pure" else ["pure"]

OF_THE_DEVELOPER = ("MOCKEXPORT_", "AWS_", "AZURE_", "GOOGLE_", "PG")  # what names sources, stores and databases
KEPT = ("MOCKEXPORT_KERNEL", "MOCKEXPORT_REQUIRE_NATIVE")


@pytest.hookimpl(tryfirst=True)  # before hypothesis reads its options, and before the workers get theirs
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of the run: a fresh one under `-m slow`, unless --hypothesis-seed gives one."""
    # A shell that starts us in the background has us ignore Ctrl-C, and the commands that we start, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # So does nohup with a hangup, which we go on to ignore, by a handler that the commands do not get.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    # Workers and other processes are many: each module is compiled once, not by all of them.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for name in [name for name in os.environ if name.startswith(OF_THE_DEVELOPER) and name not in KEPT]:
        del os.environ[name]
    if not seeds.wants_slow(config.option.markexpr):
        seeds.use_fixed()
        return
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.SystemRandom().getrandbits(32))
    seeds.use_fresh(config.option.hypothesis_seed)


def pytest_unconfigure() -> None:
    """End the processes that commands were forked from."""
    forking.close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run one process more than there are processors: many tests wait for another process, or for a time-out."""
    return 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_report_header() -> str | None:
    """Print the seed of a slow run, with which a failure can be replayed."""
    return seeds.told()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print it at the end too, where it stands beside the failures, and with -q; and what random runs have met."""
    if seeds.told():
        terminalreporter.write_line(str(seeds.told()))
        met = Counter(
            value
            for report in terminalreporter.getreports("passed")
            for name, value in report.user_properties
            if name == "met"
        )
        for what, times in met.most_common():
            terminalreporter.write_line(f"met {times} times: {what}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests in a browser aside where -m does: each worker would take a second to import what drives it."""
    unwanted = collection_path.name == "browser" and "not browser" in config.option.markexpr
    return True if unwanted else None


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run every law under `-m slow` too, with a fresh seed and more examples."""
    if seeds.run_seed is not None:
        for item in items:
            if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
                item.add_marker("slow")


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
        begun = time.monotonic()
        while not condition():
            waited = time.monotonic() - begun
            assert waited < WAIT_SECONDS, "waited in vain"
            time.sleep(min(max(waited / 10, 0.01), 0.1))  # some conditions ask a server, which has other things to do

    return wait
