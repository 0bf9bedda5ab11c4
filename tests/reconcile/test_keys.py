"""The keys of records: the twins tell the same records apart, as a plain model does, however the bytes are cut."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import KERNELS
from tests.reconcile.codes import found, reconciled

from mockexport.reconciliation import CsvReading, ReferenceCsvKeys, record_key
from mockexport.reconciliation.kernel import choose_csv_keys
from mockexport.tally import Malformed

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = bytes(range(16))
HEADER = b"patient_id,event_time,event_type,value\n"
CELLS = ["P1", "P2", "hr", "bp", "", 'q"', "a,b", "a\nb", "é", "2025-01-01T00:00:00Z", "2025-01-01", "a\rb", "x" * 40]
ROWS = st.lists(st.tuples(*[st.sampled_from(CELLS)] * 4), max_size=12)
PIECES = st.sampled_from(
    [
        b"P1,2025-01-01T00:00:00Z,hr,1\n",
        b'"P1",2025-01-01T00:00:00Z,hr,"1"\r\n',
        b"P1,2024-12-31T23:59:59.999999Z,hr,1\n",
        *(b"P2,t,bp,2", b"\n", b"\r\n", b'"', b",", b'""', b"\xff", b"x" * 70),
    ]
)


def written(rows: Sequence[tuple[str, ...]], quoting: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=quoting, lineterminator="\n").writerows(rows)
    return HEADER + text.getvalue().encode()


@pytest.mark.gate
@given(st.lists(st.tuples(ROWS, st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])), min_size=1, max_size=4))
def test_duplicates_are_those_of_a_plain_model(downloads: list[tuple[list[tuple[str, ...]], int]]) -> None:
    bodies = {str(number): written(rows, quoting) for number, (rows, quoting) in enumerate(downloads)}
    sound = [[row for row in rows if row[0] and row[2]] for rows, _ in downloads]
    within = sum(len(rows) - len(set(rows)) for rows in sound)
    every = [row for rows in sound for row in set(rows)]
    for kernel in KERNELS:
        certificate = reconciled(bodies, kernel)
        counts = {finding.code: finding.count for finding in certificate.findings}
        assert counts.get("duplicate", 0) == within
        assert counts.get("duplicate-across", 0) == len(every) - len(set(every))
        assert certificate.distinct == len(set(every))


def folded(kernel: str, body: bytes, cuts: Sequence[int]) -> tuple[Any, list[tuple[int, bytes]]]:
    """Return the facts, or the error, and of each record its place and a number for its key, by first appearance."""
    keys = choose_csv_keys(kernel)(key=KEY, download=7, begin=1_735_689_600_000_000, end=1_735_689_600_000_000)
    records = b""
    ends = sorted({*(cut % (len(body) + 1) for cut in cuts), len(body)})
    try:
        for begin, end in zip([0, *ends], ends, strict=False):
            keys.feed(body[begin:end])
            records += keys.take_records()
        facts: Any = keys.finish()
        records += keys.take_records()
    except Malformed as error:
        return (error.line, error.reason), []
    numbers: dict[bytes, int] = {}
    split = [records[at : at + 24] for at in range(0, len(records), 24)]
    return facts, [(numbers.setdefault(record[:16], len(numbers)), record[16:]) for record in split]


@given(st.lists(PIECES, max_size=30).map(b"".join), st.lists(st.integers(0, 1 << 16), max_size=5))
def test_the_twins_give_the_same_facts_and_places_however_the_bytes_are_cut(body: bytes, cuts: list[int]) -> None:
    whole = folded("pure", HEADER + body, [])
    assert folded("pure", HEADER + body, cuts) == whole
    assert all(folded(kernel, HEADER + body, cuts) == whole for kernel in KERNELS)


def test_the_native_hash_is_siphash_with_128_bits() -> None:
    native = pytest.importorskip("mockexport.reconciliation._native")
    vectors = {
        0: "a3817f04ba25a8e66df67214c7550293",
        1: "da87c1d86b99af44347659119b22fc45",
        63: "5150d1772f50834a503e069a973fbd7c",
    }
    for length, expected in vectors.items():  # of the reference, vectors.h
        assert native.record_key(KEY, bytes(range(length))).hex() == expected


def test_a_row_that_ends_in_a_carriage_return_is_the_same_with_quotes() -> None:
    for kernel in KERNELS:
        certificate = reconciled({"a": HEADER + b'P1,t,hr,x\r\r\nP1,t,hr,"x\r"\n'}, kernel)
        assert len(found(certificate, "duplicate")) == 1


def test_another_key_gives_other_hashes() -> None:
    assert record_key(KEY, b"x") != record_key(bytes(16), b"x")


def test_after_its_end_an_accumulator_is_of_no_use() -> None:
    for kernel in KERNELS:
        keys = choose_csv_keys(kernel)(key=KEY)
        keys.feed(HEADER)
        keys.finish()
        with pytest.raises(ValueError, match="has ended"):
            keys.feed(b"")
    assert not ReferenceCsvKeys(key=KEY).between_rows


def test_a_specification_names_no_key() -> None:
    assert repr(KEY) not in repr(CsvReading("pure", KEY, 0))
