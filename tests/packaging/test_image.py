"""The image: what can be said of it where it cannot be built. tests/packaging/build_image builds it and tries it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from tests.commands import serve_command
from tests.import_graph import ROOT

import mockexport

FILE = ROOT / "docs" / "scale" / "Dockerfile"
SCRIPT = ROOT / "tests" / "packaging" / "build_image"
TEXT = FILE.read_text(encoding="utf-8")
LINES = re.sub(r" *\\\n *", " ", TEXT).splitlines()  # with what is continued on the next line
LAST_STAGE = LINES[max(number for number, line in enumerate(LINES) if line.startswith("FROM ")) :]


def arguments(instruction: str) -> list[str]:
    """The arguments of the instructions of one kind in the last stage, which is the image."""
    return [line.partition(" ")[2] for line in LAST_STAGE if line.startswith(f"{instruction} ")]


def test_the_linter_finds_nothing() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    run = subprocess.run([str(hadolint), "--no-color", str(FILE)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, ""), run.stdout + run.stderr


def test_all_stages_begin_with_one_small_image_pinned_by_its_digest() -> None:
    bases = {line.split()[1] for line in LINES if line.startswith("FROM ")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases.pop())


def test_it_runs_as_a_user_with_a_number_who_is_not_root() -> None:
    assert arguments("USER") == ["10001:10001"]
    assert LAST_STAGE.index("USER 10001:10001") > max(i for i, line in enumerate(LAST_STAGE) if line.startswith("COPY"))


def test_all_packages_are_installed_by_their_hashes_and_the_native_parts_are_there() -> None:
    (install,) = (line for line in LINES if "pip install" in line)
    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
    assert "MOCKEXPORT_KERNEL=native /opt/mockexport/bin/mockexport --version" in install  # fails without them


def test_the_script_builds_the_image_that_the_configurations_name() -> None:
    script = SCRIPT.read_text(encoding="utf-8")
    assert f"registry.example/mockexport:{mockexport.__version__}" in TEXT
    assert "image=registry.example/mockexport:$(" in script
    assert "--extra cluster" in script
    assert "docs/scale/Dockerfile" in script


@pytest.mark.gate
def test_the_health_check_passes_while_the_server_answers_and_fails_without_it() -> None:
    (told,) = arguments("HEALTHCHECK")
    _, script = json.loads(told.partition("CMD ")[2])[1:]
    assert json.loads(arguments("CMD")[0])[:2] == ["mockexport", "serve"]
    with serve_command(program=(sys.executable, "-m", "mockexport")) as server:
        check = [sys.executable, "-c", script.replace(":8000", f":{server.port}")]
        assert subprocess.run(check, capture_output=True, check=False).returncode == 0
        server.kill()
        assert subprocess.run(check, capture_output=True, check=False).returncode != 0
