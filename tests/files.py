"""CSV files in the folder of an export: how they are packed, and how they are read."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from mockexport import Download
from mockexport.sources.folder import FolderSource
from mockexport.zstd import zstd_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

zstd = zstd_module()


def zstd_frame(body: bytes) -> bytes:
    packed: bytes = zstd.compress(body, options={zstd.CompressionParameter.checksum_flag: 1})
    return packed


PACK: dict[str, Callable[[bytes], bytes]] = {".csv": bytes, ".csv.gz": gzip.compress, ".csv.zst": zstd_frame}


def source_of(export_folder: Path) -> FolderSource:
    """The source in which this folder is an export."""
    return FolderSource(export_folder.parent)


def read(export_folder: Path, offset: int = 0, download: str = "a") -> bytes:
    return b"".join(source_of(export_folder).open(Download(export_folder.name, download), offset))
