"""A wheel as the files that it holds: read, given more of them, and written so that they always make the same bytes."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Wheel", "data_files", "read_wheel", "source_date", "write_wheel"]

OLDEST = 315_532_800  # 1980-01-01: ZIP has no earlier time


@dataclass(frozen=True)
class Wheel:
    """A wheel: its name and version, a tag such as `cp311-abi3-linux_x86_64`, and the bytes of its files by path."""

    distribution: str
    version: str
    tag: str
    files: dict[str, bytes]

    @property
    def dist_info(self) -> str:
        """The folder of the metadata."""
        return f"{self.distribution}-{self.version}.dist-info"

    def with_files(self, added: dict[str, bytes]) -> Wheel:
        """Return the wheel with more files, or others by these names."""
        return replace(self, files=self.files | added)

    def as_pure(self) -> Wheel:
        """Return the wheel for every platform; it must have no compiled file."""
        tag, path = "py3-none-any", f"{self.dist_info}/WHEEL"
        text = self.files[path].decode()
        text = re.sub(r"(?m)^Root-Is-Purelib: .*$", "Root-Is-Purelib: true", text)
        text = re.sub(r"(?m)^Tag: .*$", f"Tag: {tag}", text)
        return replace(self, tag=tag).with_files({path: text.encode()})


def read_wheel(path: Path) -> Wheel:
    """Read a wheel, all of it into memory."""
    distribution, version, tag = path.stem.split("-", 2)
    with ZipFile(path) as archive:
        files = {entry.filename: archive.read(entry) for entry in archive.infolist() if not entry.is_dir()}
    return Wheel(distribution, version, tag, files)


def data_files(folder: Path, wheel: Wheel) -> dict[str, bytes]:
    """Return the files of src/share as data of a wheel: they are installed to share/ of the environment."""
    data = f"{wheel.distribution}-{wheel.version}.data/data"
    return {
        f"{data}/{file.relative_to(folder.parent).as_posix()}": file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def write_wheel(wheel: Wheel, folder: Path) -> str:
    """Write a wheel to a folder, with a new RECORD; return the name of the file."""
    name = f"{wheel.distribution}-{wheel.version}-{wheel.tag}.whl"
    record = f"{wheel.dist_info}/RECORD"
    files = {path: wheel.files[path] for path in sorted(wheel.files, key=_place) if path != record}
    lines = [f"{path},{_digest(content)},{len(content)}\n" for path, content in files.items()]
    files[record] = "".join([*lines, f"{record},,\n"]).encode()
    with ZipFile(folder / name, "w", ZIP_DEFLATED) as archive:
        for path, content in files.items():
            entry = ZipInfo(path, time.gmtime(max(source_date(), OLDEST))[:6])
            entry.create_system = 3  # Unix, so that the permissions count
            entry.external_attr = (stat.S_IFREG | (0o755 if path.endswith(".so") else 0o644)) << 16
            archive.writestr(entry, content, ZIP_DEFLATED)
    return name


def source_date() -> int:
    """Return the time that files in archives get, in seconds since 1970: SOURCE_DATE_EPOCH, or the year 1980."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", OLDEST))


def _place(path: str) -> tuple[bool, str]:
    return ".dist-info/" in path, path  # the metadata comes last, as the specification recommends


def _digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"
