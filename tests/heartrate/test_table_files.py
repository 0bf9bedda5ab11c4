"""The options for the table's files: each codec and size gives the same readings, in files as they were wanted."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pytest
from tests.commands import run_command
from tests.heartrate.synthetic import MIDNIGHT, MINUTE, batch

from mockexport.errors import UsageError
from mockexport.heartrate.service import HeartRate
from mockexport.heartrate.table.files import FileFormat, read_compression
from mockexport.heartrate.table.merge import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

    from mockexport.heartrate.readings import Readings

PARQUET = "table/date=*/*.parquet"


def readings(number: int) -> list[Readings]:
    """Batches of one day, of many users; each has all of the users."""
    rows = [(f"user_{n * 37 % 1009:04}", "device", MIDNIGHT + n * MINUTE // 64, 60.0 + n % 90) for n in range(number)]
    return [batch(*rows[start : start + 1000]) for start in range(0, number, 1000)]


def codecs(folder: Path) -> set[str]:
    return {
        codec
        for (codec,) in duckdb.execute(
            f"SELECT DISTINCT compression FROM parquet_metadata('{folder / PARQUET}')"
        ).fetchall()
    }


@pytest.mark.parametrize(
    ("text", "codec"), [("zstd:9", "ZSTD"), ("snappy", "SNAPPY"), ("lz4", "LZ4_RAW"), ("none", "UNCOMPRESSED")]
)
def test_flush_and_compaction_compress_as_told_and_every_reader_reads_it(tmp_path: Path, text: str, codec: str) -> None:
    with HeartRate(tmp_path, table_files=FileFormat(*read_compression(text)), flush_seconds=3600) as service:
        for some in readings(3000):
            service.accept(some).result(60)
            service.flush()
        assert codecs(tmp_path) == {codec}
        points = service.query("user_0037", MIDNIGHT, MIDNIGHT + 1440 * MINUTE)
        service.compact()
        newest = max(tmp_path.glob(PARQUET), key=lambda path: path.stat().st_mtime_ns)
        (row,) = duckdb.execute(f"SELECT count(*), min(compression) FROM parquet_metadata('{newest}')").fetchall()
        assert row == (5, codec)
        assert service.query("user_0037", MIDNIGHT, MIDNIGHT + 1440 * MINUTE) == points
    assert points


def test_a_table_goes_on_with_other_options(tmp_path: Path) -> None:
    one, two = readings(2000)
    for some, text in ((one, "snappy"), (two, "zstd")):
        with HeartRate(tmp_path, table_files=FileFormat(*read_compression(text))) as service:
            service.accept(some).result(60)
    assert codecs(tmp_path) == {"SNAPPY", "ZSTD"}
    with HeartRate(tmp_path, read_only=True) as service:
        assert sum(day.rows for day in service.days()) == 2000


def test_files_have_about_the_wanted_size_after_flush_and_compaction_and_do_not_overlap(tmp_path: Path) -> None:
    size = 40_000
    with HeartRate(tmp_path, table_files=FileFormat("uncompressed", None, size), flush_seconds=3600) as service:
        for some in readings(20_000):
            service.accept(some).result(60)
        service.flush()
        flushed = [path.stat().st_size for path in tmp_path.glob(PARQUET)]
        service.accept(batch(("user_0001", "other", MIDNIGHT, 60.0))).result(60)
        service.flush()
        service.compact()
        (files,) = service._store.snapshot().days.values()
        assert sum(day.rows for day in service.days()) == 20_001
    for sizes in (flushed, [file.size for file in files]):
        assert len(sizes) > 5
        assert sorted(size * 0.5 <= found <= size * 1.5 for found in sizes).count(False) <= 1, (
            "the last one is the rest"
        )
    ranges = sorted((file.first_user or "", file.last_user or "") for file in files)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(ranges))


def test_small_frames_are_put_together_and_large_ones_cut_and_no_row_is_lost() -> None:
    whole = pl.DataFrame(
        {
            "user": [f"user_{n:07}" for n in range(30_000)],
            "device": "d",
            "time": range(30_000),
            "rate": 60.0,
            "sequence": 1,
        }
    ).cast(SCHEMA)  # type: ignore[arg-type]
    parts = [whole.slice(start, 1000) for start in range(0, 30_000, 1000)]
    for size in (20_000, 50_000, 10**9, None):
        made = list(FileFormat(size=size).sized(parts))
        assert pl.concat(made).equals(whole)
        assert (len(made) == 30) == (size is None)
        assert (len(made) == 1) == (size == 10**9)
    assert [frame.height for frame in FileFormat(size=20_000).sized([whole])] == [
        frame.height for frame in FileFormat(size=20_000).sized(iter([whole]))
    ]


@pytest.mark.parametrize(("text", "found"), [("zstd", ("zstd", 1)), ("zstd:22", ("zstd", 22)), ("lz4", ("lz4", None))])
def test_a_compression_is_a_codec_and_perhaps_a_level(text: str, found: tuple[str, int | None]) -> None:
    assert read_compression(text) == found


@pytest.mark.parametrize("text", ["", "zstd:", "zstd:0", "zstd:23", "zstd:-1", "zstd:1.5", "gzip", "ZSTD", "snappy:1"])
def test_what_is_no_compression_is_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"table compression .* is unknown; use zstd:1 to zstd:22, snappy"):
        read_compression(text)


@pytest.mark.gate
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--data", "readings", "--table-compression", "gzip"), "table compression gzip is unknown"),
        (("--data", "readings", "--table-file-size", "1kB"), "--table-file-size '1kB' is not a size of at least 1MB"),
        (("--data", "readings", "--rate-limit-user", "600"), "the rate limit 600 of a user is not a number per time"),
        (("--table-file-size", "128MB"), "they require --data"),
        (("--rate-limit-client", "1/second"), "they require --data"),
    ],
)
def test_the_server_refuses_bad_options_in_one_line_and_writes_nothing(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    ended = run_command(tmp_path, "serve", "--port", "0", *arguments)
    assert (ended.code, ended.stderr.count("\n")) == (2, 1)
    assert told in ended.stderr
    assert not list(tmp_path.iterdir())
