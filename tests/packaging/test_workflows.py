"""The workflows: they do what a release needs, by least permissions, with actions that are pinned by hash."""

from __future__ import annotations

import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from tests.import_graph import ROOT

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.iterdir())
SCRIPTS = Path(sysconfig.get_path("scripts"))
USES = re.compile(r"^\s*(?:- )?uses: (.*)$", re.MULTILINE)
PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def workflow(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


RELEASE = workflow("release.yml")["jobs"]


def commands(job: Any) -> str:
    return "\n".join(step.get("run", "") for step in job["steps"])


def test_the_linter_finds_nothing() -> None:
    command = [str(SCRIPTS / "zizmor"), "--offline", "--no-config", "--persona=pedantic", str(FOLDER)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_action_is_pinned_by_its_hash_with_the_version_beside_it(file: Path) -> None:
    used = USES.findall(file.read_text(encoding="utf-8"))
    assert used
    assert [action for action in used if not PINNED.fullmatch(action)] == []


def test_all_workflows_use_the_same_version_of_an_action() -> None:
    used = {action for file in FILES for action in USES.findall(file.read_text(encoding="utf-8"))}
    names = [action.partition("@")[0] for action in used]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_job_has_the_permissions_that_it_needs_and_an_end(file: Path) -> None:
    parsed = workflow(file.name)
    assert parsed["permissions"] == {}
    more = {("release.yml", "attest"): {"id-token": "write", "attestations": "write"}}
    for name, job in parsed["jobs"].items():
        expected = {"contents": "read"} | more.get((file.name, name), {})
        if (file.name, name) == ("release.yml", "publish"):
            expected = {"id-token": "write"}
        assert job["permissions"] == expected, name
        assert job["timeout-minutes"] <= 60, name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_scripts_that_they_run_are_there(file: Path) -> None:
    for job in workflow(file.name)["jobs"].values():
        for script in re.findall(r"^((?:\.ci|tests)/\S+)", commands(job), re.MULTILINE):
            assert (ROOT / script).stat().st_mode & 0o100, script


def test_nothing_is_published_before_all_is_checked_built_and_attested() -> None:
    needs = {name: job.get("needs", []) for name, job in RELEASE.items()}
    assert needs == {
        "check": [], "sdist": "check", "wheels": "check", "attest": ["sdist", "wheels"], "publish": "attest",
    }  # fmt: skip
    assert ".ci/run" in commands(RELEASE["check"])
    assert RELEASE["publish"]["environment"]["name"] == "pypi"
    assert not commands(RELEASE["publish"]).strip()  # the job that may publish runs nothing of ours


@pytest.mark.parametrize(
    ("tag", "changelog", "passes"),
    [("v1.2.3", "## [1.2.3]", True), ("v1.2.4", "## [1.2.3]", False), ("v1.2.3", "## [Unreleased]", False)],
)
def test_a_tag_that_does_not_name_the_version_is_refused(
    tag: str, changelog: str, passes: bool, tmp_path: Path
) -> None:
    (script,) = (step["run"] for step in RELEASE["check"]["steps"] if "tag names the version" in step.get("name", ""))
    version = tmp_path / "src" / "mockexport" / "_version.py"
    version.parent.mkdir(parents=True)
    version.write_text('"""The version."""\n\n__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{changelog}\n")
    run = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env={"GITHUB_REF_NAME": tag}, check=False)
    assert (run.returncode == 0) is passes


def identifiers(platform: str) -> set[str]:
    """What cibuildwheel builds and tests on a platform by pyproject.toml; it refuses options that it does not know."""
    command = [str(SCRIPTS / "cibuildwheel"), "--platform", platform, "--print-build-identifiers", str(ROOT)]
    return set(subprocess.check_output(command, text=True).split())


@pytest.mark.gate
@pytest.mark.parametrize(
    ("platform", "systems"),
    [
        ("linux", {"manylinux_x86_64", "manylinux_aarch64", "musllinux_x86_64", "musllinux_aarch64"}),
        ("macos", {"macosx_x86_64", "macosx_arm64"}),
        ("windows", {"win_amd64"}),
    ],
)
def test_wheels_are_built_and_tested_for_each_platform_with_each_python(platform: str, systems: set[str]) -> None:
    pythons = ("cp311", "cp312", "cp313", "cp314", "cp314t")
    assert identifiers(platform) == {f"{python}-{system}" for python in pythons for system in systems}


def test_each_architecture_has_a_machine_of_its_own() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["cibuildwheel"]
    declared = [arch for platform in ("linux", "macos", "windows") for arch in settings[platform]["archs"]]
    machines = RELEASE["wheels"]["strategy"]["matrix"]["include"]
    assert sorted(machine["archs"] for machine in machines) == sorted(declared)
    assert settings["environment"] == {"MOCKEXPORT_REQUIRE_NATIVE": "1"}
