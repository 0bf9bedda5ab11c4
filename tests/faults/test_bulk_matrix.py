"""Whatever a FHIR server does wrong, an export is counted and fetched exactly, or ends with exit 4, 5 or 6."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.faults.bulk import (
    BULK_ENDINGS,
    BULK_SPECS,
    THREADS,
    TWO_TOGETHER,
    UNKNOWABLE,
    WAYS,
    BulkRun,
    bulk_bodies,
    bulk_runs,
    without_waits,
)
from tests.faults.runs import WrongError, run_all
from tests.pairing import pairs
from tests.seeds import rng

from mockexport.pipeline.executors import thread_workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockexport.pipeline.executors import StartWorkers

pytestmark = [
    # FastAPI silences this one itself, but not for several threads that make and ask servers at once.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.UnsupportedFieldAttributeWarning"),
    # After an error one more connection may be begun, by a thread that has not yet heard of it.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _without_waits() -> Iterator[None]:
    bulk_bodies()  # before the clock of any run goes
    with without_waits():
        yield


FIRST_SPECS = {fault: specs[0] for fault, specs in BULK_SPECS.items()}


@pytest.mark.gate
@pytest.mark.parametrize(("spec", "way"), pairs(FIRST_SPECS, WAYS))
def test_an_export_is_exact_or_fails(spec: str, way: tuple[str, StartWorkers]) -> None:
    assert BulkRun(spec, *way, seed=0).end() in BULK_ENDINGS


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*BULK_SPECS, TWO_TOGETHER])
def test_many_exports_are_exact_or_fail(fault: str) -> None:
    ended = run_all([replace(run, seed=rng(run).getrandbits(32)) for run in bulk_runs(fault)])
    assert set(ended) <= set(BULK_ENDINGS)


def test_the_matrix_has_each_two_faults_together_and_each_by_processes() -> None:
    together = {run.spec for run in bulk_runs(TWO_TOGETHER)}
    assert len(together) == len(BULK_SPECS) * (len(BULK_SPECS) - 1) // 2 - len(UNKNOWABLE)
    for fault in BULK_SPECS:
        assert {run.workers for run in bulk_runs(fault)} == {workers for _, workers in WAYS.values()}


EXACT = {
    "the server is busy": "kickoff:status=429,times=1,retry-after=epoch-ms:0",
    "a plain error of the status once": "poll:status=500,times=1",
    "no wait that is a number": "poll:retry-after=garbage",
    "links expire once": "file:expired=410,times=1",
    "files lie elsewhere": "file:redirect=307",
    "the token ends once": "file:token-expired,times=1",
    "a resource is deleted": "poll:deleted=Patient/P001",
    "a warning": "poll:error-file=warning",
    "no counts": "poll:no-rows",
}


@pytest.mark.parametrize("spec", EXACT.values(), ids=EXACT)
def test_what_a_client_can_mend_makes_no_difference(spec: str) -> None:
    one_by_one = partial(thread_workers, jobs=1)  # another thread may have the new token expire, too
    assert BulkRun(spec, "count", one_by_one, seed=0).end() == "exact"


ENDED = {
    "poll:error-file=error": "exit 6",
    "poll:rows=+1": "exit 6",
    "file:twice=1": "exit 6",
    "file:expired=410": "exit 6",
    "poll:retry-after=99999999": "exit 5",
    "poll:status=500": "exit 5",
    "kickoff:status=401": "exit 4",
    "token:status=401": "exit 4",
}


@pytest.mark.gate
@pytest.mark.parametrize(("spec", "ending"), ENDED.items(), ids=ENDED)
def test_what_stays_wrong_is_an_error(spec: str, ending: str) -> None:
    assert BulkRun(spec, "count", THREADS, seed=0).end() == ending


def test_a_token_that_is_given_and_ends_is_an_error() -> None:
    assert BulkRun("file:token-expired,times=1", "count", THREADS, seed=1).end() == "exit 4"


@pytest.mark.parametrize("command", ["count", "fetch"])
def test_a_wrong_count_or_file_would_be_seen(command: str) -> None:
    with pytest.raises(WrongError, match="got what is not there"):
        BulkRun("poll:no-rows;file:twice=1", command, THREADS, seed=0).end()
