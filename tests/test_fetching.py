"""Keeping an export's files in a folder: whole or not at all, resumable, and never outside of it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.bodies import COUNTS_OF_SOUND, PLAIN
from tests.sources import HEADER, ROW, WAIT_SECONDS, MemorySource, NamedSource, csv_body

from mockexport import (
    ChangedError,
    Download,
    Fetched,
    MockExportError,
    NotFoundError,
    NotResumableError,
    UnreachableError,
    UntrustedDataError,
    UsageError,
    count,
    fetch,
)
from mockexport.pipeline.executors import process_workers, thread_workers
from mockexport.sources.folder import FolderSource
from mockexport.sources.mock import MockSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.scripted_http import ScriptedServer

    from mockexport.pipeline.executors import StartWorkers
    from mockexport.pipeline.progress import ProgressCounters
    from mockexport.pipeline.splits import Split
    from mockexport.source import CancelToken, Chunks
    from mockexport.sources.http import HttpSource

BODIES = {"a": PLAIN, "b": csv_body(7), "c": csv_body(900)}
ROWS = {"a": 3, "b": 7, "c": 900}


@dataclass
class SpySource(NamedSource):
    """Remembers which downloads were opened."""

    opened: list[str] = field(default_factory=list)

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        self.opened.append(download.id)
        return super().open(download, offset)


def spy(**changed: bytes) -> SpySource:
    return SpySource({**BODIES, **changed}, rows=ROWS)


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def manifest_in(folder: Path) -> dict[str, Any]:
    return {entry["id"]: entry for entry in orjson.loads((folder / "manifest.json").read_bytes())["downloads"]}


def finished_in(folder: Path) -> list[str]:
    return sorted(name for name, entry in manifest_in(folder).items() if entry["sha256"])


# ---- Whole ----


@pytest.mark.parametrize("start_workers", [thread_workers, process_workers])
def test_demo_is_kept_byte_for_byte_with_a_manifest_that_says_so(
    tmp_path: Path, kernel: str, golden: Any, start_workers: StartWorkers
) -> None:
    expected = list(golden["demo"]["downloads"].values())
    source = MockSource(kernel)
    fetched = fetch(source, "demo", tmp_path, kernel=kernel, start_workers=start_workers)
    assert fetched == [Fetched(d["id"], f"{d['id']}.csv", d["rows"], d["bytes"], d["sha256"]) for d in expected]
    manifest = manifest_in(tmp_path / "demo")
    for download in expected:
        held = (tmp_path / "demo" / f"{download['id']}.csv").read_bytes()
        assert hashlib.sha256(held).hexdigest() == download["sha256"]
        declared = {key: download[key] for key in ("id", "rows", "patients", "event_types", "start_time", "end_time")}
        kept = {"etag": f"mock-{download['id']}", "file": f"{download['id']}.csv", "sha256": download["sha256"]}
        assert manifest[download["id"]] == {**declared, **kept}
    assert names_in(tmp_path) == sorted(["demo", "demo/manifest.json", *(f"demo/{f.file}" for f in fetched)])


def test_the_folder_is_a_source_that_declares_and_counts_the_same(tmp_path: Path, kernel: str) -> None:
    source = MockSource(kernel)
    fetch(source, "demo", tmp_path, kernel=kernel)
    kept = FolderSource(tmp_path)
    assert kept.exports() == ["demo"]
    for there, here in zip(source.downloads("demo"), kept.downloads("demo"), strict=True):
        names = ("id", "rows", "event_types", "patients", "start_time", "end_time")
        assert [getattr(there, name) for name in names] == [getattr(here, name) for name in names]
    assert count(kept, "demo", kernel=kernel) == count(source, "demo", kernel=kernel)


def test_what_a_server_sends_is_kept_too(tmp_path: Path, http_server: ScriptedServer, http_source: HttpSource) -> None:
    http_server.has("trial", {"a": b"HTTP/1.0 200 OK\r\n\r\n" + PLAIN}, rows={"a": 3})
    fetch(http_source, "trial", tmp_path)
    assert count(FolderSource(tmp_path), "trial").patients == COUNTS_OF_SOUND


def test_malformed_rows_are_kept_as_they_are_and_are_rows(tmp_path: Path) -> None:
    body = HEADER + ROW + b"P001\n\xff\xfe,,,,\n"
    (fetched,) = fetch(MemorySource({"a": body}, rows={"a": 3}), "trial", tmp_path)
    assert (fetched.rows, fetched.bytes) == (3, len(body))
    assert (tmp_path / "trial" / "a.csv").read_bytes() == body


def test_progress_ends_exact(tmp_path: Path) -> None:
    for _ in ("fetched", "kept"):
        told: list[tuple[int, int, int]] = []

        def on_progress(
            _downloads: Sequence[Download | Split], counters: ProgressCounters, told: list[Any] = told
        ) -> None:
            told.append((counters.rows(), counters.bytes(), counters.finished()))

        fetch(spy(), "trial", tmp_path, on_progress=on_progress)
        assert told[-1] == (910, sum(map(len, BODIES.values())), 3)


# ---- Again ----


def test_what_is_finished_is_kept_and_not_opened_again(tmp_path: Path) -> None:
    first = fetch(spy(), "trial", tmp_path)
    before = {name: (tmp_path / name).stat().st_ino for name in names_in(tmp_path) if name.endswith(".csv")}
    source = spy()
    assert fetch(source, "trial", tmp_path) == first
    assert source.opened == []
    assert {name: (tmp_path / name).stat().st_ino for name in before} == before


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"bp_sys", b"bp_dia", 1))


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + ROW)


def no_longer_csv(path: Path) -> None:
    path.write_bytes(b"\0" * (2 << 20))


@pytest.mark.parametrize("change", [damaged, longer, no_longer_csv, Path.unlink])
def test_a_file_that_is_not_what_it_was_is_fetched_again(tmp_path: Path, change: Callable[[Path], None]) -> None:
    first = fetch(spy(), "trial", tmp_path)
    change(tmp_path / "trial" / "b.csv")
    with pytest.raises(UntrustedDataError):
        count(FolderSource(tmp_path), "trial")
    source = spy()
    assert fetch(source, "trial", tmp_path) == first
    assert source.opened == ["b"]
    assert count(FolderSource(tmp_path), "trial") == count(spy(), "trial")


def test_a_fetch_that_failed_leaves_what_was_finished_and_is_completed_by_the_next(tmp_path: Path) -> None:
    cut_short = spy(a=csv_body(2))
    with pytest.raises(UntrustedDataError, match="'a' of export 'trial' declares 3 rows but holds 2"):
        fetch(cut_short, "trial", tmp_path, start_workers=partial(thread_workers, jobs=1))
    assert cut_short.opened == ["c", "b", "a", "a"]  # the largest first, and what is wrong once more
    assert names_in(tmp_path / "trial") == ["b.csv", "c.csv", "manifest.json"]
    assert finished_in(tmp_path / "trial") == ["b", "c"]
    with pytest.raises(UntrustedDataError, match=r"fetch into .*trial has not finished; .*fetch. completes it"):
        count(FolderSource(tmp_path), "trial")
    source = spy()
    fetch(source, "trial", tmp_path)
    assert source.opened == ["a"]
    assert count(FolderSource(tmp_path), "trial") == count(spy(), "trial")


def test_ctrl_c_leaves_what_was_finished_and_what_was_begun_to_its_last_byte(
    tmp_path: Path, eventually: Callable[..., None]
) -> None:
    class Endless(SpySource):
        def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
            yield from super().open(download, offset)
            while download.id == "b":
                yield b""

    def interrupt(_downloads: Sequence[Download | Split], counters: ProgressCounters) -> None:
        if counters.finished() == 2 and finished_in(tmp_path / "trial") == ["a", "c"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(
            Endless(BODIES), "trial", tmp_path, start_workers=partial(thread_workers, jobs=3), on_progress=interrupt
        )  # fmt: skip
    begun = [".b.csv.part", ".b.csv.part.json"]
    eventually(lambda: names_in(tmp_path / "trial") == [*begun, "a.csv", "c.csv", "manifest.json"])
    source = SpySource(BODIES)
    fetch(source, "trial", tmp_path)
    assert source.places == [("b", len(BODIES["b"]))]
    assert (tmp_path / "trial" / "b.csv").read_bytes() == BODIES["b"]


# ---- Refused ----


@pytest.mark.parametrize(
    "body", [csv_body(8), csv_body(6), b"", b"<html></html>\n", HEADER + b"x" * (2 << 20), HEADER[:-3]]
)
def test_a_download_that_is_not_what_was_declared_gets_no_file(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(UntrustedDataError, match="download 'b' of export 'trial'"):
        fetch(spy(b=body), "trial", tmp_path)
    assert not [name for name in names_in(tmp_path / "trial") if "b.csv" in name]


HOSTILE_IDS = ["../../x", "..", ".", "a/b", "/tmp/x", "", ".hidden", "con\x00", "a\\b", "a\nb", "é", "x" * 200]


@pytest.mark.parametrize("name", HOSTILE_IDS)
def test_an_id_that_can_be_no_file_name_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    root = tmp_path / "deep" / "root"
    root.mkdir(parents=True)
    before = names_in(tmp_path)
    source = SpySource({"a": PLAIN, name: PLAIN})
    with pytest.raises(UntrustedDataError, match="cannot be a file name, so nothing was fetched") as failed:
        fetch(source, "trial", root)
    assert str(failed.value).isprintable()
    assert source.opened == []
    assert names_in(tmp_path) == before


@pytest.mark.parametrize("name", [name for name in HOSTILE_IDS if name != "a/b"] + ["a/../b", "a//b", "a/b/c", "a/"])
def test_so_is_such_an_id_of_an_export(tmp_path: Path, name: str) -> None:
    class AnyExport(MemorySource):
        def downloads(self, export: str) -> Sequence[Download]:
            return [Download(export, "a")]

    root = tmp_path / "deep" / "root"
    root.mkdir(parents=True)
    before = names_in(tmp_path)
    with pytest.raises(UntrustedDataError, match="cannot be a file name"):
        fetch(AnyExport({"a": PLAIN}), name, root)
    assert names_in(tmp_path) == before


@pytest.mark.parametrize(
    "other",
    [
        MemorySource({"x": PLAIN}),
        MemorySource({**BODIES, "d": PLAIN}, rows=ROWS),
        MemorySource({"a": PLAIN, "b": BODIES["b"]}, rows=ROWS),
        MemorySource(BODIES, rows={**ROWS, "b": 8}),
        MemorySource(dict(reversed(BODIES.items())), rows=ROWS),
    ],
)
def test_another_export_of_the_same_name_is_refused_and_the_first_one_stays(
    tmp_path: Path, other: MemorySource
) -> None:
    fetch(spy(), "trial", tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in names_in(tmp_path / ".") if "." in name}
    with pytest.raises(UsageError, match="holds another export of this name; fetch into another folder"):
        fetch(other, "trial", tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_a_manifest_that_makes_no_sense_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "manifest.json").write_bytes(b"precious")
    with pytest.raises(UntrustedDataError, match=r"manifest\.json is not valid JSON"):
        fetch(spy(), "trial", tmp_path)
    assert (tmp_path / "trial" / "manifest.json").read_bytes() == b"precious"


def test_an_unknown_or_empty_export_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no export 'other'"):
        fetch(spy(), "other", tmp_path)
    with pytest.raises(NotFoundError, match="nothing to fetch"):
        fetch(MemorySource({}), "trial", tmp_path)
    assert names_in(tmp_path) == []


# ---- Places that can't be written ----


def test_a_folder_that_can_not_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(UsageError, match="cannot make the folder"):
            fetch(spy(), "trial", root)


def test_a_folder_where_a_file_should_go_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "trial" / "b.csv").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"cannot write .*b\.csv.*: Is a directory"):
        fetch(spy(), "trial", tmp_path)
    assert "trial/.b.csv.part" not in names_in(tmp_path)


FULL_DISK = """
import resource, sys
from pathlib import Path
from mockexport import UsageError, fetch
from tests.test_fetching import spy
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    fetch(spy(), "trial", Path(sys.argv[1]))
except UsageError as error:
    print(error)
"""


@pytest.mark.gate
def test_a_full_disk_is_a_usage_error_and_leaves_no_half_written_file(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", FULL_DISK, str(tmp_path)]
    here = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=here)
    assert "c.csv: File too large; free some space, or fetch into another folder" in done.stdout
    assert not [name for name in names_in(tmp_path / "trial") if "c.csv" in name]


# ---- Broken off ----


@dataclass
class BrokenOffSource(NamedSource):
    """Gives a part of each body; then waits until it is cancelled, and fails with whatever comes of that."""

    error: Exception = field(default_factory=lambda: UnreachableError("closed"))

    def open(
        self, download: Download, offset: int = 0, *, cancel: CancelToken | None = None, **_watch: object
    ) -> Chunks:
        assert cancel
        yield self.bodies[download.id][offset:1000]
        ended = threading.Event()
        with cancel.on_cancel(ended.set):
            assert ended.wait(WAIT_SECONDS)
        raise self.error


@pytest.mark.parametrize("error", [UnreachableError, UntrustedDataError, NotResumableError, ChangedError])
def test_what_was_fetched_before_ctrl_c_is_kept_whatever_error_comes_of_it(
    tmp_path: Path, error: type[MockExportError]
) -> None:
    def interrupt(_parts: object, counters: ProgressCounters) -> None:
        if counters.rows(0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(BrokenOffSource({"c": BODIES["c"]}, error=error("broken off")), "trial", tmp_path, on_progress=interrupt)
    kept = orjson.loads((tmp_path / "trial" / ".c.csv.part.json").read_bytes())
    assert kept["bytes"] == 1000
