"""Counts as values, and `count` over any source: exactly, or not at all."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bodies import COUNTS_OF_SOUND, MALFORMED, SOUND
from tests.conftest import KERNELS
from tests.pairing import by_default, pairs
from tests.sources import HEADER, ROW, MemorySource, csv_body

from mockexport import Counts, NotFoundError, UntrustedDataError, count
from mockexport.pipeline.checkpoint import Checkpoint, Subject
from mockexport.pipeline.executors import LocalWorkers, process_workers, thread_workers
from mockexport.pipeline.progress import ProgressCounters
from mockexport.pipeline.running import run_tasks
from mockexport.source import CancelToken
from mockexport.sources.mock import MockSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.bodies import Malformed

    from mockexport import Download
    from mockexport.pipeline.executors import StartWorkers, Workers
    from mockexport.pipeline.splits import Split
    from mockexport.source import Source

numbers = st.dictionaries(st.sampled_from("xyz"), st.integers(1, 9), max_size=3)
counts_strategy = st.builds(
    Counts,
    st.dictionaries(
        st.sampled_from(["P1", "P2", "é"]), st.dictionaries(st.sampled_from("xyz"), st.integers(1, 9), min_size=1)
    ),
    numbers,
)
EACH_SOUND = pytest.mark.parametrize("body", SOUND.values(), ids=SOUND.keys())
EACH_MALFORMED = pytest.mark.parametrize("wrong", MALFORMED.values(), ids=MALFORMED.keys())


# ---- Counts add up ----


@given(counts_strategy, counts_strategy, counts_strategy)
def test_counts_add_up_in_any_grouping(a: Counts, b: Counts, c: Counts) -> None:
    assert (a + b) + c == a + (b + c) == sum([a, b, c], Counts())


@given(counts_strategy, counts_strategy)
def test_counts_add_up_in_any_order(a: Counts, b: Counts) -> None:
    assert a + b == b + a


@given(counts_strategy)
def test_nothing_added_changes_nothing(a: Counts) -> None:
    assert a + Counts() == Counts() + a == sum([a], Counts()) == a
    assert sum([], Counts()) == Counts()


@given(counts_strategy, counts_strategy)
def test_adding_up_leaves_the_parts_as_they_were(a: Counts, b: Counts) -> None:
    before = pickle.dumps((a, b))
    assert a + b is not a
    assert (a, b) == pickle.loads(before)


@given(counts_strategy, counts_strategy)
def test_totals_and_rows_are_those_of_all_patients(a: Counts, b: Counts) -> None:
    whole = a + b
    assert whole.rows == a.rows + b.rows == sum(whole.totals.values())
    for event_type, records in whole.totals.items():
        assert records == sum(types.get(event_type, 0) for types in whole.patients.values())
    assert sum(whole.left_out.values()) == sum(a.left_out.values()) + sum(b.left_out.values())


@given(counts_strategy)
def test_counts_can_travel(a: Counts) -> None:
    assert pickle.loads(pickle.dumps(a)) == a


def test_counts_are_equal_when_they_hold_the_same_and_only_then() -> None:
    assert Counts({"P1": {"x": 1, "y": 2}}) == Counts({"P1": {"y": 2, "x": 1}})
    assert Counts({"P1": {"x": 1}}) != Counts({"P1": {"x": 2}})
    assert Counts({"P1": {"x": 1}}) != Counts({"P1": {"x": 1}}, {"bad quote": 1})


# ---- The made-up exports ----


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_demo_counted_on_threads_is_golden(kernel: str, golden_demo: object, jobs: int) -> None:
    counts = count(
        MockSource(kernel), kernel=kernel, start_workers=partial(thread_workers, jobs=jobs)
    )  # fmt: skip
    assert counts == Counts(golden_demo)  # type: ignore[arg-type]


@pytest.mark.parametrize("jobs", [1, 2])
def test_demo_counted_in_processes_is_golden(kernel: str, golden_demo: object, jobs: int) -> None:
    counts = count(
        MockSource(kernel), "demo", kernel=kernel, start_workers=partial(process_workers, jobs=jobs)
    )  # fmt: skip
    assert counts == Counts(golden_demo)  # type: ignore[arg-type]


def test_demo_has_the_golden_rows_and_totals(kernel: str, golden: Any) -> None:
    counts = count(MockSource(kernel), kernel=kernel)
    assert (counts.rows, counts.totals) == (golden["demo"]["rows"], golden["demo"]["totals"])


@pytest.mark.skipif("native" not in KERNELS, reason="the native parts were not built, or are not wanted")
@pytest.mark.parametrize("start_workers", by_default([thread_workers, process_workers], thread_workers))
def test_small_has_the_golden_rows_and_totals(golden: Any, start_workers: StartWorkers) -> None:
    counts = count(MockSource("native"), "small", kernel="native", start_workers=start_workers)
    assert (counts.rows, counts.totals) == (golden["small"]["rows"], golden["small"]["totals"])


def test_the_number_of_jobs_changes_nothing(kernel: str) -> None:
    bodies = {f"d{n}": csv_body(n, b"P%d,t,x,1\n" % (n % 3)) for n in range(9)}
    source = MemorySource(bodies, rows={f"d{n}": n for n in range(9)}, chunk_bytes=7)
    expected = Counts({"P0": {"x": 9}, "P1": {"x": 12}, "P2": {"x": 15}})
    for start in (thread_workers, process_workers):
        for jobs in range(1, 9) if start is thread_workers else (3,):
            start_workers: Any = partial(start, jobs=jobs)
            assert count(source, "trial", kernel=kernel, start_workers=start_workers) == expected


# ---- Sound and malformed bodies ----


@EACH_SOUND
def test_every_kind_of_sound_body_is_counted_right(kernel: str, body: bytes) -> None:
    source = MemorySource({"a": body}, rows={"a": 3}, chunk_bytes=11)
    assert count(source, "trial", kernel=kernel) == Counts(COUNTS_OF_SOUND)


@EACH_MALFORMED
def test_every_kind_of_malformed_body_fails_naming_download_line_and_reason(kernel: str, wrong: Malformed) -> None:
    source = MemorySource({"sound": SOUND["plain"], "d1": wrong.body}, chunk_bytes=1 << 16)
    with pytest.raises(UntrustedDataError) as failed:
        count(source, "trial", kernel=kernel)
    told = f"download 'd1' of export 'trial' is malformed at line {wrong.line}: {wrong.reason}"
    hint = "; skip_malformed=True counts the rest" if wrong.skipping else ""
    assert str(failed.value) == told + wrong.header + hint


@EACH_MALFORMED
def test_skip_leaves_out_malformed_rows_by_reason_and_no_malformed_file(kernel: str, wrong: Malformed) -> None:
    source = MemorySource({"sound": SOUND["plain"], "d1": wrong.body}, chunk_bytes=1 << 16)
    if wrong.skipping is None:
        with pytest.raises(UntrustedDataError, match=wrong.reason):
            count(source, "trial", kernel=kernel, skip_malformed=True)
        return
    counts = count(source, "trial", kernel=kernel, skip_malformed=True)
    assert counts.left_out == {wrong.reason: 1}
    assert counts.rows == 3 + wrong.skipping


def test_rows_left_out_add_up_over_downloads(kernel: str) -> None:
    body = HEADER + ROW + b"P001\nP001,,,,,\n,t,x,1\n"
    source = MemorySource({"a": body, "b": body})
    assert count(source, "trial", kernel=kernel, skip_malformed=True) == Counts(
        {"P001": {"bp_sys": 2}}, {"too few fields": 2, "too many fields": 2, "empty patient_id": 2}
    )


# ---- Rows as declared ----


@pytest.mark.parametrize("start_workers", [thread_workers, process_workers])
@pytest.mark.parametrize(("declared", "held", "why"), [(1200, 1199, "it ended early"), (1200, 1201, "or more")])
def test_other_rows_than_declared_are_an_error_with_both_figures(
    kernel: str, start_workers: StartWorkers, declared: int, held: int, why: str
) -> None:
    source = MemorySource({"a": csv_body(held)}, rows={"a": declared})
    with pytest.raises(UntrustedDataError) as failed:
        count(source, "trial", kernel=kernel, start_workers=start_workers)
    assert f"'a' of export 'trial' declares {declared:,} rows but holds {held:,}" in str(failed.value)
    assert why in str(failed.value)


def test_malformed_rows_are_rows_that_were_declared(kernel: str) -> None:
    body = HEADER + ROW + b"P001\n" + ROW
    counts = count(MemorySource({"a": body}, rows={"a": 3}), "trial", kernel=kernel, skip_malformed=True)
    assert (counts.rows, counts.left_out) == (2, {"too few fields": 1})
    with pytest.raises(UntrustedDataError, match="declares 2 rows but holds 3"):
        count(MemorySource({"a": body}, rows={"a": 2}), "trial", kernel=kernel, skip_malformed=True)


def test_a_download_that_declares_no_rows_may_hold_any(kernel: str) -> None:
    source = MemorySource({"a": HEADER, "b": csv_body(5)}, rows={"a": 0, "b": None})
    assert count(source, "trial", kernel=kernel) == Counts({"P001": {"bp_sys": 5}})


# ---- The most pairs ----


def rows_of(patients: range) -> bytes:
    return HEADER + b"".join(b"P%03d,t,x,1\nP%03d,t,y,1\n" % (patient, patient) for patient in patients)


@pytest.mark.gate
@pytest.mark.parametrize(
    ("start_workers", "split_size"),
    pairs({"threads": thread_workers, "processes": process_workers}, {"splits": 300, "whole": None}),
)
def test_more_than_max_pairs_pairs_end_a_count_within_a_download_and_over_all(
    kernel: str, start_workers: StartWorkers, split_size: int | None
) -> None:
    within = MemorySource(
        {"a": rows_of(range(50)), "b": rows_of(range(50)), "c": rows_of(range(9))}, split_size=split_size
    )
    in_one = MemorySource({"a": rows_of(range(51)), "b": rows_of(range(9))}, split_size=split_size)
    over_all = MemorySource({"a": rows_of(range(26)), "b": rows_of(range(25, 51))}, split_size=split_size)

    def counted(source: MemorySource) -> Counts:
        return count(source, "trial", max_pairs=100, kernel=kernel, start_workers=start_workers)

    assert len(counted(within).patients) == 50
    limit = "more than 100 distinct pairs of patient and type; a larger max_pairs raises the limit"
    with pytest.raises(UntrustedDataError, match=limit):
        counted(in_one)
    with pytest.raises(UntrustedDataError, match=f"^export 'trial' has {limit}"):
        counted(over_all)


def test_pairs_that_are_too_long_end_a_count_over_all_downloads(kernel: str) -> None:
    def source(patient: str) -> MemorySource:
        long = b"p" * 257
        return MemorySource({"a": HEADER + long + b",t,x,1\n", "b": f"{HEADER.decode()}{patient},t,x,1\n".encode()})

    fits, too_long = "é" * 126 + "a", "é" * 127
    assert count(source(fits), "trial", max_pairs=2, kernel=kernel).rows == 2
    with pytest.raises(
        UntrustedDataError,
        match=r"has more than 512 bytes in the distinct pairs .* \(256 for each pair\); a larger max_pairs raises",
    ):
        count(source(too_long), "trial", max_pairs=2, kernel=kernel)


def test_what_a_checkpoint_kept_counts_towards_the_limit_of_pairs(tmp_path: Path, kernel: str) -> None:
    source = MemorySource({"a": rows_of(range(26)), "b": rows_of(range(25, 51))})
    for most, enough in ((102, True), (100, False)):
        with Checkpoint(tmp_path / "kept", Subject("memory", "trial", skip_malformed=False)) as checkpoint:
            if enough:
                assert count(source, "trial", max_pairs=most, kernel=kernel, checkpoint=checkpoint).rows == 104
            else:
                with pytest.raises(UntrustedDataError, match="has more than 100 distinct pairs"):
                    count(source, "trial", max_pairs=most, kernel=kernel, checkpoint=checkpoint)


# ---- Unknown and empty exports ----


def test_an_unknown_export_is_not_found_and_has_a_suggestion(kernel: str) -> None:
    with pytest.raises(NotFoundError, match=r"no export 'demmo' .*did you mean 'demo'\?"):
        count(MockSource(kernel), "demmo", kernel=kernel)


def test_an_export_without_downloads_is_no_count_of_zero() -> None:
    with pytest.raises(NotFoundError, match="has no downloads"):
        count(MemorySource({}), "trial")


# ---- Progress ----


@pytest.mark.parametrize("start_workers", [thread_workers, process_workers])
def test_progress_is_told_in_the_callers_thread_and_ends_exact(kernel: str, start_workers: StartWorkers) -> None:
    source = MemorySource({"a": csv_body(500), "b": csv_body(7)}, rows={"a": 500})
    told: list[tuple[int, int, int, list[int]]] = []

    def on_progress(downloads: Sequence[Download | Split], counters: ProgressCounters) -> None:
        assert threading.current_thread() is threading.main_thread()
        assert [download.id for download in downloads] == ["a", "b"]
        told.append((counters.rows(), counters.bytes(), counters.finished(), [counters.rows(0), counters.rows(1)]))

    count(source, "trial", kernel=kernel, start_workers=start_workers, on_progress=on_progress)
    assert told[-1] == (507, sum(map(len, source.bodies.values())), 2, [500, 7])
    assert [rows for rows, *_ in told] == sorted(rows for rows, *_ in told)


def test_no_more_tasks_are_handed_out_at_a_time_than_are_held_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mockexport.pipeline.running.IN_FLIGHT", 3)
    submitted: list[int] = []

    class AtOnce(Executor):
        def submit(self, work: Callable[..., Any], /, *given: Any, **_options: Any) -> Future[Any]:
            submitted.append(given[1].number)
            future: Future[Any] = Future()
            future.set_result(work(*given))
            return future

    @contextmanager
    def at_once(source: Source, tasks: int, _rows: int) -> Iterator[Workers]:
        yield LocalWorkers(ProgressCounters(tasks), AtOnce(), CancelToken(), source)

    source = MemorySource({f"d{number}": b"" for number in range(20)})
    tasks = [SimpleNamespace(number=number) for number in range(20)]
    results = run_tasks(source, lambda _source, task, _: task.number, tasks, source.downloads("trial"), at_once)
    ahead = [len(submitted) - ended for ended, _ in enumerate(results)]
    assert ahead == [*[3] * 18, 2, 1]
    assert sorted(submitted) == list(range(20))


@pytest.mark.parametrize(("rows", "split_size", "told"), [({"a": 7}, None, 7), ({}, 1 << 20, 2), ({}, None, 0)])
def test_workers_are_told_how_much_there_is_by_rows_or_else_by_size(
    rows: dict[str, int | None], split_size: int | None, told: int
) -> None:
    seen = []

    def start(source: Source, tasks: int, rows: int) -> AbstractContextManager[Workers]:
        seen.append(rows)
        return thread_workers(source, tasks, rows)

    count(
        MemorySource({"a": csv_body(7 if rows else 2, ROW)}, rows, split_size=split_size), "trial", start_workers=start
    )
    assert seen == [told]
