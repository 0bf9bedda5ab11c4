"""Fetching again: files that may be others by now are fetched again, and a folder never vouches for a mixture."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.sources import EXPORT, HEADER, ROW, MemorySource, csv_body

from mockexport import Download, UntrustedDataError, UsageError, count, fetch
from mockexport.errors import UnreachableError
from mockexport.pipeline import partial_file
from mockexport.pipeline.executors import thread_workers
from mockexport.sources.folder import FolderSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mockexport.source import Chunks

OLD = {name: csv_body(20) for name in "abc"}
NEW = {name: csv_body(20, ROW.replace(b"bp_sys", b"bp_dia")) for name in "abc"}  # as many rows and bytes
OLD_COUNTS, NEW_COUNTS = {"P001": {"bp_sys": 60}}, {"P001": {"bp_dia": 60}}
ONE_AT_A_TIME = partial(thread_workers, jobs=1)


@dataclass
class Version(MemorySource):
    """One version of an export, whose downloads have these ETags; `fails` is one that can't be reached."""

    etags: dict[str, str | None] = field(default_factory=dict)
    opened: list[tuple[str, int]] = field(default_factory=list)
    fails: str | None = None

    def downloads(self, export: str) -> Sequence[Download]:
        return [replace(d, rows=20, etag=self.etags.get(d.id)) for d in super().downloads(export)]

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        self.opened.append((download.id, offset))
        if download.id == self.fails:
            raise UnreachableError("not today")
        return super().open(download, offset)


def version(bodies: dict[str, bytes], etag: str | None, **others: Any) -> Version:
    return Version(bodies, etags=dict.fromkeys(bodies, etag), **others)


def counted(root: Path) -> dict[str, dict[str, int]]:
    return {patient: dict(types) for patient, types in count(FolderSource(root), EXPORT).patients.items()}


def manifest_in(root: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = orjson.loads((root / EXPORT / "manifest.json").read_bytes())
    return manifest


# ---- What is kept ----


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ('"1"', '"2"'),
        (None, None),
        ('W/"1"', 'W/"1"'),
        ('W/"1"', 'W/"2"'),
        (None, '"1"'),
        ('"1"', None),
        ('"1"', 'W/"1"'),
    ],
)
def test_an_export_that_changed_or_may_have_changed_is_fetched_again_as_a_whole(
    tmp_path: Path, before: str | None, now: str | None
) -> None:
    fetch(version(OLD, before), EXPORT, tmp_path)
    assert counted(tmp_path) == OLD_COUNTS
    source = version(NEW, now)
    fetch(source, EXPORT, tmp_path)
    assert sorted(source.opened) == [("a", 0), ("b", 0), ("c", 0)]
    assert counted(tmp_path) == NEW_COUNTS
    assert [entry["etag"] for entry in manifest_in(tmp_path)["downloads"]] == [now] * 3


def test_only_the_downloads_that_changed_are_fetched_again(tmp_path: Path) -> None:
    fetch(version(OLD, '"1"'), EXPORT, tmp_path)
    source = Version({**OLD, "b": NEW["b"]}, etags={"a": '"1"', "b": '"2"', "c": '"1"'})
    fetch(source, EXPORT, tmp_path)
    assert source.opened == [("b", 0)]
    assert counted(tmp_path) == {"P001": {"bp_sys": 40, "bp_dia": 20}}


def test_the_same_etag_of_another_source_names_other_bytes(tmp_path: Path) -> None:
    fetch(version(OLD, '"1"', name="http://one"), EXPORT, tmp_path)
    fetch(version(NEW, '"1"', name="http://two"), EXPORT, tmp_path)
    assert counted(tmp_path) == NEW_COUNTS


@pytest.mark.parametrize("left_out", [("etag",), ("source",), ("etag", "source", "complete")])
def test_what_a_manifest_of_the_former_format_lists_is_fetched_again(tmp_path: Path, left_out: tuple[str, ...]) -> None:
    fetch(version(OLD, '"1"'), EXPORT, tmp_path)
    manifest = manifest_in(tmp_path)
    for fields in (manifest, *manifest["downloads"]):
        for name in left_out:
            fields.pop(name, None)
    (tmp_path / EXPORT / "manifest.json").write_bytes(orjson.dumps(manifest))
    assert counted(tmp_path) == OLD_COUNTS
    fetch(version(NEW, '"1"'), EXPORT, tmp_path)
    assert counted(tmp_path) == NEW_COUNTS


def test_a_file_of_a_folder_that_was_replaced_with_the_same_size_and_time_is_fetched_again(tmp_path: Path) -> None:
    there = tmp_path / "there" / EXPORT
    there.mkdir(parents=True)
    (there / "a.csv").write_bytes(OLD["a"])
    fetch(FolderSource(tmp_path / "there"), EXPORT, tmp_path / "here")
    status = (there / "a.csv").stat()
    (there / ".a.csv").write_bytes(NEW["a"])  # as rsync -t does
    os.utime(there / ".a.csv", ns=(status.st_atime_ns, status.st_mtime_ns))
    (there / ".a.csv").rename(there / "a.csv")
    fetch(FolderSource(tmp_path / "there"), EXPORT, tmp_path / "here")
    assert counted(tmp_path / "here") == {"P001": {"bp_dia": 20}}


@pytest.mark.parametrize(
    ("now", "name", "goes_on"),
    [('"1"', "memory", True), ('"2"', "memory", False), ('W/"1"', "memory", False), (None, "memory", False),
     ('"1"', "other", False)],
)  # fmt: skip
def test_a_part_is_gone_on_with_under_the_same_strong_etag_of_the_same_source_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: str | None, name: str, goes_on: bool
) -> None:
    monkeypatch.setattr(partial_file, "SYNC_BYTES", 100)

    class BreaksOff(Version):
        def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
            del offset
            yield self.bodies[download.id][:500]
            raise UnreachableError("not today")

    with pytest.raises(UnreachableError):
        fetch(BreaksOff({"a": OLD["a"]}, etags={"a": '"1"'}), EXPORT, tmp_path)
    body = OLD["a"] if goes_on else NEW["a"]
    source = Version({"a": body}, etags={"a": now}, name=name)
    fetch(source, EXPORT, tmp_path)
    assert source.opened == [("a", 500 if goes_on else 0)]
    assert (tmp_path / EXPORT / "a.csv").read_bytes() == body
    assert sorted(path.name for path in (tmp_path / EXPORT).iterdir()) == ["a.csv", "manifest.json"]


# ---- Never a mixture ----


@pytest.mark.parametrize("etag", ['"2"', None])
def test_while_a_changed_export_is_fetched_again_its_folder_is_never_counted(tmp_path: Path, etag: str | None) -> None:
    fetch(version(OLD, '"1"'), EXPORT, tmp_path)
    early = FolderSource(tmp_path)
    listed = early.downloads(EXPORT)
    looked: list[str] = []

    class Looks(Version):
        def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
            looked.append(download.id)
            never = r"has not finished; `mockexport downloads fetch` completes it|changed while it was read"
            with pytest.raises(UntrustedDataError, match=never):
                counted(tmp_path)
            return super().open(download, offset)

    fetch(Looks(NEW, etags=dict.fromkeys(NEW, etag)), EXPORT, tmp_path, start_workers=ONE_AT_A_TIME)
    assert len(looked) == 3
    assert counted(tmp_path) == NEW_COUNTS
    for download in listed:  # who had listed the old files before
        with pytest.raises(UntrustedDataError):
            b"".join(early.open(download))


def test_a_fetch_over_a_changed_export_that_failed_is_not_counted_until_it_is_completed(tmp_path: Path) -> None:
    fetch(version(OLD, '"1"'), EXPORT, tmp_path)
    failed = version(NEW, '"2"', fails="b")
    with pytest.raises(UnreachableError):
        fetch(failed, EXPORT, tmp_path, start_workers=ONE_AT_A_TIME)
    assert manifest_in(tmp_path)["complete"] is False
    source = FolderSource(tmp_path)
    for ask in (lambda: source.downloads(EXPORT), lambda: list(source.open(Download(EXPORT, "a")))):
        with pytest.raises(UntrustedDataError, match=f"the fetch into {tmp_path / EXPORT} has not finished"):
            ask()
    again = version(NEW, '"2"')
    fetch(again, EXPORT, tmp_path)
    assert sorted(name for name, _ in again.opened) == ["b", "c"]
    assert counted(tmp_path) == NEW_COUNTS


# ---- One fetch at a time ----


def test_a_second_fetch_into_a_folder_is_refused_and_the_first_takes_no_harm(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="files are locked where the system can")

    class Meets(Version):
        def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
            with pytest.raises(UsageError, match=r"another run is fetching into .*trial; wait for it"):
                fetch(version(OLD, '"1"'), EXPORT, tmp_path)
            return super().open(download, offset)

    fetch(Meets(NEW, etags=dict.fromkeys(NEW, '"2"')), EXPORT, tmp_path)
    assert counted(tmp_path) == NEW_COUNTS
    assert sorted(p.name for p in (tmp_path / EXPORT).iterdir()) == ["a.csv", "b.csv", "c.csv", "manifest.json"]


def test_a_file_that_another_run_finishes_at_that_very_moment_is_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="files are locked where the system can")
    folder = tmp_path / EXPORT
    part, finished = folder / ".a.csv.part", tmp_path / "finished"
    flock = fcntl.flock

    def lock(descriptor: int, operation: int) -> None:
        if part.exists() and not finished.exists():  # opened, and not yet locked
            part.write_bytes(HEADER)
            finished.hardlink_to(part)
            part.rename(folder / "a.csv")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock)
    fetch(Version({"a": NEW["a"]}, etags={"a": '"2"'}), EXPORT, tmp_path)
    assert finished.read_bytes() == HEADER
    assert (folder / "a.csv").read_bytes() == NEW["a"]


def test_a_folder_is_not_fetched_into_itself(tmp_path: Path) -> None:
    (tmp_path / EXPORT).mkdir()
    (tmp_path / EXPORT / "a.csv").write_bytes(OLD["a"])
    with pytest.raises(UsageError, match="is the folder that would be fetched; fetch into another folder"):
        fetch(FolderSource(tmp_path), EXPORT, tmp_path / EXPORT / "..")
    assert [path.name for path in (tmp_path / EXPORT).iterdir()] == ["a.csv"]


# ---- Planted links ----


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("name", [".fetch.lock", "manifest.json", "a.csv", ".a.csv.part", ".a.csv.part.json"])
@pytest.mark.parametrize("exists", [True, False])
def test_no_planted_link_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, exists: bool) -> None:
    monkeypatch.setattr(partial_file, "SYNC_BYTES", 100)
    victim = tmp_path / "victim"
    if exists:
        held = b"precious"
        if name == "manifest.json":  # or it is refused for what it says
            held = orjson.dumps({"export": EXPORT, "downloads": [{"id": "a", "file": "a.csv", "rows": 20}]})
        victim.write_bytes(held)
    folder = tmp_path / "kept" / EXPORT
    folder.mkdir(parents=True)
    (folder / name).symlink_to(victim)
    try:
        fetch(Version({"a": OLD["a"]}, etags={"a": '"1"'}, chunk_bytes=100), EXPORT, tmp_path / "kept")
    except UsageError as refused:
        assert f"cannot write {folder / name}: it is a symbolic link" in str(refused)  # noqa: PT017 - either is right
    else:
        assert (folder / "a.csv").read_bytes() == OLD["a"]
        assert not any(path.is_symlink() for path in folder.iterdir())
    assert victim.read_bytes() == held if exists else not victim.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("make", [pipe, os.mkdir])
@pytest.mark.parametrize("name", [".fetch.lock", "manifest.json", ".a.csv.part", ".a.csv.part.json"])
def test_a_pipe_or_a_folder_in_the_place_of_a_file_is_an_error_or_replaced_and_not_waited_for(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    (tmp_path / EXPORT).mkdir()
    make(tmp_path / EXPORT / name)
    source = Version({"a": OLD["a"]}, etags={"a": '"1"'})
    try:
        fetch(source, EXPORT, tmp_path)
    except (UsageError, UnreachableError, UntrustedDataError) as refused:
        assert str(tmp_path / EXPORT / name) in str(refused)  # noqa: PT017 - either is right
    else:
        assert (tmp_path / EXPORT / "a.csv").read_bytes() == OLD["a"]


# ---- On disk ----


def test_the_folders_that_a_fetch_makes_are_put_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    sync = os.fsync

    def note(descriptor: int) -> None:
        sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    root = tmp_path / "a" / "b"
    fetch(version(OLD, '"1"'), EXPORT, root)
    assert {path.stat().st_ino for path in (tmp_path, tmp_path / "a", root, root / EXPORT)} <= synced
