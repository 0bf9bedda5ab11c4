"""The benchmark suite does what docs/performance.md says of it: medians, in turn, and everyone counts the same."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest
from tests.bench import contestants
from tests.bench.contest import Contest, Contestant, DifferentAnswerError, hold, read_answer
from tests.bench.data import Made, export_file, link_export, repeat_rows, split_file
from tests.bench.goals import GOALS, flat, seconds, speed, times
from tests.bench.launch import CHILD, Run, launch
from tests.bench.plot import svg, tick_step
from tests.bench.report import BEGIN, END, markdown, replace_generated
from tests.bench.s3_server import BUCKET
from tests.bench.work.http import serving
from tests.bench.work.store import CREDENTIALS
from tests.pairing import by_default

from mockexport.wire import download_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANSWER = "P1,spo2,2\nP2,spo2,1\n,,3"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A small file with a quoted patient and CRLF in it too."""
    rows = b"P1,2025-08-26T00:00:00Z,spo2,97\nP2,2025-08-26T00:00:03.25Z,heart_rate,71\nP1,,spo2,\n" * 50
    return export_file(tmp_path_factory.mktemp("exports") / "one" / "rows.csv", 10_000, repeat_rows(rows))


def takes(*times: float, output: str = ANSWER, memory: float = 10.0) -> Callable[[], Run]:
    """Work that takes so long, run by run."""
    runs = iter([Run(time, memory, output) for time in times])
    return lambda: next(runs)


def contest(*members: Contestant, name: str = "tally", rows: int | None = 3) -> Contest:
    return Contest(name, "Title", members, rows=rows)


def test_figures_are_medians_and_tell_how_far_the_rounds_lie_apart() -> None:
    (figures,) = hold(contest(Contestant("a", takes(5.0, 1.0, 2.0))), 3).figures
    assert (figures.seconds, figures.low, figures.high, figures.rounds) == (2.0, 1.0, 5.0, 3)
    assert figures.speed == 1.5


def test_all_take_part_in_turn_and_slow_ones_less_often() -> None:
    order: list[str] = []

    def told(name: str, took: float) -> Callable[[], Run]:
        def run() -> Run:
            order.append(name)
            return Run(took, 1.0, ANSWER)

        return run

    members = [Contestant("a", told("a", 1)), Contestant("b", told("b", 1), rounds=2), Contestant("c", told("c", 30))]
    hold(contest(*members), 3)
    assert "".join(order) == "abcaba"


def test_a_different_answer_fails_the_run() -> None:
    members = [Contestant("a", takes(1.0)), Contestant("b", takes(1.0, output="P1,spo2,3\n,,3"))]
    with pytest.raises(DifferentAnswerError, match="b counts otherwise than a"):
        hold(contest(*members), 1)


def test_an_answer_with_other_rows_than_were_made_fails_the_run() -> None:
    with pytest.raises(DifferentAnswerError, match="3 records, not 4"):
        hold(contest(Contestant("a", takes(1.0)), rows=4), 1)


def test_an_answer_whose_total_is_not_its_sum_is_refused() -> None:
    with pytest.raises(DifferentAnswerError):
        read_answer("P1,spo2,2\n,,3")
    with pytest.raises(DifferentAnswerError):
        read_answer('{"patients": {"P1": {"spo2": 2}}, "totals": {"spo2": 3}}')


def test_our_json_and_a_peers_lines_are_the_same_answer() -> None:
    assert read_answer('{"patients": {"P1": {"spo2": 2}, "P2": {"spo2": 1}}, "totals": {"spo2": 3}}') == read_answer(
        ANSWER
    )


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    document = f"# Prose\n\n{BEGIN}\nold\n{END}\n\nmore prose\n"
    once = replace_generated(document, "| new |\n")
    assert once == f"# Prose\n\n{BEGIN}\n| new |\n{END}\n\nmore prose\n"
    assert replace_generated(once, "| new |\n") == once


@pytest.mark.parametrize("document", ["no markers", f"{BEGIN} alone", f"{END}\n{BEGIN}"])
def test_a_document_without_both_markers_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match="needs a line"):
        replace_generated(document, "new")


def test_the_report_tells_ratios_and_who_is_absent() -> None:
    members = [
        Contestant("mockexport", takes(0.5)),
        Contestant("slow", takes(2.0)),
        Contestant("gone", takes(), absent="not installed"),
    ]
    text = markdown([hold(contest(*members), 1)])
    assert "| slow | 2.00 s | 1.5e-06 M/s | 4 | 2.00 s to 2.00 s (1) | 10 MB |" in text
    assert "| gone | (not installed) |" in text


def test_goals_are_met_or_not_and_left_out_when_not_measured() -> None:
    results = {
        "tally": hold(contest(Contestant("mockexport", takes(1.0)), Contestant("peer", takes(6.0))), 1),
        "rows-0": hold(contest(Contestant("mockexport", takes(1.0, memory=40.0))), 1),
        "rows-2": hold(contest(Contestant("mockexport", takes(1.0, memory=50.0))), 1),
    }
    assert times("tally", "peer", 6)(results) == ("6x", True)
    assert times("tally", "peer", 7)(results) == ("6x", False)
    assert seconds("tally", "mockexport", 0.9)(results) == ("1.00 s", False)
    assert speed("tally", "nobody", 1)(results) is None
    assert flat("rows-0", "rows-2", 1.1)(results) == ("40 and 50 MB", False)
    assert all(goal.reach({}) is None for goal in GOALS)


def test_the_plot_is_sound_xml_with_a_bar_for_each_that_took_part() -> None:
    members = [
        Contestant("mockexport", takes(0.5)),
        Contestant("<peer>", takes(2.0)),
        Contestant("c", takes(), absent="-"),
    ]
    root = ET.fromstring(svg([hold(contest(*members), 1)]))
    kinds = [rect.get("class") for rect in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert kinds == ["background", "ours", "peer"]
    assert "<peer>" in {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}


@pytest.mark.parametrize("largest", [0.013, 0.9, 1.0, 7.4, 99.0, 101.0, 130.0])
def test_an_axis_has_two_to_six_ticks(largest: float) -> None:
    assert 1 < largest / tick_step(largest) <= 5


def test_a_file_that_is_split_or_linked_keeps_its_rows(made: Made, tmp_path: Path) -> None:
    header, *rows = made.path.read_bytes().splitlines()
    assert len(rows) == made.rows
    assert made.size <= 10_000
    parts = [file.read_bytes().splitlines() for file in split_file(made, tmp_path / "cut", 7)]
    assert all(part[0] == header for part in parts)
    assert [row for part in parts for row in part[1:]] == rows
    assert {file.read_bytes() for file in link_export(made, tmp_path / "linked", 3)} == {made.path.read_bytes()}


def need(member: Contestant) -> None:
    if member.absent:
        pytest.skip(member.absent)


@pytest.mark.gate
@pytest.mark.parametrize(
    "peer",
    by_default(
        [contestants.dict_reader, contestants.reader_counter, contestants.polars, contestants.duckdb, contestants.mawk],
        *(contestants.reader_counter, contestants.duckdb, contestants.mawk),
    ),
)
def test_a_peer_counts_files_as_we_do(peer: Callable[..., Contestant], made: Made) -> None:
    member = peer([made.path])
    need(member)
    hold(contest(contestants.ours("count", "one", "-s", made.path.parents[1]), member, rows=made.rows), 1)


BEST, *OTHERS = [*contestants.instruction_sets(), "pure"]


@pytest.mark.gate
@pytest.mark.parametrize(
    "way",
    by_default([BEST, *OTHERS, "csv_dictreader", "csv_counter", "polars_streaming"], BEST, "polars_streaming"),
)
def test_each_way_counts_bytes_in_memory_as_our_command_does(way: str, made: Made) -> None:
    member = contestants.in_memory(way, way, made.path, absent=contestants.needs("polars") if "polars" in way else "")
    need(member)
    hold(contest(contestants.ours("count", "one", "-s", made.path.parents[1]), member, rows=made.rows), 1)


@pytest.mark.gate
def test_from_the_plain_server_all_count_the_same(made: Made) -> None:
    with serving(*CHILD, "tests.bench.static_server", made.path.parents[1]) as url:
        urls = [f"{url}{download_path('one', made.path.stem)}/data"]
        members = [peer(urls) for peer in (contestants.httpx_csv, contestants.polars, contestants.curl_mawk)]
        hold(contest(contestants.ours("count", "one", "-s", url), *members, rows=made.rows), 1)


@pytest.mark.gate
def test_from_the_plain_store_all_count_the_same(made: Made) -> None:
    root = made.path.parents[1]
    with serving(*CHILD, "tests.bench.s3_server", root) as url:
        variables: Any = {**CREDENTIALS, "AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"}
        ours = contestants.ours("count", "one", "-s", f"s3://{BUCKET}/", **variables)
        polars = contestants.polars([f"s3://{BUCKET}/{made.path.relative_to(root)}"], **variables)
        hold(contest(ours, polars, rows=made.rows), 1)


def test_a_command_that_fails_ends_the_run_and_says_why() -> None:
    with pytest.raises(RuntimeError, match="no-such-module"):
        launch(*CHILD, "no-such-module")
