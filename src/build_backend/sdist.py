"""The sdist: what the wheel is built from, packed so that the same files make the same bytes."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import TYPE_CHECKING

from build_backend.wheel import source_date

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["write_sdist"]

AT_THE_TOP = ("CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml")
BUILT = {".so", ".pyd", ".pyc", ".o"}


def write_sdist(root: Path, base: str, metadata: bytes, folder: Path) -> str:
    """Write `BASE.tar.gz` to a folder, with the metadata as PKG-INFO; return the name of the file."""
    name = f"{base}.tar.gz"
    with (
        (folder / name).open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=source_date()) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add(archive, f"{base}/PKG-INFO", metadata)
        for path in sorted(_sources(root)):
            _add(archive, f"{base}/{path.relative_to(root).as_posix()}", path.read_bytes())
    return name


def _sources(root: Path) -> Iterator[Path]:
    yield from (root / name for name in AT_THE_TOP)
    for path in (root / "src").rglob("*"):
        parts = path.relative_to(root).parts
        is_built = path.suffix in BUILT or any(part.endswith((".egg-info", "__pycache__")) for part in parts)
        if path.is_file() and not is_built and not path.name.startswith("."):
            yield path


def _add(archive: tarfile.TarFile, path: str, content: bytes) -> None:
    entry = tarfile.TarInfo(path)  # with mode 644, and no user
    entry.size, entry.mtime = len(content), source_date()
    archive.addfile(entry, io.BytesIO(content))
