"""No cell of a table is ever cut or broken over lines, whatever is in it and however wide the terminal is."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from mockexport import Counts
from mockexport.cli.counts_table import counts_table
from mockexport.cli.grid import Cell, Column, Grid
from mockexport.cli.tables import listing_table, verdict_table

if TYPE_CHECKING:
    from rich.console import RenderableType

WORDS = st.text("ab1é患e\u0308", min_size=1, max_size=12).filter(lambda word: not word.startswith("\u0308"))
WIDTHS = st.integers(20, 200)
MARKS = {"+", "++", "-", "--"}


def lines_of(table: RenderableType, width: int) -> list[str]:
    """Return the lines of a table on a terminal of this width, without colours."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(table, soft_wrap=True)
    return capture.get().splitlines()


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    words = WORDS.filter(lambda word: cell_len(word) <= 12)  # narrower than the narrowest terminal
    flags = draw(st.lists(st.tuples(words, st.booleans(), st.booleans()), min_size=1, max_size=8))
    columns = [Column(*flag) for flag in flags]
    row = st.tuples(*[words.map(Cell)] * len(columns))
    return Grid(columns, draw(st.lists(row, max_size=5)), footer=draw(st.lists(row, max_size=1)))


@pytest.mark.gate
@given(grids(), st.integers(14, 50))
def test_a_table_has_whole_cells_in_lines_that_fit(grid: Grid, width: int) -> None:
    lines = lines_of(grid, width)
    required = [number for number, column in enumerate(grid.columns) if not column.optional]
    cells = [[row[number].text for number in required] for row in [*grid.rows, *grid.footer] if row]
    alone = {text for row in cells for text in row} | {column.heading for column in grid.columns}
    assert all(cell_len(line) <= width or line in alone for line in lines)
    rest = iter(lines)
    for row in cells:  # in their order, each in one line, or each cell in a line of its own
        at = next(line for line in rest if all(text in line.split() for text in row[:1]))
        for text in row:
            while text not in at.split():
                at = next(rest)


def test_a_table_is_paragraphs_from_one_column_too_few() -> None:
    grid = Grid([Column("one"), Column("other")], [[Cell("x" * 10), Cell("y" * 8)]])
    assert lines_of(grid, 20) == ["one         other", "─" * 20, "xxxxxxxxxx  yyyyyyyy"]
    assert lines_of(grid, 19) == ["one    xxxxxxxxxx", "other  yyyyyyyy", ""]
    assert lines_of(grid, 16) == ["one", "xxxxxxxxxx", "other  yyyyyyyy", ""]


COUNTED = st.dictionaries(
    WORDS, st.dictionaries(WORDS, st.integers(1, 10**12), min_size=1, max_size=6), min_size=1, max_size=6
)


@pytest.mark.gate
@given(COUNTED, WIDTHS)
def test_a_table_of_counts_says_exactly_what_was_counted(patients: dict[str, dict[str, int]], width: int) -> None:
    counts = Counts(patients)
    _title, *lines = [
        [word for word in line.split() if word not in MARKS] for line in lines_of(counts_table("-", counts), width)
    ]
    heading, rows = lines[0], lines[2 : 2 + (len(patients))]
    types = sorted(counts.totals)
    if heading[-1] == "total":  # a column per type: the first ones, and how many there are
        shown = heading[1:-1]
        assert shown == types[: len(shown)]
        note = f"{len(types)} types, {len(shown)} shown; --format csv has all".split()
        assert (note in lines) == (len(shown) < len(types))
        assert rows == [
            [patient, *(f"{found[t]:,}" if t in found else "·" for t in shown), f"{sum(found.values()):,}"]
            for patient, found in sorted(patients.items())
        ]
    elif heading[-1] == "records":
        assert heading == ["patient", "type", "records"]
        pairs = [[p, t, f"{n:,}"] for p, found in sorted(patients.items()) for t, n in sorted(found.items())]
        assert lines[2 : 2 + len(pairs)] == pairs
        assert lines[3 + len(pairs) :][: len(types)] == [["total", t, f"{counts.totals[t]:,}"] for t in types]
    else:  # a paragraph for each
        words = [word for line in lines for word in line]
        assert all(f"{n:,}" in words for found in patients.values() for n in found.values())
        assert {*patients, *types} <= set(words)


@pytest.mark.parametrize(("width", "last"), [(120, "total"), (60, "records"), (30, "patient")])
def test_a_narrower_terminal_gets_a_longer_form(width: int, last: str) -> None:
    counts = Counts({"a-patient": {f"a-rather-long-type-{number}": 1_000_000 for number in range(9)}})
    assert lines_of(counts_table("trial", counts), width)[1].split()[-1 if width > 30 else 0] == last


@pytest.mark.gate
def test_a_hundred_thousand_patients_are_shown_by_their_first_and_last() -> None:
    counts = Counts({f"P{number:06}": {"x": number + 1} for number in range(100_000)})
    lines = lines_of(counts_table("trial", counts, all_rows=False), 80)
    assert "20 of 100,000 patients; --all shows all" in lines
    assert lines[3].split() == ["P000000", "1", "-", "1"]
    assert any(line.split() == ["total", "5,000,050,000", "5,000,050,000"] for line in lines)
    assert len(lines) < 40


def test_top_shows_as_many_patients_as_it_names() -> None:
    counts = Counts({f"P{number:03}": {"x": number + 1} for number in range(200)})
    lines = lines_of(counts_table("trial", counts, all_rows=False, top=150), 80)
    assert [line.split()[0] for line in lines[3:153]] == [f"P{number:03}" for number in range(199, 49, -1)]
    assert "150 of 200 patients, those with the most records" in lines


@pytest.mark.slow
def test_all_of_a_hundred_thousand_patients_are_shown_exactly() -> None:
    counts = Counts({f"P{number:06}": {f"t{t}": number + t + 1 for t in range(8)} for number in range(100_000)})
    rows = [line.split() for line in lines_of(counts_table("trial", counts), 200)[3:100_003]]
    for number, row in enumerate(rows):
        assert [word for word in row if word not in MARKS] == [
            f"P{number:06}", *(f"{number + t + 1:,}" for t in range(8)), f"{8 * number + 36:,}",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("numbers", "marks"),
    [
        ((10, 10, 10), ["", "", ""]),
        ((10, 20), ["", ""]),  # each is one standard deviation off the mean, not more
        ((10, 10, 10, 10, 10, 20), ["", "", "", "", "", "++"]),
        ((20, 20, 20, 20, 20, 1), ["", "", "", "", "", "--"]),
        ((1, 2, 3, 2), ["-", "", "+", ""]),
    ],
)
def test_marks_tell_how_far_a_count_is_off_the_mean(numbers: tuple[int, ...], marks: list[str]) -> None:
    counts = Counts({f"P{index}": {"x": number} for index, number in enumerate(numbers)})
    lines = lines_of(counts_table("trial", counts), 80)
    rows = [line.split() for line in lines[3 : 3 + len(numbers)]]
    assert [row[2] if len(row) == 4 else "" for row in rows] == marks
    assert any("standard deviations" in line for line in lines) == any(marks)


# ---- Lists ----


def download(**values: Any) -> dict[str, Any]:
    times = {"start_time": "2025-01-01T00:00:00Z", "end_time": "2025-01-02T00:00:00Z"}
    return {"id": "a", "rows": 1, "event_types": ("x",), "patients": ("P1",), **times, **values}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ["a", "1", "x", "P1", "2025-01-01", "2025-01-02"]),
        ({"rows": 153630201, "patients": None}, ["a", "153,630,201", "x", "·", "2025-01-01", "2025-01-02"]),
        (
            {"patients": tuple(f"P{number}" for number in range(1200))},
            ["a", "1", "x", "1,200", "2025-01-01", "2025-01-02"],
        ),
        ({"start_time": "2025-01-01T10:30:00Z", "end_time": None}, ["a", "1", "x", "P1", "2025-01-01", "10:30", "·"]),
        ({"end_time": "2025-01-02T00:00:01.500000Z"}, ["a", "1", "x", "P1", "2025-01-01", "2025-01-02", "00:00:01"]),
    ],
)
def test_a_list_has_short_times_and_says_how_many_where_many_would_be_named(
    values: dict[str, Any], words: list[str]
) -> None:
    assert lines_of(listing_table([download(**values)], "downloads"), 120)[2].split() == words


def test_an_empty_list_says_so() -> None:
    assert lines_of(listing_table([], "downloads"), 80) == ["no downloads"]


@given(
    st.lists(st.builds(download, id=WORDS, patients=st.lists(WORDS, max_size=9).map(tuple)), min_size=1, max_size=5),
    st.integers(40, 200),
)
def test_a_list_names_each_document_in_a_line(documents: list[dict[str, Any]], width: int) -> None:
    lines = lines_of(listing_table(documents, "downloads"), width)
    assert [line.split()[0] for line in lines[2 : 2 + len(documents)]] == [document["id"] for document in documents]
    assert all(cell_len(line) <= width or "--format csv" in line for line in lines)


@given(st.lists(st.tuples(WORDS, WORDS, st.integers(0, 10**12)), min_size=1, max_size=5), WIDTHS)
def test_a_verdict_has_every_name_and_number_whole(found: list[tuple[str, str, int]], width: int) -> None:
    differences = [{"patient": p, "event_type": t, "expected": n, "actual": None} for p, t, n in found]
    document = {"file": "counts.json", "export": "trial", "status": "differs", "differences": differences}
    words = [line.split() for line in lines_of(verdict_table([document]), width)]
    for name in {"counts.json", *(text for p, t, n in found for text in (p, t, f"{n:,}"))}:
        assert any(name in line for line in words)
