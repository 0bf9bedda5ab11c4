"""Which requests are struck: the same ones again for the same seed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.faults.misbehaving import BODY, DATA, ROWS
from tests.server.sources import path_of
from tests.sources import EXPORT

from mockexport.server.faults.spec import ROUTES
from mockexport.wire import API, export_path

if TYPE_CHECKING:
    import httpx
    from tests.faults.misbehaving import Misbehave


def fates(client: httpx.Client, name: str, requests: int = 30) -> str:
    """Which of several requests for a download are struck by a status, as a line of 0 and 1."""
    answers = [client.get(f"{path_of(name)}/data") for _ in range(requests)]
    return "".join("1" if answer.status_code == 503 else "0" for answer in answers)


@pytest.mark.gate
def test_the_same_seed_strikes_the_same_whatever_else_runs(misbehave: Misbehave) -> None:
    alone, busy = misbehave("data:status=503,p=0.5;seed=3"), misbehave("data:status=503,p=0.5;seed=3")
    expected = {name: fates(alone, name) for name in "abc"}
    with ThreadPoolExecutor(3) as threads:
        assert dict(zip("abc", threads.map(lambda name: fates(busy, name), "abc"), strict=True)) == expected
    assert len(set(expected.values())) == 3


@pytest.mark.gate
def test_another_seed_strikes_others(misbehave: Misbehave) -> None:
    assert len({fates(misbehave(f"data:status=503,p=0.5;seed={seed}"), "a") for seed in range(3)}) == 3


def test_head_takes_no_fault_away_from_get(misbehave: Misbehave) -> None:
    client = misbehave("data:end=10,times=1")
    for _ in range(3):
        client.head(DATA)
    assert client.get(DATA).content == BODY[:10]


@pytest.mark.parametrize("fault", ["cut=0", "end=0", "reset=0", "stall=0", "slow=1", "malformed=1", "rows=+1"])
def test_head_answers_have_no_body_to_spoil(misbehave: Misbehave, fault: str) -> None:
    client = misbehave(f"any:{fault}")
    assert client.head(DATA).status_code == client.head(path_of("a")).status_code == 200


@pytest.mark.gate
@pytest.mark.parametrize(("p", "least", "most"), [("0", 0, 0), ("0.3", 10, 60), ("1", 100, 100)])
def test_p_is_how_often_a_rule_strikes(misbehave: Misbehave, p: str, least: int, most: int) -> None:
    assert least <= fates(misbehave(f"data:status=503,p={p}"), "a", 100).count("1") <= most


def test_times_is_how_often_a_rule_strikes_one_path(misbehave: Misbehave) -> None:
    client = misbehave("data:status=503,times=2")
    assert [fates(client, name, 4) for name in "ab"] == ["1100", "1100"]


def test_a_range_of_amounts_is_drawn_from_anew(misbehave: Misbehave) -> None:
    client = misbehave("data:end=100..200")
    lengths = [len(client.get(DATA).content) for _ in range(30)]
    assert all(100 <= length <= 200 for length in lengths)
    assert len(set(lengths)) > 10


def test_several_faults_strike_together(misbehave: Misbehave) -> None:
    answer = misbehave("data:end=300;data:etag;data:malformed=1").get(DATA)
    assert (answer.content.count(b";"), len(answer.content)) == (6, 300)
    assert answer.headers["etag"] != '"v1"'


@pytest.mark.gate
@pytest.mark.parametrize("route", ROUTES)
def test_a_route_is_struck_and_no_other(misbehave: Misbehave, route: str) -> None:
    client = misbehave(f"{route}:status=500")
    paths = {"exports": API, "export": export_path(EXPORT), "download": path_of("a"), "data": DATA}
    bulk = {"kickoff": "/fhir/$export", "poll": "/fhir/jobs/1", "file": "/fhir/jobs/1/1.Patient.ndjson"}
    bulk |= {"token": "/fhir/token"}
    struck = {name for name, path in (paths | bulk).items() if client.get(path).status_code == 500}
    assert struck == {"any": set(paths), "fhir": set(bulk)}.get(route, {route})
    assert client.get("/fhir/metadata").status_code == 200
    assert client.get("/health").status_code == 200


def test_no_rules_are_no_faults(misbehave: Misbehave) -> None:
    client = misbehave("seed=5")
    assert client.get(DATA).content == BODY
    assert client.get(path_of("a")).json()["data"]["rows"] == ROWS
