"""What both generators promise, and that they give the same bytes for any plan."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.seeds import examples

from mockexport.sources.mock import ReferenceGenerator
from mockexport.sources.mock.specs import EventType, Plan

HEADER = b"patient_id,event_time,event_type,value\n"
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

PULSE = EventType("pulse", mean=75, deviation=15, low=30, high=200)
PLAN = Plan(
    id="", seed=bytes(16), rows=3000, start=datetime(2025, 8, 26, tzinfo=UTC), step=timedelta(seconds=7),
    patients=("P001", "P002", "P003"), event_types=(PULSE,),
)  # fmt: skip


def read_all(generator: Any, *sizes: int) -> bytes:
    chunks: list[bytes] = []
    while chunk := generator.read(sizes[len(chunks) % len(sizes)] if sizes else 1 << 18):
        chunks.append(chunk)
    return b"".join(chunks)


def rows_of(generator: Any) -> list[list[str]]:
    return [line.split(",") for line in read_all(generator).decode().splitlines()[1:]]


# ---- The contract ----


def test_the_header_comes_first(new_generator: Any) -> None:
    assert new_generator(PLAN).read(1).startswith(HEADER)


def test_a_download_without_rows_is_a_header(new_generator: Any) -> None:
    assert read_all(new_generator(replace(PLAN, rows=0))) == HEADER


@pytest.mark.parametrize("size", [-1, 0, 1, 39, 100, 1000, 1 << 18])
def test_every_read_gives_whole_rows_until_there_are_none(new_generator: Any, size: int) -> None:
    generator = new_generator(PLAN)
    chunks = list(iter(lambda: generator.read(size), b""))
    assert all(chunk.endswith(b"\n") for chunk in chunks)
    assert all(len(chunk) < max(size, 0) + 256 for chunk in chunks)
    assert b"".join(chunks) == read_all(new_generator(PLAN))
    assert generator.read(size) == generator.read(1 << 18) == b""


@pytest.mark.parametrize("rows", [1, 2, 511, 512, 513, 1023, 1024, 1025])
def test_there_are_as_many_rows_as_planned(new_generator: Any, rows: int) -> None:
    data = read_all(new_generator(replace(PLAN, rows=rows)))
    assert data.count(b"\n") == rows + 1
    assert read_all(new_generator(PLAN)).startswith(data)


def test_rows_name_the_planned_patients_and_types(new_generator: Any) -> None:
    types = tuple(replace(PULSE, name=name) for name in ("a", "b"))
    rows = rows_of(new_generator(replace(PLAN, event_types=types)))
    assert {row[0] for row in rows} == {"P001", "P002", "P003"}
    assert {row[2] for row in rows} == {"a", "b"}


def test_every_time_lies_within_the_step_of_its_row(new_generator: Any) -> None:
    for number, row in enumerate(rows_of(new_generator(PLAN))):
        begin = PLAN.start + number * PLAN.step
        assert begin <= datetime.fromisoformat(row[1]) <= begin + PLAN.step


def test_times_are_written_in_iso_form_without_an_empty_fraction(new_generator: Any) -> None:
    plan = replace(PLAN, rows=2000, step=timedelta(microseconds=500_000))
    times = [row[1] for row in rows_of(new_generator(plan))]
    for time in times:
        assert time == datetime.fromisoformat(time).replace(tzinfo=None).isoformat() + "Z"
    plan = replace(PLAN, step=timedelta(0))
    assert {row[1] for row in rows_of(new_generator(plan))} == {"2025-08-26T00:00:00Z"}


@pytest.mark.parametrize(
    ("microseconds", "seed", "time"),
    [(11_292_239, 13, "00:00:08.645762"), (102_109_828, 174, "00:00:39.417760"), (33_876_717, 13, "00:00:25.937288")],
)
def test_half_microseconds_are_rounded_to_even(new_generator: Any, microseconds: int, seed: int, time: str) -> None:
    plan = replace(PLAN, seed=bytes([seed]), rows=1, step=microseconds * MICROSECOND, patients=("p",))
    assert rows_of(new_generator(plan))[0][1] == f"2025-08-26T{time}Z"


def test_midnight_belongs_to_the_next_day(new_generator: Any) -> None:
    midnight = datetime(2025, 8, 26, tzinfo=UTC)
    times: list[str] = []
    for before in range(10, 20):
        plan = replace(PLAN, start=midnight - before * MICROSECOND, rows=30, step=MICROSECOND)
        times += [row[1] for row in rows_of(new_generator(plan))]
    assert "2025-08-26T00:00:00Z" in times
    assert {time[:14] for time in times} == {"2025-08-25T23:", "2025-08-26T00:"}


@pytest.mark.parametrize("year", [1970, 1972, 1999, 2000, 2024, 2025, 2100, 2399, 2400, 9998])
def test_every_day_of_a_year_has_its_date(new_generator: Any, year: int) -> None:
    start = datetime(year, 1, 1, tzinfo=UTC)
    days = (datetime(year + 1, 1, 2, tzinfo=UTC) - start).days
    rows = rows_of(new_generator(replace(PLAN, rows=days, start=start, step=DAY)))
    assert [row[1][:10] for row in rows] == [(start + n * DAY).date().isoformat() for n in range(days)]


def test_values_are_clamped(new_generator: Any) -> None:
    plan = replace(PLAN, event_types=(replace(PULSE, low=70, high=80),))
    assert {int(row[3]) for row in rows_of(new_generator(plan))} == set(range(70, 81))


def test_a_deviation_of_0_gives_the_mean(new_generator: Any) -> None:
    plan = replace(PLAN, event_types=(replace(PULSE, deviation=0),))
    assert {row[3] for row in rows_of(new_generator(plan))} == {"75"}


def test_values_are_cut_towards_0(new_generator: Any) -> None:
    plan = replace(PLAN, event_types=(replace(PULSE, mean=0, deviation=1, low=0, high=999),))
    zeros = sum(row[3] == "0" for row in rows_of(new_generator(plan)))
    assert zeros / plan.rows == pytest.approx(0.84, abs=0.03)  # below 1: all the negative ones, and those from 0 to 1


def test_the_seed_alone_makes_the_difference(new_generator: Any) -> None:
    first = read_all(new_generator(PLAN))
    assert read_all(new_generator(replace(PLAN, id="other"))) == first
    assert read_all(new_generator(replace(PLAN, seed=b"other"))) != first


@pytest.mark.parametrize("size", ["1", None])
def test_the_size_of_a_read_must_be_a_number(new_generator: Any, size: object) -> None:
    with pytest.raises(TypeError):
        new_generator(PLAN).read(size)


# ---- The twins ----

NAMES = st.one_of(
    st.sampled_from(["P001", "", "x" * 29, "é" * 14, "😀" * 7, "a\0b"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=29),
).filter(lambda name: len(name.encode()) <= 29)
EVENT_TYPES = st.builds(
    lambda name, mean, deviation, bounds: EventType(name, mean, deviation, min(bounds), max(bounds)),
    NAMES,
    st.one_of(st.integers(0, 200), st.integers(-1000, 2000), st.sampled_from([-1_000_000, 1_000_000])),
    st.one_of(st.just(0), st.integers(1, 30), st.integers(0, 1000), st.just(-7)),
    st.one_of(st.just((0, 999)), st.tuples(st.integers(0, 999), st.integers(0, 999))),
)
STEPS = st.one_of(
    st.sampled_from([timedelta(0), MICROSECOND, 3 * MICROSECOND, timedelta(seconds=7), DAY - MICROSECOND, DAY]),
    st.integers(0, 3_000_000).map(lambda n: n * MICROSECOND),
    st.timedeltas(timedelta(0), DAY),
)
BORDERS = [
    "1970-01-01", "1972-02-28", "1972-02-29", "1999-12-31", "2000-02-28", "2000-02-29", "2023-02-28", "2024-02-28",
    "2024-12-31", "2100-02-28", "2399-12-31", "2400-02-28", "2400-02-29", "9000-12-31",
]  # fmt: skip
STARTS = st.one_of(
    st.datetimes(datetime.fromisoformat("1970-01-01"), datetime.fromisoformat("9990-01-01")),
    st.builds(
        lambda day, back: datetime.fromisoformat(day) + DAY - back,
        st.sampled_from(BORDERS),
        st.one_of(st.timedeltas(timedelta(0), DAY), st.integers(0, 3000).map(lambda n: n * MICROSECOND)),
    ),
).map(lambda time: time.replace(tzinfo=UTC))
PLANS = st.builds(
    Plan,
    id=st.just(""),
    seed=st.binary(max_size=20),
    rows=st.one_of(st.integers(0, 40), st.integers(0, 2000), st.sampled_from([511, 512, 513, 1024, 1025])),
    start=STARTS,
    step=STEPS,
    patients=st.lists(NAMES, min_size=1, max_size=20).map(tuple),
    event_types=st.lists(EVENT_TYPES, min_size=1, max_size=5).map(tuple),
)


@pytest.mark.gate
@examples(100, 2000)
@given(plan=PLANS, sizes=st.lists(st.integers(-1, 5000), min_size=1, max_size=5))
@example(plan=PLAN, sizes=[256])
@example(plan=replace(PLAN, rows=2000, start=LAST - 2000 * DAY, step=DAY), sizes=[1 << 18])
def test_both_generators_give_the_same_bytes(native_generator: Any, plan: Plan, sizes: list[int]) -> None:
    assert read_all(native_generator(plan), *sizes) == read_all(ReferenceGenerator(plan), 1 << 18)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 1023, 1024, 1025, 4096])
def test_both_choose_alike_among_any_number_of_names(native_generator: Any, count: int) -> None:
    plan = replace(
        PLAN,
        patients=tuple(f"P{n}" for n in range(count)),
        event_types=tuple(replace(PULSE, name=f"t{n}") for n in range(count)),
    )
    assert read_all(native_generator(plan)) == read_all(ReferenceGenerator(plan))


def test_both_agree_within_a_hair_of_a_whole_number(native_generator: Any) -> None:
    """The native generator approximates, and must notice when that could fall on the wrong side."""
    for seed in (bytes([n]) for n in range(200)):
        draw = random.Random(seed)
        draw.choice("p"), draw.uniform(0, 7), draw.choice("t")
        normal = draw.gauss(0, 1)
        for deviation, hair in itertools.product((1, 15, 1000), (-1e-7, -1e-13, 0, 1e-13, 1e-7)):
            mean: Any = 500 - normal * deviation + hair
            kind = EventType("t", mean, deviation, low=0, high=999)
            plan = replace(PLAN, seed=seed, rows=2, patients=("p",), event_types=(kind,))
            assert read_all(native_generator(plan)) == read_all(ReferenceGenerator(plan))


def test_both_cut_a_step_to_microseconds_alike(native_generator: Any) -> None:
    for microseconds in (*range(1, 60), 999_999, 1_000_001, 1_999_999, 86_399_999_999):
        plan = replace(PLAN, rows=200, step=microseconds * MICROSECOND)
        assert read_all(native_generator(plan)) == read_all(ReferenceGenerator(plan))


@pytest.mark.parametrize(
    ("microseconds", "seed"), [(86_399_000_729, 114), (86_399_001_655, 208), (86_399_002_432, 98), (86_399_006_881, 9)]
)
def test_both_take_the_whole_seconds_off_before_they_round(native_generator: Any, microseconds: int, seed: int) -> None:
    plan = replace(PLAN, seed=bytes([seed]), rows=1, step=microseconds * MICROSECOND, patients=("p",))
    assert read_all(native_generator(plan)) == read_all(ReferenceGenerator(plan))


# ---- Templates ----

TEMPLATE = (b"<", b"|", b"|", b"|", b">\n")
TEMPLATES = st.tuples(*[st.one_of(st.just(b""), st.binary(max_size=20), st.binary(max_size=700))] * 5)


def test_a_template_writes_the_rows_of_the_csv_with_their_numbers(new_generator: Any) -> None:
    types = (replace(PULSE, name="a"), replace(PULSE, name="b", mean=150))
    plan = replace(PLAN, event_types=types)
    by_template = read_all(new_generator(plan, [(b"a ", *TEMPLATE[1:]), (b"b ", *TEMPLATE[1:])])).decode()
    expected = [
        f"{kind} {number}|{patient}|{time.removesuffix('Z')}|{value}>"
        for number, (patient, time, kind, value) in enumerate(rows_of(new_generator(plan)))
    ]
    assert by_template.splitlines() == expected


@pytest.mark.parametrize("size", [-1, 0, 1, 1000, 1 << 18])
def test_every_read_by_template_gives_whole_rows_until_there_are_none(new_generator: Any, size: int) -> None:
    generator = new_generator(PLAN, [TEMPLATE])
    chunks = list(iter(lambda: generator.read(size), b""))
    assert all(chunk.endswith(b">\n") for chunk in chunks)
    assert b"".join(chunks) == read_all(new_generator(PLAN, [TEMPLATE]))
    assert generator.read(size) == b""


def test_a_download_without_rows_is_empty_by_template(new_generator: Any) -> None:
    assert read_all(new_generator(replace(PLAN, rows=0), [TEMPLATE])) == b""


@pytest.mark.parametrize("templates", [[], [TEMPLATE] * 2])
def test_there_must_be_a_template_for_each_event_type(new_generator: Any, templates: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"template|zip"):
        new_generator(PLAN, templates)


@pytest.mark.gate
@examples(100, 2000)
@given(
    plan=PLANS.filter(lambda plan: len(set(plan.event_types)) == len(plan.event_types)),
    templates=st.lists(TEMPLATES, min_size=5, max_size=5),
    sizes=st.lists(st.integers(-1, 20_000), min_size=1, max_size=5),
)
def test_both_generators_give_the_same_bytes_by_template(
    native_generator: Any, plan: Plan, templates: list[Any], sizes: list[int]
) -> None:
    templates = templates[: len(plan.event_types)]
    assert read_all(native_generator(plan, templates), *sizes) == read_all(ReferenceGenerator(plan, templates))


@pytest.mark.parametrize(
    ("template", "error", "message"),
    [
        (TEMPLATE[:4], ValueError, "a tuple of 5 parts"),
        ([*TEMPLATE], ValueError, "a tuple of 5 parts"),
        ((*TEMPLATE[:4], ">"), TypeError, "expected bytes"),
        ((*TEMPLATE[:4], b">" * 4093), ValueError, "at most 4096 bytes"),
    ],
)
def test_a_template_beyond_the_limits_is_refused(
    native_generator: Any, template: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        native_generator(PLAN, [template])


def test_a_template_of_4096_bytes_and_a_name_of_32_are_within_the_limits(native_generator: Any) -> None:
    plan = replace(PLAN, patients=("p" * 32,), rows=1000)
    templates = [(*TEMPLATE[:4], b">" * 4092)]
    assert read_all(native_generator(plan, templates), 1) == read_all(ReferenceGenerator(plan, templates))
