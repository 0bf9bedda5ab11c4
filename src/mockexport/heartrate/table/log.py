"""The log of a Delta table on a local disk: made durable, and repaired after a power loss.

deltalake does not fsync: an entry is durable once it and its folder are fsynced here. The journal records the newest
durable version, so only newer entries and checkpoints are ever in doubt.
"""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl

from mockexport.files import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["drop_torn", "sync_checkpoint", "sync_entry", "sync_file"]

ENTRY = re.compile(r"(\d{20})\.json")
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")
LAST_CHECKPOINT = "_last_checkpoint"

log = logging.getLogger(__name__)


def sync_file(path: Path) -> None:
    """Put a file's content on disk, and let only its owner read it."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        path.chmod(0o600)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_entry(folder: Path, version: int, *, again: bool) -> None:
    """Put a log entry on disk.

    `again` is for the try after a failed fsync: the kernel may have marked the pages clean that it did not write, so
    the entry is first written once more.
    """
    path = folder / f"{version:020}.json"
    if again:
        copy = folder / f".{path.name}.copy"
        copy.write_bytes(path.read_bytes())
        sync_file(copy)
        copy.replace(path)
    else:
        sync_file(path)
    sync_folder(folder)


def sync_checkpoint(folder: Path, version: int) -> None:
    """Put a checkpoint on disk, and the file that names it."""
    sync_file(folder / f"{version:020}.checkpoint.parquet")
    sync_file(folder / LAST_CHECKPOINT)
    sync_folder(folder)


def drop_torn(table: Path, durable: int | None, checkpoint: int | None) -> None:
    """Remove incomplete entries after version `durable`, and all checkpoints after `checkpoint`.

    A power loss may leave these. An entry is complete if it can be read, and so can every file that it adds, except
    those that a later entry removed, which may have been deleted. Entries after an incomplete one are removed, too.
    """
    folder = table / "_delta_log"
    if not folder.is_dir():
        return
    _drop_checkpoints(folder, checkpoint)
    versions = _versions(folder, ENTRY)
    doubtful = [version for version in versions if version > durable] if durable is not None else versions[-1:]
    torn, removed = None, set[str]()
    for version in reversed(doubtful):
        actions = _actions(folder / f"{version:020}.json")
        if actions is None or not _are_whole(table, actions, removed):
            torn = version
        else:
            removed.update(action["remove"]["path"] for action in actions if "remove" in action)
    if torn is None:
        return
    for version in reversed([version for version in doubtful if version >= torn]):
        log.warning("dropping version %d of the table %s: it was not written completely", version, table)
        (folder / f"{version:020}.json").unlink()
        sync_folder(folder)


def _drop_checkpoints(folder: Path, checkpoint: int | None) -> None:
    if checkpoint is None and _versions(folder, ENTRY)[:1] != [0]:
        return  # the journal that recorded it is lost; without the checkpoint the table would be, too
    doubtful = [version for version in _versions(folder, CHECKPOINT) if checkpoint is None or version > checkpoint]
    for version in doubtful:
        (folder / f"{version:020}.checkpoint.parquet").unlink()
    if doubtful or not _is_json(folder / LAST_CHECKPOINT):
        (folder / LAST_CHECKPOINT).unlink(missing_ok=True)  # then the newest one in the folder is used
        sync_folder(folder)


def _versions(folder: Path, pattern: re.Pattern[str]) -> list[int]:
    return sorted(int(match[1]) for path in folder.iterdir() if (match := pattern.fullmatch(path.name)))


def _is_json(path: Path) -> bool:
    try:
        orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return True


def _actions(entry: Path) -> list[dict[str, Any]] | None:
    """Return the actions of an entry, None if it is incomplete."""
    try:
        actions = [orjson.loads(line) for line in entry.read_bytes().splitlines() if line]
    except orjson.JSONDecodeError:
        return None
    return actions if any("commitInfo" in action for action in actions) else None


def _are_whole(table: Path, actions: list[dict[str, Any]], removed: set[str]) -> bool:
    added = [action["add"] for action in actions if "add" in action]
    return all(add["path"] in removed or _is_file_whole(table, add) for add in added)


def _is_file_whole(table: Path, add: dict[str, Any]) -> bool:
    path = table / add["path"]
    try:
        if path.stat().st_size != add["size"]:
            return False
        rows = pl.read_parquet(path, hive_partitioning=False, glob=False).height
        return bool(rows == orjson.loads(add["stats"])["numRecords"])
    except (OSError, pl.exceptions.PolarsError):
        return False
