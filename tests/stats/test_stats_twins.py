"""The native statistics are those of the reference, whatever the bytes and wherever they are cut."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bodies import MALFORMED, SOUND
from tests.csv_strategies import CUTS, HEADER, LIMITS, PAIRS, bodies, cut
from tests.seeds import examples, rng
from tests.stats.kernels import NATIVE, expected, trace

from mockexport.stats import result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(not NATIVE, reason="the native part was not built, or is not wanted")


def assert_twins(chunks: list[bytes], **options: Any) -> list[Any]:
    """Compare every instruction set with the reference, and return what they tell."""
    wanted = expected(chunks, **options)
    for name, new in NATIVE.items():
        assert trace(new, chunks, **options) == wanted, name
    return wanted


# ---- Bodies ----

NUMBERS = st.sampled_from(
    [
        b"7", b"71", b"120", b"1e3", b"-36.6", b"98.125", b"0", b"-0.0", b"", b"NaN", b"1.", b".5", b"+5", b"40",
        b"39.99999999999999999", b"1e308", b"1e309", b"5e-324", b"123456789012345678.5", b"1e-400", b"180.0000001",
    ]
)  # fmt: skip
TIMES = st.sampled_from(
    [
        b"2025-08-26T00:00:04.906404Z", b"2025-08-26T00:00:04.906405Z", b"2025-08-26T00:00:04Z", b"2025-08-25", b"2025",
        b"2025-08-26T00:00:04.9+02:00", b"2025-08-27 23:59:59", b"", b"2025-02-29", b"t" * 27, b"t" * 60,
    ]
)  # fmt: skip


@examples(150, 8000)
@given(
    body=bodies(TIMES, NUMBERS),
    cuts=CUTS,
    skip=st.booleans(),
    limit=LIMITS,
    pairs=PAIRS,
    distinct=st.sampled_from([4096, 8, 3, 1]),
)
def test_the_twins_come_to_the_same(
    body: bytes, cuts: list[int], skip: bool, limit: int, pairs: int, distinct: int
) -> None:
    options = {"skip": skip, "max_row_bytes": min(limit, (1 << 31) - 1), "max_pairs": pairs}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result, "MAX_DISTINCT", distinct)
        assert_twins(list(cut(body, cuts)), **options)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("body", [*SOUND.values(), *(bad.body for bad in MALFORMED.values())])
def test_rows_are_those_of_the_tally(body: bytes, skip: bool) -> None:
    assert_twins([body], skip=skip)
    assert_twins([body[at : at + 7] for at in range(0, min(len(body), 1000), 7)], skip=skip)


@pytest.mark.parametrize("limit", [63, 64, 65, 100, 129])
def test_the_longest_row_is_that_of_the_reference(limit: int) -> None:
    sound = b"Q,,x,1\n" * 40
    fits = b"Q,%b,x,1" % (b"t" * (limit - 6))
    for row in (fits, b"Q" + fits, fits + b"\r", fits.replace(b"t", b'"', 1), b'"Q"' + fits[3:], b'"Q"' + fits[2:]):
        assert_twins([HEADER + sound + row + b"\n" + sound], max_row_bytes=limit)


# ---- One field ----


def assert_read_as_the_reference_does(column: bytes, texts: list[bytes]) -> None:
    """Compare what becomes of texts in a column: plain and quoted, among others and at the end."""
    header = b"patient_id,x,event_type," + column + b"," + (b"event_time" if column == b"value" else b"value") + b"\n"
    rows = []
    for number, text in enumerate(texts):
        if not set(text) & set(b',"\r\n'):
            rows.append(b"P%d,,plain,%b,\n" % (number, text))
        rows.append(b'P%d,,quoted,"%b",\n' % (number, text.replace(b'"', b'""')))
    assert_twins([header + b"".join(rows)])
    for row in rows[:3]:
        assert_twins([header + row[:-1]])


DIGITS = st.text("0123456789", max_size=25)
SIGNS = st.sampled_from(["", "", "", "-", "+"])
EXPONENTS = st.one_of(
    st.just(""),
    st.builds("{}{}{}".format, st.sampled_from("eE"), SIGNS, st.integers(0, 400)),
    st.builds("{}{}{}".format, st.sampled_from("eE"), SIGNS, DIGITS),
)
ALMOST_NUMBERS = st.builds("{}{}{}{}{}".format, SIGNS, DIGITS, st.sampled_from(["", ".", "."]), DIGITS, EXPONENTS)


def spelled(mantissa: int, places: int) -> str:
    return f"{Decimal(mantissa).scaleb(-places):f}"


SHORT_NUMBERS = st.builds(spelled, st.integers(-(10**8), 10**8), st.integers(0, 7))
NEAR_THE_ENDS = st.builds(
    "{}{}e{}".format, SIGNS, st.integers(10**15, 10**19), st.one_of(st.integers(285, 300), st.integers(-350, -335))
)
ANY_TEXT = st.text("0123456789.+-eE /:,\"'\0Tn", max_size=12)


@pytest.mark.gate
@examples(100, 5000)
@given(st.lists(st.one_of(SHORT_NUMBERS, ALMOST_NUMBERS, NEAR_THE_ENDS, ANY_TEXT), max_size=60))
def test_numbers_are_those_of_the_reference(texts: list[str]) -> None:
    assert_read_as_the_reference_does(b"value", [text.encode() for text in texts])


def test_the_ends_of_what_is_a_number_are_those_of_the_reference() -> None:
    digits = ["9" * 17, "9" * 18, "9" * 19, "1" * 18 + "5", "1" * 17 + "25", "1" * 17 + "250001", "0" * 30 + "1"]
    powers = [
        "",
        "e0",
        "e999999999",
        "e-999999999",
        "e1000000000",
        "e0000000000000308",
        "e-00000",
        "e+3",
        "e",
        "e-",
        "e.5",
    ]
    edges = ["1.7976931348623157e308", "1.79769313486231571e308", "1.797693134862315749e308", "17976931348623157e292"]
    edges += [
        "5e-324",
        "4.99999999999999999e-324",
        "4.999999999999999999e-324",
        "0.5e-323",
        "49e-325",
        "0e999999999999",
    ]
    edges += [
        "1..2",
        "1.2.3",
        "12345678",
        "123456789",
        "1234567.",
        ".1234567",
        "1234.567",
        "--1",
        "+-1",
        "-",
        "+",
        "1-1",
    ]
    texts = [whole + power for whole in digits for power in powers] + edges
    texts += [f"{sign}{text}" for sign in "+-" for text in texts]
    assert_read_as_the_reference_does(b"value", [text.encode() for text in texts])


YEARS, TWO = st.integers(0, 9999), st.integers(0, 61)
CLOCKS = st.builds("{}{:02}:{:02}:{:02}".format, st.sampled_from("TTTt "), st.integers(0, 25), TWO, TWO)
FRACTIONS = st.one_of(st.just(""), st.from_regex(r"\A\.[0-9]{0,9}\Z", alphabet="0123456789."))
OFFSETS = st.one_of(
    st.sampled_from(["", "Z", "Z", "z"]),
    st.builds("{}{:02}{}{:02}".format, st.sampled_from("+-"), st.integers(0, 25), st.sampled_from(["", ":"]), TWO),
    st.builds("{}{:02}".format, st.sampled_from("+-"), st.integers(0, 25)),
)
DATES = st.builds(
    "{:04}-{:02}-{:02}".format, st.one_of(YEARS, st.sampled_from([1, 9999])), st.integers(0, 13), st.integers(0, 32)
)
USUAL_TIMES = st.builds(
    "{}T{}Z".format, st.dates().map(str), st.times().map(lambda time: time.isoformat("microseconds"))
)


@st.composite
def almost_times(draw: st.DrawFn) -> str:
    """A time, mostly, of which a byte may be another one and the end may be missing."""
    text = draw(st.one_of(USUAL_TIMES, st.builds("{}{}{}{}".format, DATES, CLOCKS, FRACTIONS, OFFSETS)))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(text) - 1))
        text = text[:at] + draw(st.sampled_from("0123456789:-+TZ./x é")) + text[at + 1 :]
    return text[: draw(st.sampled_from([None, None, None, *range(len(text))]))]


@pytest.mark.gate
@examples(100, 5000)
@given(st.lists(almost_times(), max_size=60))
def test_times_are_those_of_the_reference(texts: list[str]) -> None:
    assert_read_as_the_reference_does(b"event_time", [text.encode() for text in texts])


@pytest.mark.gate
def test_every_day_is_that_of_the_reference() -> None:
    years = [1, 4, 100, 400, 1582, 1900, 1969, 1970, 2000, 2024, 2025, 9999]
    days = [f"{year:04}-{month:02}-{day:02}" for year in years for month in range(14) for day in range(33)]
    texts = [f"{day}T23:59:59.999999Z".encode() for day in days] + [
        b"0001-01-01T00:00:00+00:01",
        b"9999-12-31T23:59:59-01",
    ]
    assert_read_as_the_reference_does(b"event_time", texts)


@pytest.mark.gate
@pytest.mark.parametrize(
    ("column", "text"),
    [
        (b"event_time", b"2025-08-26T00:00:04.906404Z"),
        (b"event_time", b"2025-08-26T00:00:04Z"),
        (b"value", b"-123.456"),
        (b"value", b"12345678"),
    ],
)
def test_any_byte_in_any_place_is_read_as_by_the_reference(column: bytes, text: bytes) -> None:
    others = [text[:at] + bytes([byte]) + text[at + 1 :] for at in range(len(text)) for byte in range(256)]
    assert_read_as_the_reference_does(column, [each for other in others for each in (text, other)])


# ---- Many values ----


def body_of(values: Iterator[str]) -> list[bytes]:
    rows = [f"P1,2025-08-26T00:00:04Z,bp_sys,{value}\n".encode() for value in values]
    return [HEADER, b"".join(rows)]


def far_apart(count: int) -> Iterator[str]:
    """Distinct numbers of all sizes and signs, with up to 17 digits."""
    draw = rng("far apart")
    for _ in range(count):
        yield f"{draw.choice(['', '-'])}{draw.randrange(1, 10 ** draw.randrange(1, 18))}e{draw.randrange(-340, 290)}"


MANY: dict[str, Callable[[], Iterator[str]]] = {
    "as many distinct ones as are kept": lambda: (str(n % 4096) for n in range(10_000)),
    "one more": lambda: (str(n % 4097) for n in range(10_000)),
    "decimals": lambda: (f"{n / 100}" for n in range(-5000, 5000)),
    "at the borders of buckets": lambda: (f"{(64 + n) / 64 * 2.0**e!r}" for e in range(-60, 60) for n in range(64)),
    "of all sizes": lambda: far_apart(9000),
    "large ones whose squares add up": lambda: (f"{10**18 - 1 - n}" for n in range(9000)),
}


@pytest.mark.parametrize("values", MANY.values(), ids=MANY)
def test_many_distinct_values_make_the_same_sketch(values: Callable[[], Iterator[str]]) -> None:
    stats = assert_twins(body_of(values()))[-2]
    is_sketch = isinstance(stats.pairs["P1", "bp_sys"].values, result.Sketch)
    assert is_sketch == (values is not MANY["as many distinct ones as are kept"])


# ---- Ranges ----

ENDS = st.one_of(st.none(), st.sampled_from([(0, 0), (4, 1), (-5, -1), (999, -2), (17, 307), (-5, -324), (10, 0)]))

SPELLED = ["0", "40", "39.9", "40.1", "10", "-0.5", "-0.6", "9.99", "9.98", "1e308", "1.8e308", "5e-324", "-5e-324"]


@examples(60, 3000)
@given(
    ranges=st.dictionaries(st.sampled_from(["x", "bp_sys", "é", "x" * 40, "", "\0"]), st.tuples(ENDS, ENDS)),
    values=st.lists(st.sampled_from(SPELLED), max_size=30),
    distinct=st.sampled_from([4096, 3]),
)
def test_anomalies_are_those_of_the_reference(ranges: Any, values: list[str], distinct: int) -> None:
    types = ["x", "bp_sys", "é", "x" * 40, "xx", "\0"]
    rows = [f"P1,,{types[n % len(types)]},{value}\n".encode() for n, value in enumerate(values * 3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result, "MAX_DISTINCT", distinct)
        assert_twins([HEADER + b"".join(rows)], ranges=ranges)
