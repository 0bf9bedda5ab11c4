"""FolderSource, file by file: what is in them, packed or not, whole or damaged."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.bodies import COUNTS_OF_SOUND, MALFORMED, SOUND
from tests.files import PACK, read, source_of, zstd, zstd_frame
from tests.sources import csv_body

from mockexport import Counts, Download, NotFoundError, UntrustedDataError, UsageError, count
from mockexport.manifest import read_manifest

if TYPE_CHECKING:
    from tests.bodies import Malformed

BODY = csv_body(30_000)  # several chunks
HALF = len(BODY) // 2


PACKED: dict[str, bytes] = {
    "a.csv": BODY,
    "a.csv.gz": gzip.compress(BODY),
    "a.csv.zst": zstd_frame(BODY),
}
IN_PARTS: dict[str, bytes] = {
    "a.csv.gz": gzip.compress(BODY[:HALF]) + gzip.compress(BODY[HALF:]),
    "a.csv.zst": zstd_frame(BODY[:HALF]) + zstd_frame(BODY[HALF:]),
}
EACH_FILE = pytest.mark.parametrize(("name", "held"), [*PACKED.items(), *IN_PARTS.items()])
EACH_PACKED = pytest.mark.parametrize(("name", "held"), [pair for pair in PACKED.items() if pair[0] != "a.csv"])
EACH_SUFFIX = pytest.mark.parametrize("suffix", PACK)


@EACH_FILE
def test_a_file_is_unpacked_to_its_csv(export: Path, name: str, held: bytes) -> None:
    (export / name).write_bytes(held)
    assert read(export) == BODY
    assert count(source_of(export), "trial") == Counts({"P001": {"bp_sys": 30_000}})


@EACH_FILE
@pytest.mark.parametrize(
    "offset", [1, HALF, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, len(BODY) - 1, len(BODY), len(BODY) + 9]
)
def test_from_an_offset_on_a_file_is_the_rest_of_its_csv(export: Path, name: str, held: bytes, offset: int) -> None:
    (export / name).write_bytes(held)
    assert read(export, offset) == BODY[offset:]


@EACH_SUFFIX
@pytest.mark.parametrize("body", SOUND.values(), ids=SOUND.keys())
def test_every_kind_of_sound_body_is_counted_right(export: Path, suffix: str, body: bytes) -> None:
    (export / f"a{suffix}").write_bytes(PACK[suffix](body))
    assert count(source_of(export), "trial") == Counts(COUNTS_OF_SOUND)


@EACH_SUFFIX
@pytest.mark.parametrize("wrong", MALFORMED.values(), ids=MALFORMED.keys())
def test_every_kind_of_malformed_body_fails_naming_line_and_reason(export: Path, suffix: str, wrong: Malformed) -> None:
    (export / f"a{suffix}").write_bytes(PACK[suffix](wrong.body))
    with pytest.raises(UntrustedDataError) as failed:
        count(source_of(export), "trial")
    assert f"'a' of export 'trial' is malformed at line {wrong.line}: {wrong.reason}" in str(failed.value)


@EACH_PACKED
@pytest.mark.parametrize("kept", [1, 3, 15, 0.5, 0.9, -9, -1])
def test_a_packed_file_that_is_cut_short_is_never_taken_for_whole(
    export: Path, name: str, held: bytes, kept: float
) -> None:
    (export / name).write_bytes(held[: int(kept * len(held)) if isinstance(kept, float) else kept])
    with pytest.raises(UntrustedDataError, match=f"trial/{name} cannot be decompressed: "):
        read(export)


@EACH_PACKED
@pytest.mark.parametrize("at", [0, 0.5, -2])
def test_a_packed_file_with_a_damaged_byte_is_never_taken_for_sound(
    export: Path, name: str, held: bytes, at: float
) -> None:
    damaged = bytearray(held)
    damaged[int(at * len(held)) if isinstance(at, float) else at] ^= 0x55
    (export / name).write_bytes(damaged)
    with pytest.raises(UntrustedDataError, match=f"trial/{name} cannot be decompressed: "):
        read(export)


@EACH_PACKED
def test_a_packed_file_with_something_behind_it_is_refused(export: Path, name: str, held: bytes) -> None:
    (export / name).write_bytes(held + b"P001,t,x,1\n")
    with pytest.raises(UntrustedDataError, match=f"trial/{name} cannot be decompressed: "):
        read(export)


@EACH_PACKED
def test_an_empty_file_where_a_packed_one_should_be_is_no_count_of_zero(export: Path, name: str, held: bytes) -> None:
    (export / name).write_bytes(held[:0])
    with pytest.raises(UntrustedDataError):
        count(source_of(export), "trial")


COUNT_AND_TELL_MEMORY = """
import re, sys
from mockexport import count, open_source
print(count(open_source(sys.argv[1]), "trial").rows)
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell of one process's memory")
@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst"])
def test_a_small_file_that_unpacks_to_a_large_one_needs_little_memory(export: Path, suffix: str) -> None:
    rows = 5_000_000
    block = csv_body(rows // 1000).split(b"\n", 1)[1]
    head, pack = csv_body(0), PACK[suffix]
    (export / f"a{suffix}").write_bytes(pack(head) + pack(block) * 1000)
    assert len(block) * 1000 > 200_000_000
    command = [sys.executable, "-W", "error", "-c", COUNT_AND_TELL_MEMORY, str(export.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    counted, peak_kilobytes = map(int, done.stdout.split())
    assert counted == rows
    assert peak_kilobytes < 100_000


def test_a_bomb_in_one_piece_needs_little_memory_too(export: Path) -> None:
    (export / "a.csv.gz").write_bytes(gzip.compress(csv_body(0) + b"x" * 100_000_000, compresslevel=1))
    chunks = source_of(export).open(Download("trial", "a"))
    assert max(map(len, chunks)) <= 1 << 19


def test_zst_without_the_extra_is_a_usage_error_that_names_it(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (export / "a.csv.zst").write_bytes(PACKED["a.csv.zst"])
    monkeypatch.setitem(sys.modules, zstd.__name__, None)
    with pytest.raises(UsageError, match=r"mockexport\[zstd\]"):
        read(export)


@EACH_SUFFIX
def test_a_file_that_has_changed_since_it_was_listed_is_never_read(export: Path, suffix: str) -> None:
    (export / f"a{suffix}").write_bytes(PACK[suffix](csv_body(10)))
    source = source_of(export)
    (listed,) = source.downloads("trial")
    (export / f"a{suffix}").write_bytes(PACK[suffix](csv_body(11)))
    with pytest.raises(UntrustedDataError, match="has changed since it was listed, or is another file on this machine"):
        next(source.open(listed))


def test_one_of_very_many_files_is_opened_without_a_look_at_the_others(
    export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (export / f"{name}.csv").write_bytes(BODY)
    source = source_of(export)
    listed = source.downloads("trial")
    monkeypatch.setattr(type(source), "_files", None)
    assert [len(b"".join(source.open(download))) for download in listed] == [len(BODY)] * 3


def test_a_manifest_is_read_once_for_all_downloads_and_again_when_it_has_changed(
    export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (export / "a.csv").write_bytes(BODY)
    manifest = export / "manifest.json"
    manifest.write_bytes(b'{"export": "trial", "downloads": [{"id": "x", "file": "a.csv"}]}')
    source = source_of(export)
    reads: list[Path] = []

    def read_and_tell(path: Path, name: str) -> object:
        reads.append(path)
        return read_manifest(path, name)

    monkeypatch.setattr("mockexport.sources.folder.read_manifest", read_and_tell)
    for _ in range(3):
        assert b"".join(source.open(Download("trial", "x"))) == BODY
    assert len(reads) == 1
    manifest.write_bytes(b'{"export": "trial", "downloads": [{"id": "other", "file": "a.csv"}]}')
    assert b"".join(source.open(Download("trial", "other"))) == BODY
    with pytest.raises(NotFoundError, match="no download 'x'"):
        source.open(Download("trial", "x"))
