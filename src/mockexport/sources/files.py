"""FilesSource: one export, made of the files that a path or a pattern names."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING

from mockexport.errors import ChangedError, NotFoundError, UntrustedDataError, no_such
from mockexport.model import Download
from mockexport.place import file_versions
from mockexport.sources.csv_file import read_csv_file, reading
from mockexport.sources.data_files import Ignored, data_id, declared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockexport.source import Chunks

__all__ = ["FilesSource", "is_pattern"]


def is_pattern(text: str) -> bool:
    """Return whether a text is a pattern of file names, as shells have them."""
    return glob.has_magic(text)


class FilesSource:
    """One export: a file, or the files that a pattern such as `data/*.csv` matches, as a shell would.

    The export's id is the file's name without its suffixes, or the name of the folder where the pattern begins. A file
    is taken for records whatever its name is, but hidden ones, and those that `ignore` matches. Raises NotFoundError
    when no file matches.
    """

    def __init__(self, path: Path | str, *, ignore: Sequence[str] = ()) -> None:
        self._given = str(path)
        self._ignore = tuple(ignore)
        self._files: dict[str, Path] = {}  # by their downloads' ids, as they were listed last
        file = Path(path)
        self._is_file = file.exists()
        self._base = file.parent if self._is_file else _base(file)
        self._export = data_id(file.name) if self._is_file else self._base.absolute().name or "files"
        self._find()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the absolute path: another process may have another working directory."""
        return _unpickled, (str(Path(self._given).absolute()), self._ignore)

    @property
    def name(self) -> str:
        """The path or pattern, as the user wrote it."""
        return self._given

    def exports(self) -> list[str]:
        """Return the id of the one export."""
        return [self._export]

    def folder_of(self, export: str) -> Path:  # noqa: ARG002 - there is one
        """Return the folder with the files."""
        return self._base

    @reading()
    def downloads(self, export: str) -> list[Download]:
        """Return a download for each file, by name."""
        if export != self._export:
            raise no_such("export", export, self.name, [self._export])
        files = self._files = self._find()
        versions = file_versions(files.values())
        return [
            Download(export=export, id=name, **declared(file, versions[file], can_be_split=True))
            for name, file in files.items()
        ]

    @reading()
    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        """Stream a file, decompressed, from byte `offset` of the records on."""
        file = self._files.get(download.id)
        if file is None:  # in another process
            self._files = self._find()
            file = self._files.get(download.id)
        if file is None:
            raise ChangedError(f"{self.name} has no file {download.id!r} any more")
        return read_csv_file(file, offset, download.etag)

    def close(self) -> None:
        """Do nothing: nothing is open between calls."""

    def _find(self) -> dict[str, Path]:
        if self._is_file:
            return {data_id(Path(self._given).name): Path(self._given)}
        found = Ignored(self._ignore).of(sorted(map(Path, glob.glob(self._given, recursive=True))))  # noqa: PTH207
        if not found:
            raise NotFoundError(f"no file matches {self._given!r}")
        files: dict[str, Path] = {}
        for file in found:
            name = data_id(file.relative_to(self._base).as_posix())
            if name in files:
                raise UntrustedDataError(f"{file} and {files[name].name} hold the same download; move one away")
            files[name] = file
        return files


def _unpickled(given: str, ignore: tuple[str, ...]) -> FilesSource:
    return FilesSource(given, ignore=ignore)


def _base(pattern: Path) -> Path:
    """Return the folder where a pattern begins: all that stands before its first part with a wildcard."""
    base = pattern
    while is_pattern(str(base)):
        base = base.parent
    return base
