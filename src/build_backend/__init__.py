"""How the wheel and the sdist of mockexport are built. pyproject.toml names this package as the build backend.

setuptools compiles and collects; these hooks (PEP 517) settle what it leaves open:

- On ordinary CPython the wheel is for all versions from 3.11 on (cp311-abi3). A free-threaded build gets its own.
- Where no compiler is, the wheel is pure (py3-none-any). If MOCKEXPORT_REQUIRE_NATIVE is 1, that is an error instead.
- The wheel holds an SBOM (PEP 770), and the man page and the completions below src/share.
- The same source gives the same bytes, wherever it lies.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from build_backend.extensions import FREE_THREADED, absent_parts, declared_parts
from build_backend.sdist import write_sdist
from build_backend.wheel import Wheel, data_files, read_wheel, write_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

REQUIRE_NATIVE = "MOCKEXPORT_REQUIRE_NATIVE"
ABI3 = "cp311"  # the oldest version that the wheel is for; Py_LIMITED_API in the C code is the same


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel in a folder, and return the name of the file."""
    root = Path.cwd()
    with TemporaryDirectory() as work, _setuptools_configured(Path(work)):
        name = build_meta.build_wheel(work, config_settings, metadata_directory)
        wheel = read_wheel(Path(work, name))
    parts = declared_parts(root)
    absent = absent_parts(parts, wheel.files)
    if absent and os.environ.get(REQUIRE_NATIVE) == "1":
        raise SystemExit(f"error: not compiled: {', '.join(absent)}; {REQUIRE_NATIVE}=1 makes this an error")
    if len(absent) == len(parts):
        wheel = wheel.as_pure()
    return write_wheel(_with_extra_files(wheel, root, absent), Path(wheel_directory))


def build_sdist(sdist_directory: str, config_settings: dict[str, Any] | None = None) -> str:
    """Build the sdist in a folder, and return the name of the file."""
    with TemporaryDirectory() as work:
        dist_info = prepare_metadata_for_build_wheel(work, config_settings)
        metadata = Path(work, dist_info, "METADATA").read_bytes()
    return write_sdist(Path.cwd(), dist_info.removesuffix(".dist-info"), metadata, Path(sdist_directory))


def _with_extra_files(wheel: Wheel, root: Path, absent: list[str]) -> Wheel:
    from build_backend.sbom import sbom_text

    parts = [part for part in declared_parts(root) if part.name not in absent]
    sbom = {f"{wheel.dist_info}/sboms/mockexport.cdx.json": sbom_text(root, wheel.version, parts).encode()}
    return wheel.with_files(sbom | data_files(root / "src" / "share", wheel))


@contextmanager
def _setuptools_configured(work: Path) -> Iterator[None]:
    """Have setuptools build in a folder of its own: in build/, files of earlier builds would get into the wheel."""
    lines = ["[build]", f"build_base = {work / 'build'}"]
    if not FREE_THREADED:
        lines += ["[bdist_wheel]", f"py_limited_api = {ABI3}"]
    config = work / "setuptools.cfg"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    before = os.environ.get("DIST_EXTRA_CONFIG")
    os.environ["DIST_EXTRA_CONFIG"] = str(config)
    try:
        yield
    finally:
        del os.environ["DIST_EXTRA_CONFIG"]
        if before is not None:
            os.environ["DIST_EXTRA_CONFIG"] = before
