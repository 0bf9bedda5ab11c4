"""What the tests of wheels build once: an sdist of this project, and wheels from it, with and without native parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.import_graph import ROOT
from tests.packaging.building import NO_COMPILER, built, unpacked

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def project(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sdist."""
    return unpacked(sdist, tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def pure_wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", project, tmp_path_factory.mktemp("pure"), **NO_COMPILER)


@pytest.fixture(scope="session")
def native_wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", project, tmp_path_factory.mktemp("native"), MOCKEXPORT_REQUIRE_NATIVE="1")
