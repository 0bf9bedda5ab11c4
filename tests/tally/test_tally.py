"""What both tallies promise (contract.py and docs/wire.md, "Bad data"), each claim for each of them."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from tests.pairing import by_default, pairs

from mockexport.tally import REASONS

COLUMNS = ["patient_id", "event_time", "event_type", "value"]
HEADER = b"patient_id,event_time,event_type,value\n"
SOUND = b"P001,2025-08-26T00:00:04.906404Z,bp_sys,71\n"

# ---- Rows and columns ----


def test_records_are_counted_by_patient_and_type(tally: Any) -> None:
    body = HEADER + b"a,,x,1\nb,,x,1\na,,y,1\na,,x,1\n"
    assert tally(body) == ({"a": {"x": 2, "y": 1}, "b": {"x": 1}}, {}, 4, None)


@pytest.mark.parametrize("order", list(itertools.permutations(COLUMNS)))
def test_columns_are_found_in_any_order(tally: Any, order: tuple[str, ...]) -> None:
    row = {"patient_id": "Q2", "event_time": "2025-08-26T00:00:04Z", "event_type": "spo2", "value": "97"}
    rows = [",".join(order), *[",".join(row[name] for name in order)] * 50]
    for line_end in ("\n", "\r\n"):
        body = line_end.join([*rows, ""]).encode()
        assert tally(body) == ({"Q2": {"spo2": 50}}, {}, 50, None)


@pytest.mark.gate
@pytest.mark.parametrize(
    ("place", "extra"), pairs({str(place): place for place in range(5)}, {str(extra): extra for extra in (1, 3, 70)})
)
def test_extra_columns_are_allowed_anywhere(tally: Any, place: int, extra: int) -> None:
    names, fields = ["patient_id", "event_time", "event_type", "value"], ["Q2", "t", "spo2", "97"]
    names[place:place] = ["comment"] * extra
    fields[place:place] = ["c"] * extra
    body = (",".join(names) + "\n" + (",".join(fields) + "\n") * 50).encode()
    assert tally(body) == ({"Q2": {"spo2": 50}}, {}, 50, None)


def test_the_header_may_be_quoted(tally: Any) -> None:
    body = b'"patient_id",event_time,"event_type","va""lue",value\na,,x,,1\n'
    assert tally(body).patients == {"a": {"x": 1}}


def test_the_header_alone_is_a_sound_body(tally: Any) -> None:
    assert tally(HEADER) == ({}, {}, 0, None)
    assert tally(HEADER.rstrip()) == ({}, {}, 0, None)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n\r\n", b"\r", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n\n"])
def test_a_body_without_a_header_is_empty(tally: Any, body: bytes, skip: bool) -> None:
    assert tally(body, skip=skip).problem == "line 1: empty body"


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_ends_the_tally(tally: Any, column: str, skip: bool) -> None:
    header = HEADER.replace(column.encode(), b"other")
    assert tally(header + SOUND, skip=skip).problem == f"line 1: no column {column} in the header"


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("column", COLUMNS)
def test_a_doubled_column_ends_the_tally(tally: Any, column: str, skip: bool) -> None:
    header = column.encode() + b"," + HEADER
    assert tally(header + SOUND, skip=skip).problem == f"line 1: column {column} stands twice in the header"


@pytest.mark.parametrize("name", [b"Patient_id", b" patient_id", b"patient_id ", b"patient_i", b"patient_idx", b"\r"])
def test_a_column_must_have_its_exact_name(tally: Any, name: bytes) -> None:
    header = HEADER.replace(b"patient_id", name)
    assert tally(header + SOUND).problem == "line 1: no column patient_id in the header"


@pytest.mark.parametrize("skip", [False, True])
def test_a_header_with_a_bad_quote_ends_the_tally(tally: Any, skip: bool) -> None:
    for header in (b'patient"_id,event_time,event_type,value\n', b'"patient_id"x,event_time,event_type,value\n'):
        assert tally(header + SOUND, skip=skip).problem == "line 1: bad quote"
    assert tally(b'"' + HEADER + SOUND, skip=skip).problem == "line 1: bad quote"


# ---- The start and the line ends ----


def test_a_byte_order_mark_is_no_data(tally: Any) -> None:
    assert tally(b"\xef\xbb\xbf" + HEADER + SOUND).patients == {"P001": {"bp_sys": 1}}
    assert tally(b'\xef\xbb\xbf"patient_id"' + HEADER[10:] + SOUND).patients == {"P001": {"bp_sys": 1}}


@pytest.mark.parametrize("begin", [b"\xef", b"\xef\xbb", b"\xef\xbb\xbf\xef\xbb\xbf", b"\xbb\xbf", b"\xef\xef\xbb\xbf"])
def test_anything_else_than_one_byte_order_mark_is_data(tally: Any, begin: bytes) -> None:
    assert tally(begin + HEADER + SOUND).problem == "line 1: no column patient_id in the header"
    assert tally(begin).problem == "line 1: " + (
        "no column patient_id in the header" if begin != b"\xef\xbb\xbf" else "empty body"
    )


def test_a_byte_order_mark_further_on_is_data(tally: Any, among: Any) -> None:
    assert tally(among(b"\xef\xbb\xbfP001,t,x,1")).patients["\ufeffP001"] == {"x": 1}


def test_lines_may_end_in_crlf(tally: Any) -> None:
    assert tally((HEADER + SOUND * 50).replace(b"\n", b"\r\n")) == ({"P001": {"bp_sys": 50}}, {}, 50, None)


def test_line_ends_may_be_mixed(tally: Any) -> None:
    body = HEADER + SOUND + SOUND.replace(b"\n", b"\r\n") * 3 + SOUND * 10
    assert tally(body).patients == {"P001": {"bp_sys": 14}}


def test_the_last_row_needs_no_line_end(tally: Any) -> None:
    for last in (b"Q,t,x,1", b"Q,t,x,1\r", b'"Q",t,"x","1"', b'Q,t,x,"1"\r'):
        assert tally(HEADER + SOUND + last).patients == {"P001": {"bp_sys": 1}, "Q": {"x": 1}}


def test_blank_lines_are_no_rows(tally: Any) -> None:
    body = b"\n\r\n" + HEADER + b"\n" + SOUND * 3 + b"\r\n\n\n" + SOUND * 3 + b"\n\r"
    assert tally(body) == ({"P001": {"bp_sys": 6}}, {}, 6, None)


def test_blank_lines_are_counted_as_lines(tally: Any) -> None:
    body = b"\n\r\n" + HEADER + b"\n\r\n" + SOUND + b"\n" + b"short\n"
    assert tally(body).problem == "line 8: too few fields"


def test_a_line_of_two_carriage_returns_is_no_blank_line(tally: Any, among: Any) -> None:
    assert tally(among(b"\r\r")).problem == "line 42: too few fields"


def test_a_line_of_an_empty_quoted_field_is_no_blank_line(tally: Any, among: Any) -> None:
    assert tally(among(b'""')).problem == "line 42: too few fields"


@pytest.mark.parametrize("patient", [b"\rQ", b"Q\r", b"Q\rQ", b"\r", b"Q\r\r"])
def test_a_carriage_return_anywhere_else_is_data(tally: Any, among: Any, patient: bytes) -> None:
    for row in (patient + b",t,x,1", b'"' + patient + b'",t,x,1'):
        assert tally(among(row)).patients[patient.decode()] == {"x": 1}


@pytest.mark.parametrize("padding", by_default([0, 30, 60, 100], 0, 60))
@pytest.mark.parametrize("length", by_default([1, 2, 15, 16, 17, 18, 40], 1, 16, 17))
@pytest.mark.parametrize("last", ["patient_id", "event_type"])
def test_one_carriage_return_at_the_line_end_is_no_part_of_a_key(
    tally: Any, last: str, length: int, padding: int
) -> None:
    other = "event_type" if last == "patient_id" else "patient_id"
    header = f"{other},event_time,value,{last}\n".encode()
    key = "k" * length
    row = f"other,{'t' * padding},1,{key}".encode()
    body = header + (row + b"\r\n") * 30 + (row + b"\r\r\n") * 30 + (row + b"\n") * 30
    first, second = ({"k": key, "o": "other"}[name] for name in ("ko" if last == "patient_id" else "ok"))
    expected = Counter({(first, second): 60})
    expected[(first + "\r", second) if last == "patient_id" else (first, second + "\r")] = 30
    found = {(patient, kind): n for patient, types in tally(body).patients.items() for kind, n in types.items()}
    assert found == expected


@pytest.mark.parametrize("padding", [0, 60])
def test_a_last_key_of_a_carriage_return_alone_is_empty(tally: Any, padding: int) -> None:
    body = b"value,event_time,event_type,patient_id\n" + b"1,%b,x,Q\r\n" % (b"t" * padding) * 20
    assert tally(body + b"1,%b,x,\r\n" % (b"t" * padding) + b"1,,x,Q\n" * 40).problem == "line 22: empty patient_id"


@pytest.mark.parametrize("last", [b"Q", b'"Q"', b"Q\r", b'"Q"\r'])
def test_a_carriage_return_before_a_comma_leaves_the_next_field_alone(tally: Any, last: bytes) -> None:
    body = b"value,event_time,event_type,patient_id\n" + b"1,t,x\r,%b\n" % last * 40
    assert tally(body) == ({"Q": {"x\r": 40}}, {}, 40, None)


def test_an_empty_key_behind_a_carriage_return_is_empty(tally: Any) -> None:
    for line_end in (b"\n", b"\r\n", b""):
        body = b"value,event_time,event_type,patient_id\n1,t,x\r," + line_end
        assert tally(body).problem == "line 2: empty patient_id"


# ---- Quotes ----


def test_quoted_fields_may_hold_commas_quotes_and_line_ends(tally: Any, among: Any) -> None:
    row = b'"a,""b""\r\nc\n",",\n","x\r",""'
    assert tally(among(row)).patients['a,"b"\r\nc\n'] == {"x\r": 1}


def test_a_quoted_key_is_the_same_as_the_plain_one(tally: Any, among: Any) -> None:
    assert tally(among(b'"P001",t,"bp_sys",1')).patients == {"P001": {"bp_sys": 81}}


def test_a_quoted_field_may_span_many_chunks(tally: Any, among: Any) -> None:
    text = 'line, "quoted"\r\n' * 100
    row = f'Q,"{text.replace(chr(34), chr(34) * 2)}",x,1'.encode()
    assert tally(among(row)).patients["Q"] == {"x": 1}


def test_line_feeds_in_quotes_count_as_lines(tally: Any) -> None:
    body = HEADER + SOUND + b'Q,"\n\n\r\n",x,1\n' + SOUND * 50 + b"short\n"
    assert tally(body).problem == "line 57: too few fields"


def test_a_malformed_row_is_named_by_the_line_on_which_it_starts(tally: Any) -> None:
    body = HEADER + SOUND * 50 + b'Q,"\n\n",x\n' + SOUND * 50
    assert tally(body).problem == "line 52: too few fields"


@pytest.mark.parametrize(
    "row",
    [
        b'Q"Q,t,x,1',
        b'Q,t,x,1"',
        b'Q,"t"t,x,1',
        b'Q,"t" ,x,1',
        b'Q, "t",x,1',
        b'Q,t"",x,1',
        b'Q,"t"\r,x,1',
        b'Q,t,x,"1"\r\r',
        b'"Q""Q,t",x"x,1,',
        b'"',
        b'"""',
    ],
)
def test_a_quote_elsewhere_than_around_a_field_is_bad(tally: Any, row: bytes) -> None:
    body = HEADER + SOUND * 40 + row + b"\n"
    assert tally(body).problem == "line 42: bad quote"


def test_a_row_with_a_bad_quote_ends_at_the_next_line_feed(tally: Any, among: Any) -> None:
    for row in (b'Q"Q,t,"x,1', b'Q,"t"t,"x,1', b'Q,"t"\r",x,1', b'Q,"t\n"t,"x,1'):
        outcome = tally(among(row), skip=True)
        assert outcome == ({"P001": {"bp_sys": 80}}, {"bad quote": 1}, 81, None)


def test_a_quote_that_is_never_closed_takes_in_all_that_follows(tally: Any, among: Any) -> None:
    body = among(b'Q,"t,x,1')
    assert tally(body).problem == "line 42: bad quote"
    assert tally(body, skip=True) == ({"P001": {"bp_sys": 40}}, {"bad quote": 1}, 41, None)


# ---- What is malformed ----

MALFORMED = {
    "bad quote": b'Q"Q,t,x,1',
    "too few fields": b"Q,t,x",
    "too many fields": b"Q,t,x,1,",
    "empty patient_id": b",t,x,1",
    "empty event_type": b"Q,t,,1",
    "patient_id is not UTF-8": b"\xff,t,x,1",
    "event_type is not UTF-8": b"Q,t,\xff,1",
}


def test_there_is_a_row_for_every_reason() -> None:
    assert tuple(MALFORMED) == REASONS


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("reason", REASONS)
def test_a_malformed_row_ends_the_tally_with_its_line_and_reason(
    tally: Any, among: Any, reason: str, line_end: bytes
) -> None:
    outcome = tally(among(MALFORMED[reason], line_end))
    assert outcome.problem == f"line 42: {reason}"
    assert outcome.rows == 41


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("reason", REASONS)
def test_a_malformed_row_is_left_out_and_counted_when_skipping(
    tally: Any, among: Any, reason: str, line_end: bytes
) -> None:
    outcome = tally(among(MALFORMED[reason], line_end), skip=True)
    assert outcome == ({"P001": {"bp_sys": 80}}, {reason: 1}, 81, None)


@pytest.mark.parametrize("reason", REASONS)
def test_the_last_row_may_be_malformed_without_a_line_end(tally: Any, reason: str) -> None:
    body = HEADER + SOUND * 40 + MALFORMED[reason]
    assert tally(body).problem == f"line 42: {reason}"
    assert tally(body, skip=True).left_out == {reason: 1}


def test_all_left_out_rows_are_counted_by_reason(tally: Any) -> None:
    rows = b"".join(row + b"\n" for n, row in enumerate(MALFORMED.values(), start=1) for _ in range(n))
    outcome = tally(HEADER + rows * 3 + SOUND, skip=True)
    assert outcome.left_out == {reason: 3 * n for n, reason in enumerate(REASONS, start=1)}
    assert outcome.rows == 3 * 28 + 1


@pytest.mark.gate
def test_the_first_malformed_row_is_the_one_that_is_named(tally: Any) -> None:
    for first, second in itertools.permutations(REASONS, 2):
        if first != "bad quote":
            body = HEADER + SOUND * 5 + MALFORMED[first] + b"\n" + MALFORMED[second] + b"\n" + SOUND * 5
            assert tally(body).problem == f"line 7: {first}"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'"Q"Q', "bad quote"),
        (b'\xff"Q,t,,1,,', "bad quote"),
        (b',t,,1,"', "bad quote"),
        (b",t,", "too few fields"),
        (b"\xff,", "too few fields"),
        (b",t,,1,", "too many fields"),
        (b"\xff,t,\xff,1,", "too many fields"),
        (b",t,,1", "empty patient_id"),
        (b",t,\xff,1", "empty patient_id"),
        (b"\xff,t,,1", "empty event_type"),
        (b"\xff,t,\xff,1", "patient_id is not UTF-8"),
    ],
)
def test_a_row_wrong_in_several_ways_counts_under_the_first_reason(
    tally: Any, among: Any, row: bytes, reason: str
) -> None:
    assert tally(among(row)).problem == f"line 42: {reason}"
    assert tally(among(row), skip=True).left_out == {reason: 1}


def test_an_empty_quoted_key_is_empty(tally: Any, among: Any) -> None:
    assert tally(among(b'"",t,x,1')).problem == "line 42: empty patient_id"
    assert tally(among(b'Q,t,"",1')).problem == "line 42: empty event_type"


def test_empty_times_and_values_are_counted(tally: Any, among: Any) -> None:
    assert tally(among(b"Q,,x,")).patients["Q"] == {"x": 1}
