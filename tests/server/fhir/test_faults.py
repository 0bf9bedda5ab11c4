"""Faults of the FHIR API do what docs/faults.md says, as a plain client sees it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest
from tests.faults.misbehaving import misbehaving
from tests.server.fhir.walking import FILES, KICK_OFF, FhirSource, kick_off, manifest, problems, resources, walk
from tests.server.serving import PLAIN
from tests.sources import WAIT_SECONDS

from mockexport.server import Fhir

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = "/fhir/Group/first/$export"
TOKEN = {"Authorization": "Bearer s3cr3t"}


class Misbehave(Protocol):
    """Serves groups of FHIR files with the faults of a SPEC; paths are relative to that server."""

    def __call__(self, spec: str, *, token: str | None = None, **settings: Any) -> httpx.Client: ...


@pytest.fixture
def misbehave() -> Iterator[Misbehave]:
    with ExitStack() as stack:

        def start(spec: str, *, token: str | None = None, **settings: Any) -> httpx.Client:
            url = stack.enter_context(misbehaving(FhirSource({}), spec, token=token, fhir=Fhir(**settings)))
            return stack.enter_context(httpx.Client(base_url=url, timeout=WAIT_SECONDS, headers=PLAIN))

        yield start


def first_file(client: httpx.Client, **headers: str) -> str:
    """Export a group; return the URL of its first file."""
    status = client.get(GROUP, headers=KICK_OFF | headers).headers["content-location"]
    url: str = client.get(status, headers=headers).json()["output"][0]["url"]
    return url


# Statuses.


def test_a_busy_server_refuses_the_kick_off_once(misbehave: Misbehave) -> None:
    client = misbehave("kickoff:status=429,times=1,retry-after=2")
    refused = client.get(GROUP, headers=KICK_OFF)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert [code for code, _ in problems(refused)] == ["throttled"]
    assert walk(client, GROUP) == list(FILES.values())


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("status=429,retry-after=1", 429, "throttled"),
        ("status=500", 500, "exception"),
        ("status=404", 404, "not-found"),
        ("transient=503", 503, "transient"),
    ],
)
def test_a_poll_fails_once_and_the_export_goes_on(misbehave: Misbehave, fault: str, status: int, code: str) -> None:
    client = misbehave(f"poll:{fault},times=1")
    url = kick_off(client)
    refused = client.get(url)
    assert (refused.status_code, [found for found, _ in problems(refused)]) == (status, [code])
    assert manifest(client, url)


def test_each_export_fails_once(misbehave: Misbehave) -> None:
    client = misbehave("poll:status=500,times=1")
    for _ in range(3):
        url = kick_off(client)
        assert [client.get(url).status_code for _ in range(3)] == [500, 200, 200]


@pytest.mark.gate
def test_the_same_seed_strikes_the_same_polls_whatever_the_ids_of_exports(misbehave: Misbehave) -> None:
    def fates(seed: int) -> list[int]:
        client = misbehave(f"poll:status=500,p=0.5;seed={seed}")
        urls = [kick_off(client) for _ in range(2)]
        return [client.get(url).status_code for url in urls for _ in range(20)]

    assert fates(1) == fates(1) != fates(2)


# Waits.

NEAR = 100  # seconds that a test may take


@pytest.mark.gate
@pytest.mark.parametrize("on", ["kickoff:status=429,retry-after=", "poll:retry-after="])
@pytest.mark.parametrize(
    "form", ["7", "99999999", "date:7", "float:7", "epoch:7", "epoch-ms:7", "negative:7", "garbage"]
)
def test_a_wait_has_any_form(misbehave: Misbehave, on: str, form: str) -> None:
    client = misbehave(on + form, export_seconds=1000.0)
    answer = client.get(GROUP, headers=KICK_OFF)
    if on.startswith("poll"):
        answer = client.get(answer.headers["content-location"])
        assert answer.status_code == 202
    got = answer.headers["retry-after"]
    exact = {"7": "7", "99999999": "99999999", "float:7": "7.5", "negative:7": "-7", "garbage": "soon"}
    if form in exact:
        assert got == exact[form]
        return
    then = parsedate_to_datetime(got).timestamp() if form == "date:7" else float(got) / (1000 if "ms" in form else 1)
    assert abs(then - time.time() - 7) < NEAR


def test_a_wait_is_not_made_up_where_there_is_none(misbehave: Misbehave) -> None:
    client = misbehave("poll:retry-after=7")
    assert "retry-after" not in client.get(kick_off(client)).headers


# Files.


@pytest.mark.parametrize("status", [404, 410])
def test_an_expired_link_stays_so_and_the_manifest_has_a_fresh_one(misbehave: Misbehave, status: int) -> None:
    client = misbehave(f"file:expired={status},times=1")
    export = kick_off(client, GROUP)
    old = manifest(client, export)["output"][0]["url"]
    for _ in range(3):
        gone = client.get(old)
        assert (gone.status_code, [code for code, _ in problems(gone)]) == (status, ["not-found"])
    fresh = manifest(client, export)["output"][0]["url"]
    assert fresh != old
    assert client.get(fresh).content == FILES["p"][1]


def test_links_that_have_not_expired_go_on_beside_fresh_ones(misbehave: Misbehave) -> None:
    client = misbehave("file:expired=410,p=0")
    export = kick_off(client, GROUP)
    links = [manifest(client, export)["output"][0]["url"] for _ in range(2)]
    assert len(set(links)) == 2
    assert [client.get(link).content for link in links] == [FILES["p"][1]] * 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_file_is_redirected_to_another_origin(misbehave: Misbehave, status: int) -> None:
    client = misbehave(f"file:redirect={status}")
    url = first_file(client)
    answer = client.get(url)
    there = httpx.URL(answer.headers["location"])
    assert (answer.status_code, httpx.URL(url).host, there.host) == (status, "127.0.0.1", "localhost")
    assert client.get(url, follow_redirects=True).content == FILES["p"][1]


def test_a_kick_off_is_redirected_with_its_parameters(misbehave: Misbehave) -> None:
    client = misbehave("kickoff:redirect=307,times=1")
    begun = client.get(GROUP, params={"_type": "Patient"}, headers=KICK_OFF, follow_redirects=True)
    assert begun.status_code == 202, begun.text
    assert [file["type"] for file in manifest(client, begun.headers["content-location"])["output"]] == ["Patient"]


def test_the_other_origin_needs_no_token_and_takes_none(misbehave: Misbehave) -> None:
    client = misbehave("file:redirect=307", token="s3cr3t")
    url = first_file(client, **TOKEN)
    there = client.get(url, headers=TOKEN).headers["location"]
    assert client.get(there).content == FILES["p"][1]
    refused = client.get(there, headers=TOKEN)
    assert (refused.status_code, [code for code, _ in problems(refused)]) == (400, ["security"])
    forged = client.get(f"{url}?moved=forged")
    assert (forged.status_code, [code for code, _ in problems(forged)]) == (403, ["forbidden"])


def test_a_redirect_without_the_token_is_refused_there_too(misbehave: Misbehave) -> None:
    client = misbehave("file:redirect=307", token="s3cr3t")
    there = client.get(first_file(client, **TOKEN)).headers["location"]
    assert client.get(there).status_code == 401


def test_a_file_is_cut(misbehave: Misbehave) -> None:
    client = misbehave("file:cut=10")
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(first_file(client))


def test_rows_are_sent_twice(misbehave: Misbehave) -> None:
    client = misbehave("file:twice=1")
    rows = FILES["p"][1].splitlines(keepends=True)
    assert client.get(first_file(client)).content == rows[0] * 2 + rows[1] * 2
    assert len(client.get(first_file(misbehave("file:twice=0"))).content) == len(FILES["p"][1])


def test_rows_that_are_sent_twice_fit_their_framing_where_a_length_is_known(misbehave: Misbehave) -> None:
    client = misbehave("file:twice=1,times=1;file:latency=0")
    url = first_file(client)
    client.get(url)
    length = client.get(url).headers["content-length"]
    assert length == str(len(FILES["p"][1])), "it is known once the file was read"
    twice = misbehave("file:twice=1")
    url = first_file(twice)
    assert [len(resources(twice.get(url).content)) for _ in range(2)] == [4, 4]


# Manifests.


def test_counts_lie(misbehave: Misbehave) -> None:
    for spec, counts in (("poll:rows=+1", [3, 4, 2, 4]), ("poll:rows=-2", [0, 1, 0, 1])):
        client = misbehave(spec)
        assert [entry["count"] for entry in manifest(client, kick_off(client, GROUP))["output"]] == counts


def test_counts_are_left_out(misbehave: Misbehave) -> None:
    client = misbehave("poll:no-rows")
    assert [set(entry) for entry in manifest(client, kick_off(client, GROUP))["output"]] == [{"type", "url"}] * 4


@pytest.mark.parametrize("severity", ["fatal", "error", "warning", "information"])
def test_a_file_of_errors_is_in_the_manifest(misbehave: Misbehave, severity: str) -> None:
    client = misbehave(f"poll:error-file={severity}")
    document = manifest(client, kick_off(client, GROUP))
    (entry,) = document["error"]
    told = client.get(entry["url"])
    assert (entry["type"], entry["count"], told.headers["content-type"]) == (
        "OperationOutcome",
        1,
        "application/fhir+ndjson",
    )
    assert resources(told.content)[0]["issue"][0]["severity"] == severity
    assert len(document["output"]) == 4


def test_a_deleted_resource_is_in_the_output_too(misbehave: Misbehave) -> None:
    client = misbehave("poll:deleted=Patient/1")
    document = manifest(client, kick_off(client, GROUP))
    (entry,) = document["deleted"]
    (bundle,) = resources(client.get(entry["url"]).content)
    assert (entry["type"], bundle["resourceType"], bundle["type"]) == ("Bundle", "Bundle", "transaction")
    assert bundle["entry"] == [{"request": {"method": "DELETE", "url": "Patient/1"}}]
    assert b'"id":"1"' in client.get(document["output"][0]["url"]).content


def test_pages_of_a_manifest_are_changed_too(misbehave: Misbehave) -> None:
    client = misbehave("poll:no-rows;file:expired=410,p=0")
    export = kick_off(client, GROUP, allowPartialManifests="true")
    document = client.get(f"{export}/manifests/1").json()
    assert all(set(entry) == {"type", "url"} and "?link=" in entry["url"] for entry in document["output"])


# Tokens.


def test_a_token_that_has_expired_is_refused_from_then_on_and_another_is_not(misbehave: Misbehave) -> None:
    client = misbehave("file:token-expired,times=1")
    url = first_file(client, **TOKEN)
    for path in (url, url, "/fhir/Group"):
        refused = client.get(path, headers=TOKEN)
        assert (refused.status_code, [code for code, _ in problems(refused)]) == (401, ["login"])
        assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert client.get(url, headers={"Authorization": "Bearer another"}).content == FILES["p"][1]
    assert client.post("/fhir/token", headers=TOKEN).status_code == 404, "there is no token endpoint, but it was asked"
