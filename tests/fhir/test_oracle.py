"""Sound resources are counted as an independent reader counts them, however they are written and cut."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.csv_strategies import CUTS, cut
from tests.fhir.conftest import TALLIES, Outcome, run
from tests.fhir.resources import bodies, records
from tests.seeds import examples

pytestmark = pytest.mark.gate

BASE = "https://ehr.example/fhir"


@examples(100, 5_000)
@given(body=bodies(), cuts=CUTS, by=st.sampled_from(["type", "category", "code"]), base=st.sampled_from([None, BASE]))
def test_counts_are_those_of_an_independent_reader(*, body: bytes, cuts: list[int], by: str, base: str | None) -> None:
    patients, unassigned = records(body, by, base)
    rows = sum(n for part in (patients, unassigned) for inner in part.values() for n in inner.values())
    for name, strict in product(TALLIES, [False, True]):
        options: dict[str, Any] = {"by": by, "base": base, "strict": strict}
        outcome = run(TALLIES[name], cut(body, cuts), **options)
        assert outcome == Outcome(patients, unassigned, {}, rows, None), (name, strict)
