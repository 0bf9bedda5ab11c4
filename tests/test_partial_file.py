"""A download on its way to disk: what a later run goes on with, and what it doesn't trust."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import pytest
from tests.sources import EXPORT, HEADER, ROW, MemorySource, csv_body

from mockexport import Download, fetch
from mockexport.errors import NotResumableError, UsageError
from mockexport.pipeline import partial_file
from mockexport.pipeline.partial_file import PartialFile
from mockexport.tally import choose_tally

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mockexport.source import Chunks
    from mockexport.tally import Tally

BODY = csv_body(50)
SYNC = 500
HALF = len(HEADER) + len(ROW) * 25
SOURCE = "memory"
DOWNLOAD = Download(EXPORT, "a", rows=50, etag='"a"')


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a note written after little."""
    monkeypatch.setattr(partial_file, "SYNC_BYTES", SYNC)


def counter() -> Tally:
    return choose_tally()(skip=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.csv"


def part(path: Path) -> Path:
    return path.with_name(".a.csv.part")


def note(path: Path) -> Path:
    return path.with_name(".a.csv.part.json")


def break_off(path: Path, download: Download = DOWNLOAD, step: int = 100) -> None:
    """Write half of the body, and no more."""
    with PartialFile(path, download, SOURCE) as file:
        assert file.begin(counter(), resume=True) == 0
        for at in range(0, HALF, step):
            file.write(BODY[at : min(HALF, at + step)])


def begun(path: Path, download: Download = DOWNLOAD) -> int:
    with PartialFile(path, download, SOURCE) as file:
        return file.begin(counter(), resume=True)


def test_it_goes_on_behind_what_is_on_disk_for_certain_and_ends_as_one_file(path: Path) -> None:
    break_off(path)
    assert not path.exists()
    tally = counter()
    with PartialFile(path, DOWNLOAD, SOURCE) as file:
        at = file.begin(tally, resume=True)
        assert at == HALF - HALF % SYNC == orjson.loads(note(path).read_bytes())["bytes"]
        tally.feed(BODY[at:])
        file.write(BODY[at:])
        assert file.finish() == (len(BODY), hashlib.sha256(BODY).hexdigest())
    tally.finish()
    assert tally.rows == 50
    assert path.read_bytes() == BODY
    assert list(path.parent.iterdir()) == [path]


def test_bytes_that_are_not_on_disk_for_certain_are_dropped(path: Path) -> None:
    break_off(path)
    with part(path).open("ab") as file:
        file.write(b"whatever a power cut leaves")
    at = begun(path)
    assert 0 < at < HALF
    assert part(path).read_bytes() == BODY[:at]


@pytest.mark.parametrize(
    "other", [replace(DOWNLOAD, etag='"b"'), replace(DOWNLOAD, etag=None), replace(DOWNLOAD, rows=51)]
)
def test_another_download_is_begun_anew_and_its_predecessor_is_forgotten(path: Path, other: Download) -> None:
    break_off(path)
    assert begun(path, other) == 0
    assert list(path.parent.iterdir()) == []


def test_what_no_etag_names_is_not_kept(path: Path) -> None:
    break_off(path, replace(DOWNLOAD, etag=None))
    assert list(path.parent.iterdir()) == []


def damage(at: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        data = bytearray(part(path).read_bytes())
        data[at] ^= 1
        part(path).write_bytes(data)

    return change


@pytest.mark.parametrize("at", [0, 45, SYNC])
def test_a_part_that_is_not_what_it_was_is_refused_and_begun_anew(path: Path, at: int) -> None:
    break_off(path)
    damage(at)(path)
    with PartialFile(path, DOWNLOAD, SOURCE) as file:
        with pytest.raises(NotResumableError):
            file.begin(counter(), resume=True)
        assert file.begin(counter(), resume=False) == 0
        assert not note(path).exists()


@pytest.mark.parametrize(
    "held",
    [b"", b"{", b"[]", b"{}", b'{"etag":"\\"a\\"","rows":50,"bytes":500}'],
    ids=["empty", "cut off", "a list", "nothing in it", "no digest"],
)
def test_a_note_that_makes_no_sense_is_as_good_as_none(path: Path, held: bytes) -> None:
    break_off(path)
    note(path).write_bytes(held)
    assert begun(path) == 0


@pytest.mark.parametrize("size", [-1, 10**9, "500", None, 1.5, 0])
def test_neither_is_one_of_so_many_bytes(path: Path, size: object) -> None:
    break_off(path)
    note(path).write_bytes(orjson.dumps({**orjson.loads(note(path).read_bytes()), "bytes": size}))
    assert begun(path) == 0


def test_two_runs_do_not_write_to_the_same_file(path: Path) -> None:
    pytest.importorskip("fcntl", reason="files are locked where the system can")
    with ExitStack() as stack:
        stack.enter_context(PartialFile(path, DOWNLOAD, SOURCE)).begin(counter(), resume=True)
        with pytest.raises(UsageError, match="is being fetched by another run"), PartialFile(path, DOWNLOAD, SOURCE):
            pass


class NamedSource(MemorySource):
    """Its downloads have ETags, and it remembers from where they were read."""

    asked: int | None = None

    def downloads(self, export: str) -> list[Download]:
        return [replace(download, etag='"a"') for download in super().downloads(export)]

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        self.asked = offset
        return super().open(download, offset)


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_fetch_goes_on_with_a_part_and_never_keeps_one_that_was_spoilt(tmp_path: Path, spoilt: bool) -> None:
    folder = tmp_path / EXPORT
    folder.mkdir()
    break_off(folder / "a.csv")
    if spoilt:
        damage(200)(folder / "a.csv")
    source = NamedSource({"a": BODY}, {"a": 50})
    fetch(source, EXPORT, tmp_path)
    assert (folder / "a.csv").read_bytes() == BODY
    assert bool(source.asked) is not spoilt
