"""The project built as people build it: by a frontend, from the sdist, with no network."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING
from zipfile import ZipFile

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NO_COMPILER", "built", "contents", "try_to_build", "unpacked"]

NO_COMPILER = {"CC": "false", "CXX": "false"}
NOWHERE = "http://127.0.0.1:9"
PROXIES = {"http_proxy": NOWHERE, "https_proxy": NOWHERE, "PIP_NO_INDEX": "1"}


def try_to_build(kind: str, source: Path, folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Build `wheel` or `sdist` into a folder, with what is installed here."""
    return subprocess.run(
        [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(folder), str(source)],
        env={**os.environ, **PROXIES, **changes},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def built(kind: str, source: Path, folder: Path, **changes: str) -> Path:
    """Build, and return the one file that was built."""
    run = try_to_build(kind, source, folder, **changes)
    assert run.returncode == 0, run.stdout + run.stderr
    (file,) = folder.iterdir()
    return file


def unpacked(sdist: Path, folder: Path) -> Path:
    """Unpack an sdist below a folder; return the folder of the project."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (project,) = folder.iterdir()
    return project


def contents(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel."""
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
