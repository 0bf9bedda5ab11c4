"""The C code compiles without warnings, and does nothing wrong that AddressSanitizer or UBSan could see."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from tests.seeds import seed_of

import mockexport

pytestmark = pytest.mark.gate

SOURCES = Path(mockexport.__file__).parent
PARTS = {
    "tally": "tally/_native.c",
    "fhir": "tally/fhir/_native.c",
    "stats": "stats/_native.c",
    "fhir_stats": "stats/_fhir_native.c",
    "mock": "sources/mock/_native.c",
    "sorting": "sorting/_native.c",
    "keys": "reconciliation/_native.c",
    "fhir_keys": "reconciliation/_fhir_native.c",
}
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Werror"]
SANITIZERS = ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]


def compile_part(part: str, *options: str) -> None:
    """Compile as pyproject.toml says, and with further options."""
    compiler = shutil.which("gcc")
    if not compiler:
        pytest.skip("no gcc here")
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").exists():
        pytest.skip("the headers of Python are not installed")
    source = str(SOURCES / PARTS[part])
    command = [compiler, "-std=c11", "-fPIC", "-ffp-contract=off", *options, "-isystem", include, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def address_sanitizer() -> str:
    """Find the library that a program must have loaded before a module built with -fsanitize=address."""
    compiler = shutil.which("gcc")
    if not compiler:
        pytest.skip("no gcc here")
    found = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    library = found.stdout.strip()
    if not Path(library).is_absolute():
        pytest.skip("gcc has no libasan here")
    return library


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("level", ["-O0", pytest.param("-O3", marks=pytest.mark.slow)])
def test_the_c_code_compiles_without_warnings(part: str, level: str) -> None:
    compile_part(part, level, *WARNINGS, "-c", "-o", os.devnull)


@pytest.mark.parametrize("part", [part for part in PARTS if part not in {"mock", "sorting"}])
def test_the_parts_that_read_compile_where_there_is_no_fast_path(tmp_path: Path, part: str) -> None:
    module = module_file(tmp_path, part)
    compile_part(part, "-O1", *WARNINGS, "-U__BYTE_ORDER__", "-shared", "-o", module)
    fuzz(part, module, rounds=30)


def test_statistics_are_the_same_where_there_are_no_integers_of_128_bits(tmp_path: Path) -> None:
    module = str(tmp_path / "_native.so")
    compile_part("stats", "-O1", *WARNINGS, "-DNO_INT128", "-shared", "-o", module)
    fuzz("stats", module, rounds=30)


def test_keys_have_the_same_hashes_where_there_are_no_integers_of_128_bits(tmp_path: Path) -> None:
    probes = []
    for name, options in (("wide", ()), ("halves", ("-DNO_INT128",))):
        module = str(tmp_path / f"{name}.so")
        compile_part("tally", "-O1", *WARNINGS, *options, "-shared", "-o", module)
        spec = spec_from_file_location("mockexport.tally._native", module)
        assert spec is not None
        assert spec.loader is not None
        native: Any = module_from_spec(spec)
        spec.loader.exec_module(native)
        found = []
        for number in range(20):
            tally = native.NativeTally(seed=bytes((number * at) % 251 for at in range(40)))
            tally.feed(b"patient_id,event_time,event_type,value\n")
            tally.feed(b"".join(b"P%0*d,t,x,1\n" % (8 + number, row) for row in range(1000)))
            found.append(tally.longest_probe())
        probes.append(found)
    assert probes[0] == probes[1]
    assert len(set(probes[0])) > 1


@pytest.mark.skipif(sys.platform != "linux", reason="libasan is preloaded in the way of Linux")
@pytest.mark.parametrize(
    ("part", "rounds"),
    [
        ("tally", 10),
        ("fhir", 100),
        ("stats", 10),
        ("fhir_stats", 100),
        ("keys", 10),
        ("fhir_keys", 100),
        ("mock", 100),
        ("sorting", 100),
        pytest.param("tally", 3000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
        pytest.param("fhir", 20_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
        pytest.param("stats", 3000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
        pytest.param("fhir_keys", 20_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
        pytest.param("keys", 3000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
        pytest.param("fhir_stats", 20_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
        pytest.param("mock", 20_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
        pytest.param("sorting", 20_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_random_input_makes_the_sanitizers_see_nothing(tmp_path: Path, part: str, rounds: int) -> None:
    library = address_sanitizer()
    module = module_file(tmp_path, part)
    compile_part(part, "-O1", "-g", *WARNINGS, *SANITIZERS, "-shared", "-o", module, "-lm")
    fuzz(part, module, rounds=rounds, LD_PRELOAD=library, ASAN_OPTIONS="detect_leaks=0", PYTHONMALLOC="malloc")


def module_file(folder: Path, part: str) -> str:
    """Return where a part goes: Python knows a module by the name of its file."""
    return str(folder / Path(PARTS[part]).with_suffix(".so").name)


def fuzz(part: str, module: str, *, rounds: int, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.native.fuzz", part, module, seed_of(1), str(rounds)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
