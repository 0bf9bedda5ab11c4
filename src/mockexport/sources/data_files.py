"""Files of records: which ones of a folder are counted, what each is called, and which ones are known to be no data.

Nothing in a folder is left out in silence: what is neither data nor known, nor ignored by the user, is an error.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mockexport.errors import Remedy, UnreachableError, UntrustedDataError
from mockexport.manifest import MANIFEST
from mockexport.place import RemotePlace
from mockexport.sources.parquet import is_parquet, rows_of
from mockexport.sources.zstd_frames import zstd_frames
from mockexport.sources.zstd_table import find_table

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from mockexport.place import OpenFile, Place, Version
    from mockexport.sources.zstd_frames import Frames

__all__ = ["Ignored", "compression", "data_format", "data_id", "declared", "is_data", "uncompressed"]

P = TypeVar("P", bound="Place")

SPLIT_BYTES = 1 << 26
STORE_SPLIT_BYTES = 1 << 27  # what is requested beyond the end of a split is little beside it
LOOKED_AT_BYTES = 1 << 25  # of a zstd object in a store: a smaller one is not worth a request for where its frames are
FORMATS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".ndjson": "ndjson", ".parquet": "csv"}  # as they are read
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
KNOWN_FILES = (MANIFEST, "log.ndjson", "*.log", "readme", "readme.*", "_success")
CHECKSUMS = ("*.md5", "*.sha1", "*.sha256", "*.sha512", "md5sum*", "sha1sum*", "sha256sum*", "sha512sum*")
KNOWN_FOLDERS = ("deleted", "error", "attachments")  # beside the files that a client of FHIR Bulk Data keeps
RUN_MARK = ".metadata"  # in the folder of each run of smart-fetch


def compression(name: str) -> str | None:
    """Return the suffix of a compressed file, in lower case; None for a plain one."""
    lower = name.lower()
    return next((suffix for suffix in COMPRESSIONS if lower.endswith(suffix)), None)


def data_id(name: str) -> str:
    """Return the id of the download that a file holds: its name without the suffixes of its format."""
    stem = uncompressed(name)
    return stem[: -len(_suffix(stem) or "") or None] or name


def data_format(name: str, otherwise: str = "csv") -> str:
    """Return the format of a file of records, by its suffix in any case; `otherwise` without a known one."""
    suffix = _suffix(uncompressed(name))
    return FORMATS[suffix] if suffix else otherwise


def is_data(name: str) -> bool:
    """Return whether the files of that name in a folder are counted: by their suffix, in any case, and not hidden."""
    return not name.startswith(".") and _suffix(uncompressed(name)) is not None


def uncompressed(name: str) -> str:
    """Return the name of a file without the suffix of its compression."""
    return name[: -len(compression(name) or "") or None]


def _suffix(stem: str) -> str | None:
    return next((suffix for suffix in FORMATS if stem.lower().endswith(suffix)), None)


@dataclass(frozen=True, slots=True)
class Ignored:
    """What is left out of a folder: hidden files, those that are known to be no data, and the user's own patterns."""

    patterns: tuple[str, ...] = ()

    def __call__(self, path: Place) -> bool:
        """Return whether a file or folder is left out."""
        name = path.name
        if name.startswith(".") or any(fnmatchcase(name, pattern) for pattern in self.patterns):
            return True
        known = KNOWN_FOLDERS if path.is_dir() else (*KNOWN_FILES, *CHECKSUMS)
        return any(fnmatchcase(name.lower(), pattern) for pattern in known)

    def data_in(self, folder: P, named: Container[str] = ()) -> list[P]:
        """Return the files of records in a folder, by name.

        `named` are more of them, whatever their suffixes, by their names without the suffix of a compression. Raises
        UntrustedDataError for anything else that is not left out, and OSError.
        """
        runs = self.runs_in(folder)
        return [
            path
            for path in sorted(folder.iterdir())
            if not self(path) and path.name not in runs and _checked(path, named)
        ]

    def runs_in(self, folder: Place) -> set[str]:
        """Return the subfolders that are runs of the export in a folder, as smart-fetch leaves them, and no exports.

        The export's own files are symbolic links into them. A run that a later one replaced has no links any more.
        """
        if not isinstance(folder, Path):  # a store has no links
            return set()
        with os.scandir(folder) as scan:
            entries = list(scan)  # unlike those of Path.iterdir, they know whether they are links
        links = [entry.path for entry in entries if entry.is_symlink() and is_data(entry.name)]
        links = [link for link in links if not self(Path(link))]
        real = Path(os.path.realpath(folder))
        runs = set()
        for target in {os.path.dirname(os.path.join(folder, os.readlink(link))) for link in links}:  # noqa: PTH115, PTH118, PTH120
            led = Path(os.path.realpath(target))
            if led != real and led.is_relative_to(real):
                runs.add(led.relative_to(real).parts[0])
        if runs:
            runs |= {
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and Path(entry, RUN_MARK).is_file()
            }
        return runs

    def of(self, paths: Iterable[Path]) -> list[Path]:
        """Return the files that a pattern found, whatever their names. Raises UntrustedDataError for a folder."""
        return [path for path in paths if not self(path) and not _is_folder(path) and _leads_to_file(path)]


def _checked(path: Place, named: Container[str]) -> bool:
    if (
        not _is_folder(path)
        and _leads_to_file(path)
        and not is_data(path.name)
        and uncompressed(path.name) not in named
    ):
        raise UntrustedDataError(
            f"{path} would not be counted: it is not a .csv, .tsv, .txt, .ndjson or .parquet file, plain or compressed",
            remedy=Remedy.IGNORE,
        )
    return True


def _is_folder(path: Place) -> bool:
    if path.is_dir():
        raise UntrustedDataError(f"{path} is a folder within an export, and would not be counted", remedy=Remedy.IGNORE)
    return False


def _leads_to_file(path: Place) -> bool:
    if isinstance(path, Path) and path.is_symlink() and not path.exists():
        raise UnreachableError(
            f"cannot read {path}: it is a link to {path.readlink()}, which is not there; restore it, or remove the link"
        )
    return True


def declared(path: Place, version: Version | None, *, can_be_split: bool, otherwise: str = "csv") -> dict[str, Any]:
    """Return what the file itself tells: its format, its ETag, and the size of its text where that is known.

    A file that is being written just now has no ETag and no size. One that need not be read from its start can be
    split: one that is not to be hashed, and is plain, or Zstandard of several frames that tell their sizes. `otherwise`
    is the format of a file whose suffix does not tell.
    """
    known: dict[str, Any] = {"format": data_format(path.name, otherwise)}
    if version is None:
        return known
    known |= {"etag": version.etag}
    if is_parquet(path.name):
        return known | {"rows": rows_of(path)}
    can_be_split = can_be_split and version.etag is not None
    suffix = compression(path.name)
    if suffix is None:
        split_bytes = SPLIT_BYTES if isinstance(path, Path) else STORE_SPLIT_BYTES
        return {**known, "size": version.size, "split_size": split_bytes if can_be_split else None}
    if suffix != ".zst" or not can_be_split or not version.etag:
        return known
    if isinstance(path, RemotePlace):
        frames, split_bytes = _frames_in_store(path, version), STORE_SPLIT_BYTES
    else:
        frames, split_bytes = zstd_frames(path, version.etag), SPLIT_BYTES
    if frames is None:
        return known
    return {**known, "size": frames.size, "split_size": max(split_bytes, frames.largest)}


def zstd_table(path: Place, file: OpenFile) -> Frames | None:
    """Return what the seek table of an object in a store tells of its frames; None for any other file."""
    if compression(path.name) != ".zst" or not isinstance(path, RemotePlace):
        return None
    return find_table(file, path.version().size)


def _frames_in_store(path: RemotePlace, version: Version) -> Frames | None:
    if version.size < LOOKED_AT_BYTES:
        return None
    with path.open_file(version.etag) as file:
        return find_table(file, version.size)
