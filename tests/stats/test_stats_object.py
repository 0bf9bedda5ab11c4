"""What the accumulators of statistics are as objects: their arguments, their end, and who may use them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.csv_strategies import HEADER
from tests.stats.kernels import COLUMNS, NATIVE, NOW, trace

from mockexport.stats import DEFAULT_RANGES, ReferenceStats, choose_stats
from mockexport.tally import Malformed

ROW = b"P001,2025-08-26T00:00:04.906404Z,bp_sys,71\n"
OPTIONS: dict[str, Any] = {"columns": COLUMNS, "ranges": DEFAULT_RANGES, "now": NOW}

needs_native = pytest.mark.skipif(not NATIVE, reason="the native part was not built, or is not wanted")
each = pytest.mark.parametrize("new", [ReferenceStats, *list(NATIVE.values())[:1]])


@needs_native
def test_the_native_statistics_are_chosen_where_they_were_built() -> None:
    assert choose_stats("auto") is choose_stats("native") is not ReferenceStats


@each
def test_nothing_goes_on_after_the_end(new: Any) -> None:
    stats = new(**OPTIONS)
    stats.feed(HEADER + ROW)
    assert stats.between_rows
    assert stats.finish().pairs["P001", "bp_sys"].records == 1
    with pytest.raises(ValueError, match="has ended"):
        stats.feed(ROW)
    with pytest.raises(ValueError, match="has ended"):
        stats.finish()


@each
def test_nothing_goes_on_after_an_error(new: Any) -> None:
    stats = new(**OPTIONS)
    with pytest.raises(Malformed, match="line 2: too few fields"):
        stats.feed(HEADER + b"x\n")
    with pytest.raises(ValueError, match="has ended"):
        stats.finish()


@each
def test_every_column_must_be_there(new: Any) -> None:
    for column in COLUMNS:
        told = trace(new, [HEADER.replace(column, b"x")])
        assert told[0] == (Malformed, 1, f"no column {column.decode()} in the header")


@each
def test_more_pairs_than_max_pairs_or_longer_ones_are_an_error(new: Any) -> None:
    told = trace(new, [HEADER + ROW.replace(b"P001", b"P" * 600)], max_pairs=2)
    assert "more than 512 bytes" in told[0][2]
    told = trace(new, [HEADER, *(b"P%d,,x,1\n" % n for n in range(3))], max_pairs=2)
    assert "more than 2 distinct pairs" in told[-2][2]


@needs_native
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"columns": COLUMNS[:3]}, "columns must be 4 names"),
        ({"delimiter": b"\n"}, "delimiter must not be"),
        ({"instructions": "mmx"}, "no instruction set 'mmx'"),
        ({"max_row_bytes": -1}, "max_row_bytes must be"),
        ({"max_pairs": -1}, "max_pairs must be"),
        ({"seed": b"x"}, "seed must be 40 bytes"),
        ({"ranges": {"x": ((10**18, 0), None)}}, "more than 18 digits"),
        ({"ranges": {"x": (None, (1, 2**31))}}, "out of range"),
        ({"ranges": {"x": (None,)}}, "2 arguments"),
        ({"ranges": {"x": None}}, "must be tuple"),
        ({"ranges": {1: (None, None)}}, "must be str"),
        ({"ranges": 1}, "items"),
        ({"now": 1 << 64}, "too large|too big"),
        ({"now": None}, "must be int"),
        ({"columns": (b"a", b"b", "c", b"d")}, "bytes"),
    ],
)
def test_the_native_part_refuses_what_it_cannot_use(options: dict[str, Any], problem: str) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError, AttributeError), match=problem):
        next(iter(NATIVE.values()))(**OPTIONS | options)


@needs_native
def test_arguments_must_be_given() -> None:
    with pytest.raises(TypeError, match="columns, ranges and now must be given"):
        next(iter(NATIVE.values()))()


@needs_native
def test_two_threads_cannot_use_one_at_the_same_time() -> None:
    stats = next(iter(NATIVE.values()))(**OPTIONS)
    stats.feed(HEADER)
    rows, refused, ended = ROW * 100_000, threading.Event(), threading.Event()

    def feed() -> None:
        while not ended.is_set():
            try:
                stats.feed(rows)
            except RuntimeError:
                refused.set()

    threads = [threading.Thread(target=feed) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert refused.wait(60)
    ended.set()
    for thread in threads:
        thread.join()
    rows_read = stats.rows
    assert stats.finish().pairs["P001", "bp_sys"].records == rows_read
