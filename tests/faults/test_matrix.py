"""Whatever a server does wrong, the client counts and fetches exactly, or says that it can't: exit 5 or exit 6."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from tests.faults.changing import BEHAVIOURS, ChangingRun, changing_runs, some_changing_runs
from tests.faults.misbehaving import misbehaving
from tests.faults.runs import AT_ONCE, ENDINGS, MANY_SEEDS, SPECS, Run, WrongError, bodies, run_all, runs, some_runs
from tests.faults.versions import CHANGES, Behaviour, versions
from tests.seeds import rng
from tests.sources import EXPORT, HEADER, ROW, MemorySource, csv_body

from mockexport.errors import UntrustedDataError
from mockexport.http.retry import Retries
from mockexport.pipeline.counting import count
from mockexport.sources.http import HttpSource

pytestmark = [
    # FastAPI silences this one itself, but not for several threads that make and ask servers at once.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.UnsupportedFieldAttributeWarning"),
    # After an error one more connection may be begun, by a thread that has not yet heard of it.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.mark.gate
@pytest.mark.parametrize("fault", SPECS)
def test_a_run_is_exact_or_fails(fault: str) -> None:
    ended = run_all(some_runs(fault))
    assert set(ended) <= set(ENDINGS)


@pytest.mark.slow
@pytest.mark.parametrize("fault", SPECS)
def test_many_runs_are_exact_or_fail(fault: str) -> None:
    ended = run_all([replace(run, seed=rng(run).getrandbits(32)) for run in runs(fault, MANY_SEEDS)])
    assert set(ended) <= set(ENDINGS)


@pytest.mark.gate
@pytest.mark.parametrize("about", BEHAVIOURS)
def test_a_run_over_downloads_that_change_is_of_one_version_or_fails(about: str) -> None:
    ended = run_all(some_changing_runs(about))
    assert set(ended) <= set(ENDINGS)


@pytest.mark.slow
@pytest.mark.parametrize("about", BEHAVIOURS)
def test_many_runs_over_downloads_that_change_are_of_one_version_or_fail(about: str) -> None:
    ended = run_all([replace(run, seed=rng(run).getrandbits(32)) for run in changing_runs(about)])
    assert set(ended) <= set(ENDINGS)


def test_the_matrix_has_two_thousand_runs() -> None:
    some = [len(some_runs(fault)) for fault in SPECS] + [len(some_changing_runs(about)) for about in BEHAVIOURS]
    many = [len(runs(fault, MANY_SEEDS)) for fault in SPECS] + [len(changing_runs(about)) for about in BEHAVIOURS]
    assert 60 <= sum(some) <= 150
    assert sum(many) >= 2000


@pytest.mark.parametrize("change", CHANGES)
def test_a_mix_of_two_versions_would_be_seen(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    first, second = versions(change)["a"]
    mix = first[:20_000] + second[20_000:]
    monkeypatch.setattr("tests.faults.changing.count", lambda *_: count(MemorySource({"a": mix, "b": first}), EXPORT))
    with pytest.raises(WrongError):
        ChangingRun(Behaviour(change, "replicas", "strong", "length", declared=True), "count", seed=0).end()


def test_a_wrong_count_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.runs.served", lambda **_: MemorySource(bodies()))  # which declares no rows
    with pytest.raises(WrongError):
        Run("end", f"data:end={len(HEADER)}", "count", seed=0).end()


LEFT_OUT = [*range(7), *range(7, len(ROW) - 2, 5), *range(len(ROW) - 2, len(ROW) + 1)]


@pytest.mark.gate
def test_an_end_anywhere_in_the_last_row_makes_no_wrong_count() -> None:
    body = csv_body(3)

    def right_or_refused(left_out: int) -> str:
        with (
            misbehaving(MemorySource({"a": body}, rows={"a": 3}), f"data:end={len(body) - left_out}") as url,
            closing(HttpSource(url, retries=Retries(0))) as source,
        ):
            try:
                return "right" if count(source, EXPORT).patients == {"P001": {"bp_sys": 3}} else "wrong"
            except UntrustedDataError:
                return "refused"

    with ThreadPoolExecutor(AT_ONCE) as threads:
        ended = list(threads.map(right_or_refused, LEFT_OUT))
    in_the_value = len(b"71\n")
    assert ended == ["right" if left_out <= in_the_value else "refused" for left_out in LEFT_OUT]
