"""`statistics` comes to what a plain reference comes to, whatever the splits, the workers and the kernel."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.conftest import KERNELS
from tests.sources import EXPORT, HEADER, MemorySource, NamedSource
from tests.stats.plain import plain_statistics

from mockexport import ChangedError, CsvFormat, Download, NotFoundError, UntrustedDataError, UsageError, open_source
from mockexport.cli.documents import statistics_document
from mockexport.pipeline import process_workers, statistics, thread_workers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mockexport.source import Chunks

NOW = datetime(2025, 1, 1, 0, 0, 30, tzinfo=UTC)
IN_ORDER = [f"P1,2025-01-01T00:00:{second:02}Z,bp_sys,{60 + 3 * second}" for second in range(60)]
OUT_OF_ORDER = [IN_ORDER[7 * n % 60] for n in range(60)]

times = st.one_of(
    st.integers(0, 59).map("2025-01-01T00:00:{:02}Z".format),
    st.integers(0, 59).map("2025-01-01 01:00:{:02}.250+01:00".format),
    st.sampled_from(["", "soon", "1969-12-31T23:59:59.999999Z"]),
)
values = st.one_of(
    st.integers(30, 210).map(str),
    st.decimals(-500, 500, places=2).map(str),
    st.sampled_from(["", "NaN", "inf", "1e2", "+7.50", "007", "-0.0", "1e-3", "x", "1."]),
)
rows = st.builds("{},{},{},{}".format, st.sampled_from("PQ"), times, st.sampled_from(["bp_sys", "spo2", "x"]), values)
downloads = st.lists(st.lists(rows, max_size=25), min_size=1, max_size=4)


class ResourceSource(MemorySource):
    """Its downloads are NDJSON."""

    def downloads(self, export: str) -> Sequence[Download]:
        return [replace(download, format="ndjson") for download in super().downloads(export)]


def bodies_of(parts: Sequence[Sequence[str]]) -> dict[str, bytes]:
    return {f"d{n}": HEADER + "".join(f"{row}\n" for row in part).encode() for n, part in enumerate(parts)}


def document(source: MemorySource, **arguments: Any) -> dict[str, Any]:
    """What `stats` writes."""
    found = orjson.loads(orjson.dumps(statistics_document(statistics(source, EXPORT, now=NOW, **arguments))))
    assert isinstance(found, dict)
    return found


def comparable(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same without what the reference leaves out; it always says how many have no time."""
    every = [*(cell for types in found["patients"].values() for cell in types.values()), *found["totals"].values()]
    for cell in every:
        cell.setdefault("not_a_time", 0)
    return {"patients": found["patients"], "totals": found["totals"]}


@pytest.mark.gate
@pytest.mark.parametrize("kernel", KERNELS)
@given(
    parts=downloads,
    split_size=st.one_of(st.none(), st.integers(20, 200)),
    chunk_bytes=st.integers(1, 400),
    jobs=st.integers(1, 3),
)
@example(parts=[IN_ORDER, OUT_OF_ORDER], split_size=300, chunk_bytes=50, jobs=2)
@example(parts=[OUT_OF_ORDER, OUT_OF_ORDER[:5]], split_size=None, chunk_bytes=7, jobs=1)
@example(parts=[["P,2025-01-01T00:00:01Z,x,1"]], split_size=None, chunk_bytes=7, jobs=1)
@example(parts=[["P,2025-01-01T00:00:01Z,x,1"] * 2], split_size=None, chunk_bytes=7, jobs=1)
def test_statistics_are_those_of_the_plain_reference(
    kernel: str, parts: list[list[str]], split_size: int | None, chunk_bytes: int, jobs: int
) -> None:
    bodies = bodies_of(parts)
    source = MemorySource(bodies, chunk_bytes=chunk_bytes, split_size=split_size)
    found = document(source, kernel=kernel, start_workers=partial(thread_workers, jobs=jobs))
    assert comparable(found) == plain_statistics(bodies, NOW)


@pytest.mark.gate
@given(parts=downloads, split_size=st.integers(20, 200), jobs=st.integers(2, 4))
def test_any_split_and_number_of_workers_gives_the_same_bytes(
    parts: list[list[str]], split_size: int, jobs: int
) -> None:
    bodies = bodies_of(parts)
    whole = document(MemorySource(bodies), start_workers=partial(thread_workers, jobs=1))
    split = document(MemorySource(bodies, split_size=split_size), start_workers=partial(thread_workers, jobs=jobs))
    assert orjson.dumps(split) == orjson.dumps(whole)


@pytest.mark.gate
@pytest.mark.parametrize("kernel", KERNELS)
def test_processes_come_to_the_same(kernel: str) -> None:
    bodies = bodies_of([IN_ORDER, OUT_OF_ORDER])
    source = MemorySource(bodies, split_size=500)
    found = document(source, kernel=kernel, start_workers=partial(process_workers, jobs=2))
    assert comparable(found) == plain_statistics(bodies, NOW)


def test_times_that_do_not_fit_into_memory_are_sorted_on_disk(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bodies = bodies_of([OUT_OF_ORDER, OUT_OF_ORDER, IN_ORDER])
    with caplog.at_level("INFO", "mockexport"):
        found = document(MemorySource(bodies), memory=500)
    assert comparable(found) == plain_statistics(bodies, NOW)
    assert "1 pairs of patient and type are not in the order of time" in caplog.text
    assert f"bytes of times were written to temporary files in {tmp_path}" in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_second_pass_runs_on_the_kernel_that_was_chosen(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "mockexport.stats.chosen.ReferenceTimes.feed" if kernel == "native" else None
    if other:
        monkeypatch.setattr(other, None)  # calling it would fail
    bodies = bodies_of([OUT_OF_ORDER, IN_ORDER])
    assert comparable(document(MemorySource(bodies), kernel=kernel)) == plain_statistics(bodies, NOW)


def test_the_second_pass_reads_only_downloads_with_pairs_that_it_needs() -> None:
    other = [row.replace("P1", "P2") for row in IN_ORDER]
    source = MemorySource(bodies_of([other, OUT_OF_ORDER, []]))
    document(source)
    assert sorted(name for name, _ in source.places) == ["d0", "d1", "d1", "d2"]


class Changing(NamedSource):
    """A source whose download has other bytes, without another name, when it is read again."""

    def open(self, download: Any, offset: int = 0, **watch: Any) -> Chunks:
        chunks = list(super().open(download, offset, **watch))
        if len(self.places) > 1:
            chunks[-1] = chunks[-1].replace(b"2025-01-01T00:00:53Z", b"2025-01-01T00:00:5xZ")
        yield from chunks


def test_bytes_that_change_between_the_passes_are_an_error() -> None:
    with pytest.raises(ChangedError, match="changed between two readings; try again when nothing writes to it"):
        document(Changing(bodies_of([OUT_OF_ORDER]), chunk_bytes=10**6))


def test_only_some_patients_are_in_no_figure_of_others() -> None:
    both = bodies_of([[*OUT_OF_ORDER, *(row.replace("P1", "P2") for row in IN_ORDER)]])
    found = document(MemorySource(both), patients=["P1"])
    assert comparable(found) == plain_statistics(bodies_of([OUT_OF_ORDER]), NOW)
    with pytest.raises(NotFoundError, match=r"no patient 'P3' in export 'trial'; it has P1, P2"):
        document(MemorySource(both), patients=["P1", "P3"])


@pytest.mark.gate
@given(parts=downloads, below=st.integers(2, 12))
def test_a_total_is_that_of_the_cells_that_are_shown_so_none_left_out_can_be_subtracted(
    parts: list[list[str]], below: int
) -> None:
    everything = [row for part in parts for row in part]
    keys = [tuple(row.split(",")[::2]) for row in everything]
    kept = [[row for row in part if keys.count(tuple(row.split(",")[::2])) >= below] for part in parts]
    found = document(MemorySource(bodies_of(parts)), suppress_below=below)
    assert found == document(MemorySource(bodies_of(kept)))
    hidden = statistics(MemorySource(bodies_of(parts)), EXPORT, suppress_below=below).suppressed
    assert hidden == len({key for key in keys if keys.count(key) < below})


def test_given_ranges_are_taken_exactly_and_the_others_stay() -> None:
    rows = ["P,2025-01-01,spo2,84.9", "P,2025-01-01,x,0.3", "P,2025-01-01,x,0.30000000000000001", "P,2025-01-01,x,-9"]
    source = MemorySource(bodies_of([rows]))
    found = statistics(source, EXPORT, ranges={"x": (None, 0.3)}).totals
    assert (found["x"]["anomalies"], found["spo2"]["anomalies"]) == (1, 1)
    assert statistics(source, EXPORT, ranges={"x": (0, 1), "spo2": (None, None)}).all["anomalies"] == 1


@pytest.mark.parametrize("ranges", [[], {"x": 1}, {"x": [1]}, {"x": [2, 1]}, {"x": ["1", 2]}, {"x": [True, 2]}])
def test_ranges_that_are_none_are_an_error(ranges: Any) -> None:
    with pytest.raises(UsageError, match="range"):
        statistics(MemorySource(bodies_of([IN_ORDER])), EXPORT, ranges=ranges)


def test_a_file_without_times_says_how_to_name_its_columns() -> None:
    source = MemorySource({"d": b"id,at,kind,reading\nP,2025-01-01,x,5\n"})
    with pytest.raises(UntrustedDataError, match=r"patient_id.* time_column, type_column and value_column"):
        statistics(source, EXPORT)
    csv = CsvFormat(patient_column="id", time_column="at", type_column="kind", value_column="reading")
    assert statistics(source, EXPORT, csv=csv).patients["P"]["x"]["mean"] == 5.0


@pytest.mark.parametrize("split_size", [None, 100])
def test_too_many_pairs_end_it(split_size: int | None) -> None:
    bodies = bodies_of([[f"P{n},2025-01-01,x,1" for n in range(40)]])
    with pytest.raises(UntrustedDataError, match="more than 39 distinct pairs"):
        statistics(MemorySource(bodies, split_size=split_size), EXPORT, max_pairs=39)


def test_too_many_types_and_reasons_of_resources_without_a_patient_end_it() -> None:
    bodies = {
        f"d{n}": f'{{"resourceType":"Observation","id":"{n}","code":{{"text":"c{n}"}}}}\n'.encode() for n in range(4)
    }
    source = ResourceSource(bodies)
    assert len(statistics(source, EXPORT, max_pairs=4).unassigned) == 4
    with pytest.raises(UntrustedDataError, match="more than 3 distinct pairs"):
        statistics(source, EXPORT, max_pairs=3)


def test_the_times_of_fhir_resources_are_sorted_too(tmp_path: Path) -> None:
    # The same observations, in order and not, come to the same but for their order.
    def resource(second: int) -> str:
        return (
            '{"resourceType":"Observation","subject":{"reference":"Patient/1"},"code":{"coding":[{"system":"s","code":"x"}]},'
            f'"effectiveDateTime":"2025-01-01T00:00:{second:02}Z","valueQuantity":{{"value":{second}}}}}\n'
        )

    found = []
    for name, seconds in ("sorted", range(40)), ("mixed", [7 * n % 40 for n in range(40)]):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "Observation.ndjson").write_text("".join(map(resource, seconds)))
        with closing(open_source(folder)) as source:
            figures = dict(statistics(source, source.exports()[0], now=NOW).totals["s|x"])
        found.append((figures.pop("out_of_order"), figures))
    assert found[0][1] == found[1][1]
    assert found[0][0] == 0 < found[1][0]
