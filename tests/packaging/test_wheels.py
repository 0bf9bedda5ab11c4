"""What the build backend makes: an sdist that builds offline, and wheels that hold all that they should."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
from email import message_from_bytes
from typing import TYPE_CHECKING, Any

import pytest
from tests.import_graph import ROOT
from tests.packaging.building import NO_COMPILER, built, contents, try_to_build, unpacked

import mockexport
from build_backend.extensions import declared_parts

if TYPE_CHECKING:
    from pathlib import Path

    from build_backend.extensions import NativePart

VERSION = mockexport.__version__
DIST_INFO = f"mockexport-{VERSION}.dist-info"
DATA = f"mockexport-{VERSION}.data/data"
PARTS = [part.name for part in declared_parts(ROOT)]
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
INCLUDE = re.compile(r'^\s*#\s*include "(.*)"', re.MULTILINE)
NATIVE_WHEEL = pytest.param("native_wheel", marks=pytest.mark.slow)


@pytest.fixture(params=["pure_wheel", NATIVE_WHEEL])
def wheel(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def sbom(wheel: Path) -> Any:
    return json.loads(contents(wheel)[f"{DIST_INFO}/sboms/mockexport.cdx.json"])


@pytest.mark.gate
def test_the_sdist_holds_what_a_wheel_is_built_from_and_nothing_else(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.removeprefix(f"mockexport-{VERSION}/") for name in archive.getnames()}
    sources = {name for name in names if name.startswith("src/")}
    assert names - sources == {"PKG-INFO", "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml"}
    tracked = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert sources >= set(tracked.split())
    assert not [name for name in sources if name.endswith((".so", ".pyc")) or "egg-info" in name]


@pytest.mark.gate
def test_without_a_compiler_the_wheel_is_for_every_platform(pure_wheel: Path) -> None:
    assert pure_wheel.name == f"mockexport-{VERSION}-py3-none-any.whl"
    told = message_from_bytes(contents(pure_wheel)[f"{DIST_INFO}/WHEEL"])
    assert (told["Root-Is-Purelib"], told.get_all("Tag")) == ("true", ["py3-none-any"])


@pytest.mark.slow
def test_with_a_compiler_the_wheel_is_for_all_versions_from_3_11_on(native_wheel: Path) -> None:
    version = f"cp3{sys.version_info.minor}"
    tag = f"{version}-{version}t" if FREE_THREADED else "cp311-abi3"
    assert native_wheel.name.startswith(f"mockexport-{VERSION}-{tag}-")
    compiled = {name.split(".")[0].replace("/", ".") for name in contents(native_wheel) if name.endswith(".so")}
    assert compiled == set(PARTS)


@pytest.mark.gate
def test_a_release_without_a_native_part_fails_and_names_it(project: Path, tmp_path: Path) -> None:
    run = try_to_build("wheel", project, tmp_path, MOCKEXPORT_REQUIRE_NATIVE="1", **NO_COMPILER)
    assert run.returncode != 0
    assert f"error: not compiled: {', '.join(PARTS)}; MOCKEXPORT_REQUIRE_NATIVE=1 makes this an error" in run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gate
def test_the_wheel_holds_the_package_and_neither_c_files_nor_tests(wheel: Path) -> None:
    files = contents(wheel)
    package = {name for name in files if name.startswith("mockexport/")}
    assert package >= {"mockexport/py.typed", "mockexport/__main__.py", "mockexport/tally/_native.pyi"}
    assert package >= {"mockexport/report/style.css", "mockexport/server/page/openapi/vendor/swagger-ui.css.gz"}
    code = {name for name in package if not name.startswith(("mockexport/report/", "mockexport/server/page/"))}
    assert {name.rpartition(".")[2] for name in code} <= {"py", "pyi", "typed", "so", "pyd"}
    assert {name.partition("/")[0] for name in files} == {"mockexport", DIST_INFO, DATA.partition("/")[0]}
    assert files[f"{DIST_INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


@pytest.mark.gate
def test_the_wheel_installs_the_man_page_and_the_completions(wheel: Path) -> None:
    share = ROOT / "src" / "share"
    expected = {
        f"{DATA}/share/{file.relative_to(share)}": file.read_bytes() for file in share.rglob("*") if file.is_file()
    }
    found = {name: content for name, content in contents(wheel).items() if name.startswith(DATA)}
    assert found == expected
    assert len(found) == 4


def test_the_record_has_the_digest_of_each_file(wheel: Path) -> None:
    files = contents(wheel)
    record = {name: digest for name, digest, _ in csv.reader(files[f"{DIST_INFO}/RECORD"].decode().splitlines())}
    assert record.keys() == files.keys()
    for name, content in files.items():
        if not name.endswith("/RECORD"):
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            assert record[name] == f"sha256={digest}"


def test_the_sbom_of_a_pure_wheel_has_nothing_compiled(pure_wheel: Path) -> None:
    document = sbom(pure_wheel)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["purl"] == f"pkg:pypi/mockexport@{VERSION}"
    assert document["components"] == []


@pytest.mark.slow
def test_the_sbom_names_each_native_part_and_the_files_that_it_is_compiled_from(native_wheel: Path) -> None:
    components = sbom(native_wheel)["components"]
    assert [component["name"] for component in components] == PARTS
    for component in components:
        for file in component["components"]:
            digest = hashlib.sha256((ROOT / file["name"]).read_bytes()).hexdigest()
            assert file["hashes"] == [{"alg": "SHA-256", "content": digest}]


@pytest.mark.parametrize("part", declared_parts(ROOT), ids=lambda part: part.name)
def test_each_native_part_lists_the_files_that_it_includes(part: NativePart) -> None:
    """So the SBOM is whole, and a change of any of them compiles the part again."""
    assert set(part.files) >= {str(file.relative_to(ROOT)) for file in included(ROOT / part.files[0], set())}


def included(file: Path, found: set[Path]) -> set[Path]:
    """A C file and all that it includes of ours by name; some also include what a macro names."""
    if file not in found:
        found.add(file)
        for name in INCLUDE.findall(file.read_text(encoding="utf-8")):
            included((file.parent / name).resolve(), found)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("compiler", [NO_COMPILER, {}], ids=["pure", "native"])
def test_another_build_in_another_folder_gives_the_same_bytes(
    sdist: Path, compiler: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    once: Path = request.getfixturevalue("pure_wheel" if compiler else "native_wheel")
    other = unpacked(sdist, tmp_path / "a folder with another name")
    (other / "build" / "lib" / "mockexport").mkdir(parents=True)  # as an earlier build with plain setuptools left it
    (other / "build" / "lib" / "mockexport" / "stale.py").write_text("")
    again = built("wheel", other, tmp_path / "again", **compiler)
    assert (again.name, again.read_bytes()) == (once.name, once.read_bytes())
    sdist_again = built("sdist", other, tmp_path / "sdist")
    assert sdist_again.read_bytes() == sdist.read_bytes()


@pytest.mark.slow
def test_files_in_archives_have_the_time_that_the_environment_says(project: Path, tmp_path: Path) -> None:
    sdist = built("sdist", project, tmp_path, SOURCE_DATE_EPOCH="1700000000")
    with tarfile.open(sdist) as archive:
        assert {entry.mtime for entry in archive} == {1700000000}


@pytest.mark.slow
def test_the_wheel_uses_nothing_but_the_limited_api(native_wheel: Path) -> None:
    if FREE_THREADED:
        pytest.skip("a free-threaded build has no limited API")
    run = subprocess.run(
        [sys.executable, "-m", "abi3audit", "--strict", "--report", native_wheel],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("abi3.so") >= len(PARTS), run.stdout


@pytest.mark.slow
def test_the_index_would_take_wheel_and_sdist(native_wheel: Path, pure_wheel: Path, sdist: Path) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, (native_wheel, pure_wheel, sdist))]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("PASSED") == 3
