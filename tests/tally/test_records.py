"""Records one by one are those that a tally counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from tests.csv_strategies import BODIES, CUTS, HEADER, cut
from tests.seeds import examples

from mockexport.tally import CsvFormat, CsvRecords, Malformed, Record, TallySpec

if TYPE_CHECKING:
    from collections.abc import Iterable


def records(chunks: Iterable[bytes], csv: CsvFormat | None = None) -> list[Record]:
    reader = CsvRecords(csv or CsvFormat())
    found = [record for chunk in chunks for record in reader.feed(chunk)]
    found += reader.finish()
    assert reader.rows == len(found)
    return found


@pytest.mark.gate
@examples(300, slow=20_000)
@given(body=BODIES, sizes=CUTS)
@example(body=HEADER + b",t,x,1\n", sizes=[1 << 20])
@example(body=HEADER + b"a,t,,1\n", sizes=[1 << 20])
@example(body=HEADER + b"\xff,t,x,1\n", sizes=[1 << 20])
@example(body=HEADER + b"a,t,\xff,1\n", sizes=[1 << 20])
@example(body=HEADER + b'a,"t\n\n",x,1\n\nb,t,x\n', sizes=[1 << 20])
@example(body=b"\n\r\n" + HEADER + b"a,t,x,1,\n", sizes=[1])
def test_records_are_those_that_a_tally_counts_or_the_same_problem_however_they_are_cut(
    body: bytes, sizes: list[int]
) -> None:
    tally = TallySpec("pure").new()
    try:
        tally.feed(body)
        counts = tally.finish()
    except Malformed as problem:
        with pytest.raises(Malformed) as found:
            records(cut(body, sizes))
        assert str(found.value) == str(problem)  # noqa: PT017
        return
    pairs = Counter((record.patient, record.event_type) for record in records(cut(body, sizes)))
    assert pairs == Counter({(who, what): n for who, types in counts.patients.items() for what, n in types.items()})


def test_every_field_is_what_the_row_has() -> None:
    body = b'value;event_type;event_time;patient_id\r\n"7;""1";bp_sys;noon;P1\r\n\r\n;spo2;;P2'
    assert records([body]) == [Record("P1", b"noon", "bp_sys", b'7;"1'), Record("P2", b"", "spo2", b"")]


def test_named_columns_are_read_and_time_and_value_where_they_have_their_usual_names() -> None:
    csv = CsvFormat(patient_column="who", type_column="what")
    assert records([b"what,who,value\nx,P1,7\n"], csv) == [Record("P1", b"", "x", b"7")]


def test_a_row_that_is_too_long_is_refused_before_its_end() -> None:
    reader = CsvRecords()
    list(reader.feed(b"patient_id,event_time,event_type,value\n"))
    with pytest.raises(Malformed, match="line 2: row longer than 1048576 bytes"):
        list(reader.feed(b"x" * (1 << 20) + b"x"))
