"""Which kernels run, native or pure, and what happens without the native ones."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from tests.conftest import NATIVE_BUILT

from mockexport.errors import UsageError
from mockexport.settings import Settings
from mockexport.sources import MockSource, ReferenceGenerator, choose_generator, generator_name
from mockexport.tally import ReferenceTally, choose_tally, tally_name

pytestmark = pytest.mark.kernel

WITHOUT_NATIVE = """
import sys

class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name in HIDDEN:
            raise ImportError(f"{name} was not built")

HIDDEN = set(sys.argv[2:])
sys.meta_path.insert(0, Hiding())

from mockexport.errors import MockExportError
from mockexport.cli.version import kernels_text

try:
    print(kernels_text(sys.argv[1]))
except MockExportError as error:
    print(type(error).__name__, error)
"""
TALLY, GENERATOR = "mockexport.tally._native", "mockexport.sources.mock._native"
built = pytest.mark.skipif(not NATIVE_BUILT, reason="the native parts were not built")


def choose_without(kernel: str, *hidden: str) -> str:
    """Choose kernels where these modules can't be imported; return their names, or the error."""
    command = [sys.executable, "-c", WITHOUT_NATIVE, kernel, *hidden]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_pure_is_the_reference() -> None:
    assert (choose_tally("pure"), choose_generator("pure")) == (ReferenceTally, ReferenceGenerator)
    assert (tally_name("pure"), generator_name("pure")) == ("pure", "pure")


@built
def test_auto_takes_the_native_part_where_it_was_built() -> None:
    assert choose_tally("native").__module__ == TALLY
    assert choose_generator("native").__module__ == GENERATOR
    assert tally_name("native").startswith("native (")
    assert generator_name("native") == "native"
    assert choose_tally() is choose_tally("auto") is choose_tally("native")
    assert choose_generator() is choose_generator("auto") is choose_generator("native")


def test_the_kernel_of_the_environment_is_one_that_there_is() -> None:
    kernel = Settings.from_environment().kernel
    assert tally_name(kernel).split()[0] in {"auto": ("native", "pure")}.get(kernel, (kernel,))


@pytest.mark.parametrize("kernel", ["", "fast", "Native", "pure "])
def test_an_unknown_kernel_is_a_usage_error_that_names_the_known_ones(kernel: str) -> None:
    for choose in (choose_tally, choose_generator, MockSource):
        with pytest.raises(UsageError, match="takes auto, native or pure"):
            choose(kernel)


@built
@pytest.mark.parametrize(
    ("hidden", "told"),
    [
        ([TALLY, GENERATOR], "pure kernels"),
        ([TALLY], "pure tally, native generator"),
        ([GENERATOR], r"native (.*) tally, pure generator"),
    ],
)
def test_auto_is_pure_where_a_native_part_is_absent_and_says_so(hidden: list[str], told: str) -> None:
    answer = choose_without("auto", *hidden)
    before, _, after = told.partition("(.*)")
    assert answer.startswith(before)
    assert answer.endswith(after)


@pytest.mark.parametrize("hidden", [[TALLY, GENERATOR], [TALLY], [GENERATOR]])
def test_native_is_never_silently_pure_where_a_native_part_is_absent(hidden: list[str]) -> None:
    answer = choose_without("native", *hidden)
    assert answer.startswith("UsageError")
    assert "not built" in answer


def test_pure_needs_no_native_part() -> None:
    assert choose_without("pure", TALLY, GENERATOR) == "pure kernels"


@built
def test_a_mock_source_takes_the_generator_of_the_machine_where_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = pickle.dumps(MockSource("native"))
    assert b"_native" not in sent
    monkeypatch.setenv("MOCKEXPORT_KERNEL", "pure")
    arrived = pickle.loads(sent)
    (download, *_) = arrived.downloads("demo")
    assert next(arrived.open(download)) == next(MockSource("pure").open(download))
