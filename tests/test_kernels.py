"""Which twins run, and what happens without the native ones."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.conftest import NATIVE_BUILT

from mockexport.errors import UsageError
from mockexport.kernels import Kernels, choose_kernels
from mockexport.settings import Settings
from mockexport.sources.mock import ReferenceGenerator
from mockexport.tally import ReferenceTally

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
from mockexport.kernels import choose_kernels

try:
    print(choose_kernels(sys.argv[1]).name)
except MockExportError as error:
    print(type(error).__name__, error)
"""
NATIVE_MODULES = ["mockexport.tally._native", "mockexport.sources.mock._native"]


def choose_without(wanted: str, *hidden: str) -> str:
    """Choose kernels where these modules can't be imported; return the name, or the error."""
    command = [sys.executable, "-c", WITHOUT_NATIVE, wanted, *hidden]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_pure_is_the_reference_of_both_twins() -> None:
    assert choose_kernels("pure") == Kernels("pure", ReferenceTally, ReferenceGenerator, releases_gil=False)


@pytest.mark.skipif(not NATIVE_BUILT, reason="the native parts were not built")
def test_native_is_both_native_twins_and_auto_takes_them() -> None:
    native = choose_kernels("native")
    assert native.tally.__module__ == "mockexport.tally._native"
    assert native.generator.__module__ == "mockexport.sources.mock._native"
    assert native.name.startswith("native (")
    assert native.releases_gil
    assert choose_kernels() == choose_kernels("auto") == native


def test_the_choice_of_the_environment_is_one_that_there_is() -> None:
    wanted = Settings.from_environment().kernel
    assert choose_kernels(wanted).name.split()[0] in {"auto": ("native", "pure")}.get(wanted, (wanted,))


@pytest.mark.parametrize("wanted", ["", "fast", "Native", "pure "])
def test_an_unknown_kernel_is_a_usage_error_that_names_the_known_ones(wanted: str) -> None:
    with pytest.raises(UsageError, match="takes auto, native or pure"):
        choose_kernels(wanted)


@pytest.mark.parametrize("hidden", [NATIVE_MODULES, NATIVE_MODULES[:1], NATIVE_MODULES[1:]])
def test_auto_is_pure_where_a_native_part_is_absent(hidden: list[str]) -> None:
    assert choose_without("auto", *hidden) == "pure"


@pytest.mark.parametrize("hidden", [NATIVE_MODULES, NATIVE_MODULES[:1], NATIVE_MODULES[1:]])
def test_native_is_never_silently_pure_where_a_native_part_is_absent(hidden: list[str]) -> None:
    answer = choose_without("native", *hidden)
    assert answer.startswith("UsageError")
    assert "not built" in answer


def test_pure_needs_no_native_part() -> None:
    assert choose_without("pure", *NATIVE_MODULES) == "pure"
