"""Bodies and query strings: what is taken, what is refused, and what is said of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.heartrate.bodies import GOOD, NO_OBJECT, WRONG_ENVELOPES, WRONG_JSON, WRONG_READINGS, dumps, reading

from mockexport.heartrate.ingest.validation import (
    WHOLE_BATCH,
    Batch,
    InvalidError,
    Query,
    read_batch,
    read_one_by_one,
    read_query,
    read_reading,
)
from mockexport.heartrate.readings import Readings, parse_timestamp

TEN = parse_timestamp("2024-01-15T10:00:00Z")


def test_a_reading_becomes_columns_of_one() -> None:
    read = read_reading(dumps(GOOD))
    assert (read.users, read.devices, read.times, read.rates) == (["user_123"], ["device_a"], [TEN], [75.0])


@pytest.mark.parametrize("rate", [30, 30.0, 220, 220.0, 75.5, 6e1])
def test_heart_rates_from_30_to_220_are_taken(rate: float) -> None:
    assert read_reading(dumps(reading(heart_rate=rate))).rates == [float(rate)]


@pytest.mark.parametrize("field", ["user_id", "device_id"])
@pytest.mark.parametrize(
    "value", ["x", "x" * 128, "💓" * 128, 'Zoë, "B"\n\'; DROP TABLE', "../../etc", "\0", " ", "עברית"]
)
def test_ids_are_1_to_128_characters_of_any_script(field: str, value: str) -> None:
    read = read_reading(dumps(reading(**{field: value})))
    assert (read.users if field == "user_id" else read.devices) == [value]


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-15T10:00:00Z", "2024-01-15T10:00:00", "2024-01-15 10:00:00",
        "2024-01-15T10:00:00.000000Z", "2024-01-15T10:00:00,000Z", "2024-01-15T10:00Z", "20240115T100000Z",
        "2024-01-15T12:00:00+02:00", "2024-01-15T05:00:00-05:00", "2024-01-15T15:30:00+05:30",
        "2024-01-16T00:00:00+14:00", "2024-01-14T22:00:00-12:00", "2024-W03-1T10:00:00Z",
        "2024-01-15T10:00:00.0000009Z",
    ],
)  # fmt: skip
def test_any_iso_8601_form_and_offset_is_the_same_instant_and_none_means_utc(text: str) -> None:
    assert read_reading(dumps(reading(timestamp=text))).times == [TEN]


def test_timestamps_are_kept_to_the_microsecond() -> None:
    assert read_reading(dumps(reading(timestamp="2024-01-15T10:00:00.123456+00:00"))).times == [TEN + 123_456]


def test_fields_that_are_not_known_are_passed_over_and_of_doubled_ones_the_last_counts() -> None:
    body = dumps(reading(extra={"deep": [1]}))[:-1] + b',"heart_rate":80}'
    assert read_reading(body).rates == [80.0]
    assert read_batch(b'{"readings":[' + body + b'],"sent_by":1}').readings.rates == [80.0]


@pytest.mark.parametrize("name", WRONG_READINGS)
def test_a_wrong_reading_is_refused_by_its_field(name: str) -> None:
    field, body = WRONG_READINGS[name]
    with pytest.raises(InvalidError) as error:
        read_reading(body)
    assert str(error.value).startswith(f"{field}: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("name", WRONG_READINGS)
def test_a_wrong_reading_of_a_batch_is_named_and_the_others_are_kept(name: str) -> None:
    field, body = WRONG_READINGS[name]
    batch = read_batch(b'{"readings":[' + b",".join([dumps(GOOD), body, dumps(GOOD)]) + b"]}")
    (rejected,) = batch.rejected
    assert (batch.readings.users, rejected["index"]) == (["user_123"] * 2, 1)
    assert rejected["reason"].startswith(f"{field}: ")


@pytest.mark.parametrize("name", [*WRONG_JSON, *NO_OBJECT])
def test_a_body_that_is_no_reading_at_all_is_refused(name: str) -> None:
    with pytest.raises(InvalidError, match=r"^(body|reading): is not (valid JSON|a JSON object)"):
        read_reading((WRONG_JSON | NO_OBJECT)[name])


@pytest.mark.parametrize("name", WRONG_ENVELOPES)
def test_a_wrong_envelope_is_refused_by_what_is_wrong_with_it(name: str) -> None:
    field, body = WRONG_ENVELOPES[name]
    with pytest.raises(InvalidError, match=f"^{field}: "):
        read_batch(body)


def test_all_that_is_wrong_with_a_reading_is_told_at_once() -> None:
    with pytest.raises(InvalidError) as error:
        read_reading(dumps({"device_id": "", "timestamp": "now", "heart_rate": 300}))
    assert str(error.value) == (
        "device_id: is empty; user_id: is missing; heart_rate: is above 220 beats a minute; "
        "timestamp: is not an ISO 8601 date and time, such as 2024-01-15T10:00:00Z"
    )


def test_a_thousand_readings_are_the_most() -> None:
    assert len(read_batch(dumps({"readings": [GOOD] * 1000})).readings.times) == 1000
    with pytest.raises(InvalidError, match="1,001 readings; the limit is 1,000"):
        read_batch(dumps({"readings": [GOOD] * 1001}))


IDS = st.text(max_size=3) | st.sampled_from(["x" * 128, "x" * 129, "💓"]) | st.none() | st.integers()
TIMES = (
    st.sampled_from(["2024-01-15T10:00:00Z", "2024-01-15", "", "1705312800", "0001-01-01T00:00:00+01:00"])
    | st.datetimes().map(datetime.isoformat)
    | st.text(max_size=20)
    | st.integers()
)
RATES = (
    st.floats(25, 225, allow_nan=False)
    | st.integers(28, 222)
    | st.sampled_from([True, False, None, "75", 2**70, -(2**70), 1e308])
)
READING = st.fixed_dictionaries(
    {}, optional={"device_id": IDS, "user_id": IDS, "timestamp": TIMES, "heart_rate": RATES, "other": st.integers()}
)
VALID = st.fixed_dictionaries(
    {
        "device_id": st.text(min_size=1, max_size=5),
        "user_id": st.text(min_size=1, max_size=5),
        "timestamp": st.datetimes().map(datetime.isoformat),
        "heart_rate": st.floats(30, 220) | st.integers(30, 220),
    }
)
ANYTHING: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def encoded(document: Any) -> bytes | None:
    """A document as JSON; None where there is no such JSON, as for a lone surrogate."""
    try:
        return orjson.dumps(document, default=str)
    except TypeError:
        return None


def judged(body: bytes, judge: Any) -> Any:
    try:
        return judge(body)
    except InvalidError as error:
        return str(error)


@given(st.lists(VALID | READING | ANYTHING, max_size=6))
@example([GOOD, {**GOOD, "heart_rate": True}])
def test_the_one_call_and_reading_by_reading_agree(readings: list[Any]) -> None:
    body = encoded({"readings": readings})
    if body is not None:
        assert judged(body, read_batch) == judged(body, read_one_by_one)


@given(st.lists(VALID, min_size=1, max_size=6))
def test_valid_readings_take_the_one_call(readings: list[Any]) -> None:
    body = encoded({"readings": readings})
    if body is not None:
        WHOLE_BATCH.validate_json(body)
        assert read_one_by_one(body) == read_batch(body)
        assert read_one_by_one(body).rejected == []


@given(READING | ANYTHING)
def test_a_reading_alone_is_judged_as_it_is_in_a_batch(one: Any) -> None:
    body = encoded(one)
    if body is None:
        return
    alone, batch = judged(body, read_reading), judged(b'{"readings":[' + body + b"]}", read_one_by_one)
    if isinstance(batch, Batch):
        assert isinstance(alone, Readings)
        assert alone == batch.readings
    else:
        assert batch == f"readings: none of 1 is valid; the first: {alone}"


@given(st.binary(max_size=60) | ANYTHING.map(encoded).filter(bool))
def test_no_bytes_at_all_bring_another_error(body: bytes) -> None:
    for read in (read_reading, read_batch):
        try:
            read(body)
        except InvalidError as error:
            assert ": " in str(error)  # noqa: PT017


def query_string(**changes: Any) -> bytes:
    given = {"user_id": "user_123", "start": "2024-01-15T10:00:00Z", "end": "2024-01-15T11:00:00Z", **changes}
    return urlencode({name: value for name, value in given.items() if value is not None}).encode()


def test_a_query_is_a_user_two_instants_and_perhaps_a_device() -> None:
    hour = 3_600_000_000
    assert read_query(query_string()) == Query("user_123", TEN, TEN + hour, None)
    assert read_query(query_string(device_id="device_b")) == Query("user_123", TEN, TEN + hour, "device_b")
    assert read_query(query_string(user_id="Zoë & 💓+1")).user == "Zoë & 💓+1"


def test_a_query_of_one_instant_is_a_query() -> None:
    assert read_query(query_string(end="2024-01-15T10:00:00Z")) == Query("user_123", TEN, TEN, None)


@pytest.mark.parametrize(
    "start",
    [
        "2024-01-15T12:00:00+02:00", "2024-01-15T12:00:00.000+0200", "2024-01-15+12:00:00+02:00",
        "2024-01-15%2012:00:00%2B02:00", "2024-01-15T12:00:00%20+02:00".replace("%20", ""), "20240115T120000+02",
        "2024-01-15+10:00:00", "2024-01-15T05:00:00-05:00",
    ],
)  # fmt: skip
def test_a_plus_that_became_a_space_is_understood(start: str) -> None:
    assert read_query(f"user_id=u&start={start}&end=2024-01-15T11:00:00Z".encode()).start == TEN


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *[(query_string(**{name: None}), name) for name in ("user_id", "start", "end")],
        *[(query_string(**{name: ""}), name) for name in ("user_id", "start", "end", "device_id")],
        *[(query_string(**{name: "x" * 129}), name) for name in ("user_id", "device_id")],
        *[
            (query_string(**{name: value}), name)
            for name in ("start", "end")
            for value in ("now", "1705312800", "2024-01", "\0", "10 10", "2024-13-01T00:00:00 02:00")
        ],
        (query_string(start="0001-01-01T00:00:00 02:00"), "start"),
        (query_string(end="2024-01-15T11:00:00Z\0"), "end"),
        (query_string(start="2024-01-15T11:00:00.000001Z"), "start"),
        (query_string() + b"&user_id=other", "user_id"),
        (b"", "user_id"),
        (b"user_id=%ff", "query"),
        (b"user_id=%ed%a0%80", "query"),
        (b"&".join([b"a=1"] * 1000), "query"),
    ],
)  # fmt: skip
def test_a_wrong_query_is_refused_by_its_parameter(query: bytes, field: str) -> None:
    with pytest.raises(InvalidError, match=f"^{field}: "):
        read_query(query)


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=80))
def test_no_query_string_brings_another_error(text: str) -> None:
    for query in (text, f"user_id=u&start={text}&end={text}"):
        try:
            read_query(query.encode())
        except InvalidError as error:
            assert ": " in str(error)  # noqa: PT017


@given(st.datetimes(), st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)))
def test_offsets_are_taken_off(moment: datetime, offset: timedelta) -> None:
    offset = timedelta(minutes=offset // timedelta(minutes=1))
    try:
        local = moment + offset
    except OverflowError:
        return
    sign, minutes = ("-" if offset < timedelta(0) else "+"), abs(offset) // timedelta(minutes=1)
    text = f"{local.isoformat()}{sign}{minutes // 60:02}:{minutes % 60:02}"
    expected = (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert read_reading(dumps(reading(timestamp=text))).times == [expected]
