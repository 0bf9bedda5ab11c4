"""Zstandard of several frames: read from its middle, as if it had been decompressed whole; or read whole."""

from __future__ import annotations

import errno
import io
import os
import struct
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bodies import OTHER, PLAIN, ROW
from tests.commands import serve_command
from tests.files import read, source_of, zstd, zstd_frame
from tests.sources import HEADER, WAIT_SECONDS

from mockexport import Download, UnreachableError, UntrustedDataError, count, thread_workers
from mockexport.sources import FilesSource, HttpSource, data_files, zstd_frames
from mockexport.sources.csv_file import read_csv_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FLAG = zstd.CompressionParameter
texts = (  # of one block or several; those of one byte have blocks of the kind RLE
    st.binary(max_size=60)
    | st.integers(0, 150_000).map(lambda size: (b"0123456789" * (size // 10 + 1))[:size])
    | st.integers(0, 300_000).map(bytes)
)


def skippable(data: bytes, number: int = 0) -> bytes:
    """A frame that says nothing (RFC 8878, section 3.1.2)."""
    return struct.pack("<II", 0x184D2A50 + number, len(data)) + data


def frames_in(data: bytes) -> zstd_frames.Frames | None:
    return zstd_frames.find_frames(io.BytesIO(data), len(data))


def framed(text: bytes, level: int, *, checksum: bool) -> bytes:
    packed: bytes = zstd.compress(text, options={FLAG.compression_level: level, FLAG.checksum_flag: checksum})
    return packed


@st.composite
def files(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """The texts of the frames of a file, and the file: frames of any kind, and skippable ones between."""
    parts = draw(st.lists(texts, min_size=2, max_size=5))
    data = b""
    for part in parts:
        if draw(st.booleans()):
            data += skippable(draw(st.binary(max_size=20)), draw(st.integers(0, 15)))
        data += framed(part, draw(st.sampled_from([-5, 1, 9])), checksum=draw(st.booleans()))
    return parts, data + (skippable(b"the end") if draw(st.booleans()) else b"")


def begins_of(parts: Sequence[bytes]) -> list[int]:
    return [sum(map(len, parts[:number])) for number in range(len(parts))]


# ---- Where frames begin ----


@given(files())
def test_the_frames_are_those_of_the_whole_decompressed(written: tuple[list[bytes], bytes]) -> None:
    parts, data = written
    frames = frames_in(data)
    assert frames
    assert list(frames.texts) == begins_of(parts)
    assert frames.size == len(b"".join(parts)) == len(zstd.decompress(data))
    assert frames.largest == max(map(len, parts))
    for begin, part in zip(frames.begins, parts, strict=True):
        assert zstd.ZstdDecompressor().decompress(data[begin:]) == part


@pytest.mark.gate
@given(files(), st.data())
def test_from_any_offset_on_it_is_read_as_from_the_whole(
    tmp_path_factory: pytest.TempPathFactory, written: tuple[list[bytes], bytes], more: st.DataObject
) -> None:
    parts, data = written
    file = tmp_path_factory.mktemp("frames") / "a.csv.zst"
    file.write_bytes(data)
    text = b"".join(parts)
    drawn = more.draw(st.lists(st.integers(0, len(text) + 1), max_size=3))
    near = {begin + step for begin in begins_of(parts) for step in (-1, 0, 1) if begin + step >= 0}
    for offset in {*near, *drawn, len(text)}:
        assert b"".join(read_csv_file(file, offset)) == text[offset:]


@given(files(), st.data())
def test_of_a_damaged_file_the_frames_are_never_told_wrongly(
    written: tuple[list[bytes], bytes], more: st.DataObject
) -> None:
    _, data = written
    damaged = bytearray(data)
    for place in more.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=3)):
        damaged[place] = more.draw(st.integers(0, 255))
    end = more.draw(st.sampled_from([len(damaged), more.draw(st.integers(0, len(damaged)))]))
    frames = frames_in(bytes(damaged[:end]))
    with suppress(zstd.ZstdError):
        text = zstd.decompress(bytes(damaged[:end]))
        if frames:
            assert frames.size == len(text)
            for begin, start in zip(frames.begins, frames.texts, strict=True):
                assert zstd.decompress(bytes(damaged[begin:end])) == text[start:]


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_are_walked_over_to_an_end(start: bytes, middle: bytes, end: bytes) -> None:
    magic = struct.pack("<I", zstd_frames.MAGIC)
    for data in (start, magic + start, zstd_frame(start) + magic + middle, zstd_frame(start) + skippable(middle) + end):
        frames = frames_in(data)
        assert frames is None or frames.begins == tuple(sorted(set(frames.begins)))


def test_a_cut_anywhere_but_between_frames_can_not_be_told() -> None:
    parts = [zstd_frame(PLAIN), skippable(b"between"), zstd_frame(b""), zstd_frame(PLAIN * 9)]
    data = b"".join(parts)
    ends = {len(b"".join(parts[:number])) for number in (3, 4)}
    assert {end for end in range(len(data) + 1) if frames_in(data[:end])} == ends


def stream(text: bytes) -> bytes:
    """A frame that was written before its size was known."""
    compressor = zstd.ZstdCompressor()
    return bytes(compressor.compress(text) + compressor.flush())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        zstd_frame(PLAIN),
        skippable(b"only") + zstd_frame(PLAIN),
        stream(PLAIN) + zstd_frame(PLAIN),
        zstd_frame(PLAIN) + stream(PLAIN),
        zstd_frame(PLAIN) * 2 + b"more",
    ],
    ids=["nothing", "one frame", "one and a skippable one", "no size first", "no size last", "something behind"],
)
def test_frames_are_not_told_where_there_is_one_or_one_has_no_size(data: bytes) -> None:
    assert frames_in(data) is None


def handmade(size: int, *blocks: tuple[int, int, bytes], descriptor: int = 0b11100000) -> bytes:
    """A frame that tells its size in 8 bytes, and its blocks: the kind, the length that is told, and what they hold."""
    data = struct.pack("<IBQ", zstd_frames.MAGIC, descriptor, size)
    for number, (kind, length, held) in enumerate(blocks, start=1):
        data += ((number == len(blocks)) | kind << 1 | length << 3).to_bytes(3, "little") + held
    return data


RAW, RLE, COMPRESSED, RESERVED = range(4)


def test_a_frame_made_by_hand_is_one() -> None:
    frame = handmade(9, (RAW, 4, b"abcd"), (RLE, 5, b"e"))
    assert zstd.decompress(frame) == b"abcdeeeee"
    assert frames_in(frame * 2) == zstd_frames.Frames((0, len(frame)), (0, 9), 18)


@pytest.mark.parametrize(
    "frame",
    [
        handmade(8, (RAW, 4, b"abcd"), (RLE, 5, b"e")),
        handmade(10, (RAW, 4, b"abcd"), (RLE, 5, b"e")),
        handmade((1 << 17) + 1, (COMPRESSED, 4, b"abcd")),
        handmade(1 << 63, (COMPRESSED, 4, b"abcd")),
        handmade(4, (RESERVED, 4, b"abcd")),
        handmade((1 << 17) + 1, (RLE, (1 << 17) + 1, b"a")),
        handmade(4, (RAW, 4, b"abcd"), descriptor=0b11101000),
    ],
    ids=[
        "too small",
        "too large",
        "larger than a block",
        "enormous",
        "a reserved kind",
        "a long block",
        "a reserved bit",
    ],
)
def test_a_frame_that_can_not_be_is_not_told(frame: bytes) -> None:
    assert frames_in(frame + zstd_frame(PLAIN)) is None


def test_the_walk_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zstd_frames, "MAX_STEPS", 100)
    assert frames_in(zstd_frame(b"") * 10)
    assert frames_in(zstd_frame(b"") * 100) is None
    assert frames_in(skippable(b"") * 100) is None


# ---- Files ----


def test_a_file_of_several_frames_has_a_size_and_can_be_split_at_the_largest(
    export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (export / "a.csv.zst").write_bytes(zstd_frame(PLAIN) + zstd_frame(PLAIN * 2))
    assert [(d.size, d.split_size) for d in source_of(export).downloads("trial")] == [
        (len(PLAIN) * 3, data_files.SPLIT_BYTES)
    ]
    monkeypatch.setattr(data_files, "SPLIT_BYTES", 10)
    (download,) = FilesSource(export / "a.csv.zst").downloads("a")
    assert download.split_size == len(PLAIN) * 2


def test_a_file_of_one_frame_is_read_from_its_start(export: Path) -> None:
    (export / "a.csv.zst").write_bytes(zstd_frame(PLAIN))
    (download,) = source_of(export).downloads("trial")
    assert (download.size, download.split_size) == (None, None)
    assert read(export, offset=50) == PLAIN[50:]


def test_the_frames_of_another_version_are_found_anew(export: Path) -> None:
    file = export / "a.csv.zst"
    for text in (PLAIN, PLAIN + PLAIN[50:]):
        file.write_bytes(zstd_frame(text[:60]) + zstd_frame(text[60:]))
        assert read(export, offset=100) == text[100:]


def test_a_frame_is_only_decompressed_if_it_is_needed(export: Path) -> None:
    damaged = bytearray(zstd_frame(PLAIN))
    damaged[-1] ^= 1  # of its checksum
    (export / "a.csv.zst").write_bytes(bytes(damaged) + zstd_frame(PLAIN))
    assert read(export, offset=len(PLAIN)) == PLAIN
    with pytest.raises(UntrustedDataError, match="cannot be decompressed"):
        read(export, offset=len(PLAIN) - 1)


ROWS = (ROW + OTHER) * 1000


@pytest.mark.parametrize("frame_rows", [100, 333])
@pytest.mark.parametrize("jobs", [1, 2])
def test_it_is_counted_in_splits_with_the_same_result(
    export: Path, monkeypatch: pytest.MonkeyPatch, frame_rows: int, jobs: int
) -> None:
    text = HEADER + ROWS
    step = frame_rows * len(ROW) + 7  # so that rows go over the frames' ends
    data = b"".join(zstd_frame(text[start : start + step]) for start in range(0, len(text), step))
    (export / "a.csv.zst").write_bytes(data)
    (export.parent / "plain").mkdir()
    (export.parent / "plain" / "a.csv").write_bytes(text)
    monkeypatch.setattr(data_files, "SPLIT_BYTES", 1000)
    source = source_of(export)
    opened: list[int] = []
    unwatched = source.open

    def watched(download: Download, offset: int = 0, **watch: object) -> object:
        opened.append(offset)
        return unwatched(download, offset, **watch)

    monkeypatch.setattr(source, "open", watched)
    counts = count(source, "trial", start_workers=partial(thread_workers, jobs=jobs))
    assert counts == count(source_of(export), "plain")
    assert len(opened) > 5
    assert 0 < max(opened) < len(text)


def test_a_file_that_can_not_be_read_is_an_error_to_those_who_read_it(
    export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (export / "a.csv.zst").write_bytes(zstd_frame(PLAIN) * 2)

    def refused(*_: object, **_watch: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a.csv.zst")

    monkeypatch.setattr(zstd_frames, "LocalFile", refused)
    (download,) = source_of(export).downloads("trial")
    assert (download.size, download.split_size) == (None, None)
    monkeypatch.setattr("mockexport.sources.csv_file.open_file", refused)
    with pytest.raises(UnreachableError, match=r"cannot read .*a\.csv\.zst: Permission denied"):
        count(source_of(export), "trial")


@pytest.mark.gate
def test_a_server_of_it_knows_its_length_and_has_ranges(export: Path) -> None:
    text = HEADER + ROWS
    frames = [zstd_frame(text[start : start + 9000]) for start in range(0, len(text), 9000)]
    (export / "a.csv.zst").write_bytes(b"".join(frames))
    with serve_command("-s", export) as server, closing(HttpSource(server.url)) as source:
        (download,) = source.downloads("trial")
        url = f"{server.url}/api/export/trial/{download.id}/data"
        plain = {"accept-encoding": "identity"}
        head = httpx.head(url, headers=plain, timeout=WAIT_SECONDS)
        assert head.headers["content-length"] == str(len(text))
        part = httpx.get(url, headers={**plain, "range": "bytes=8999-9001"}, timeout=WAIT_SECONDS)
        assert (part.status_code, part.content) == (206, text[8999:9002])
        assert count(source, "trial") == count(source_of(export), "trial")


def test_damage_in_any_frame_is_found_by_a_count_in_splits(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEADER + ROWS
    monkeypatch.setattr(data_files, "SPLIT_BYTES", 1000)
    frames = [zstd_frame(text[start : start + 9000]) for start in range(0, len(text), 9000)]
    for number in range(len(frames)):
        damaged = bytearray(frames[number])
        damaged[-1] ^= 1  # of its checksum, which is behind all of its text
        (export / "a.csv.zst").write_bytes(b"".join([*frames[:number], bytes(damaged), *frames[number + 1 :]]))
        with pytest.raises(UntrustedDataError, match=r"a\.csv\.zst cannot be decompressed"):
            count(source_of(export), "trial")
