"""Two servers over one set of documents: what one began, the other goes on with."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.server.fhir.walking import (
    FILE,
    FILES,
    KICK_OFF,
    OTHER,
    STATUS,
    Clock,
    FhirSource,
    files,
    kick_off,
    manifest,
    problems,
)
from tests.smart.keys import CLIENT, write_clients, write_key

from mockexport.errors import ChangedError, NotFoundError, UnreachableError
from mockexport.server.fhir.jobs import LIFETIME
from mockexport.shared import InMemory
from mockexport.smart import KeyFile, TokenServer, read_clients

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    from tests.server.fhir.conftest import ServeFhir

    from mockexport import Download

    Two: TypeAlias = Callable[..., tuple[httpx.Client, httpx.Client]]

ALL = [*FILES.values(), *OTHER.values()]


class Away(InMemory):
    """Documents that can't be reached at times."""

    away = False

    def __getattribute__(self, name: str) -> Any:
        if name in {"add", "put", "get", "extend", "names", "delete"} and self.away:
            raise UnreachableError("the journal postgresql://db/readings can't be reached")
        return super().__getattribute__(name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def documents(clock: Clock) -> Away:
    return Away(clock)


@pytest.fixture
def two(serve_fhir: ServeFhir, documents: Away) -> Two:
    """Start two servers, each with a source of its own, of the same files."""

    def start(
        make: Callable[[], FhirSource] = lambda: FhirSource({}), **settings: Any
    ) -> tuple[httpx.Client, httpx.Client]:
        settings = {"documents": documents, **settings}
        return serve_fhir(make(), **settings), serve_fhir(make(), **settings)

    return start


def there(client: httpx.Client, url: str) -> str:
    """The URL at another server."""
    return str(client.base_url.join(httpx.URL(url).path))


def fetched(client: httpx.Client, document: Any) -> list[tuple[str, bytes]]:
    """The files of a manifest that another server has sent."""
    output = [{**entry, "url": there(client, entry["url"])} for entry in document["output"]]
    return files(client, {"output": output})


@pytest.mark.parametrize("files_of", [None, 1, 2])
def test_an_export_that_one_server_began_is_fetched_whole_from_the_other(two: Two, files_of: int | None) -> None:
    one, other = two(files_of=files_of)
    status = kick_off(one)
    found = manifest(other, there(other, status))
    got = fetched(other, found)
    assert b"".join(body for _, body in got) == b"".join(body for _, body in ALL)
    assert fetched(one, found) == got
    assert found["request"] == str(one.base_url.join("/fhir/$export"))
    assert found["transactionTime"] == manifest(one, status)["transactionTime"]


def test_a_file_has_the_same_etag_at_both_and_is_resumed_at_the_other(two: Two) -> None:
    one, other = two(files_of=2)
    url = manifest(one, kick_off(one))["output"][1]["url"]
    first = one.get(url, headers=FILE)
    rest = other.get(there(other, url), headers={"Range": "bytes=50-", "If-Range": first.headers["etag"]})
    assert (rest.status_code, rest.content, rest.headers["etag"]) == (206, first.content[50:], first.headers["etag"])


def test_parts_of_an_export_the_notes_of_its_request_and_its_progress_are_told_by_the_other(
    two: Two, clock: Clock
) -> None:
    many = {f"o{number}": FILES["o1"] for number in range(120)}
    one, other = two(lambda: FhirSource({}, groups={"g": many}), export_seconds=100.0)
    headers = KICK_OFF | {"Prefer": "respond-async, handling=lenient"}
    answer = one.get("/fhir/$export", params={"allowPartialManifests": "true", "_elements": "id"}, headers=headers)
    status = there(other, answer.headers["content-location"])
    clock.now += 50
    early = other.get(status, headers=STATUS)
    assert (early.status_code, early.headers["x-progress"], len(early.json()["output"])) == (202, "50% complete", 50)
    assert b"_elements" in other.get(early.json()["error"][0]["url"]).content


def test_an_export_that_was_deleted_at_one_is_gone_at_the_other_which_had_its_files(two: Two) -> None:
    one, other = two()
    status = kick_off(one)
    url = manifest(other, there(other, status))["output"][0]["url"]
    assert other.get(url).status_code == 200
    assert one.delete(status).status_code == 202
    for answer in (other.get(there(other, status)), other.get(url), other.delete(there(other, status))):
        assert (answer.status_code, [code for code, _ in problems(answer)]) == (404, ["not-found"])


def test_an_export_is_kept_for_as_long_as_a_client_asks_any_server_for_it(two: Two, clock: Clock) -> None:
    one, other = two()
    status = kick_off(one)
    for client in (one, one, other):
        clock.now += LIFETIME - 1
        assert client.get(there(client, status)).status_code == 200
    clock.now += LIFETIME
    assert [client.get(there(client, status)).status_code for client in (one, other)] == [404, 404]


def test_the_number_of_exports_is_bounded_over_all_servers(two: Two) -> None:
    one, other = two(most_jobs=2)
    first, _ = kick_off(one), kick_off(other)
    for client in (one, other):
        assert client.get("/fhir/$export", headers=KICK_OFF).status_code == 429
    other.delete(there(other, first))
    kick_off(one)


def test_an_export_that_cannot_be_listed_takes_no_place(two: Two) -> None:
    class Failing(FhirSource):
        def downloads(self, export: str) -> Any:
            if fails:
                raise NotFoundError("it is not there")
            return super().downloads(export)

    fails = True
    one, other = two(lambda: Failing({}), most_jobs=1)
    for client in (one, other):
        assert client.get("/fhir/$export", headers=KICK_OFF).status_code == 404
    fails = False
    kick_off(one)


@pytest.mark.gate
@pytest.mark.parametrize(("files_of", "changed"), [(None, 1), (1, 3), (2, 2)])
def test_a_file_that_changed_since_the_export_began_is_refused_by_both(
    two: Two, files_of: int | None, changed: int
) -> None:
    class Checking(FhirSource):
        def open(self, download: Download, offset: int = 0, **watch: Any) -> Any:
            now = {found.id: found.etag for found in self.downloads(download.export)}
            if now[download.id] != download.etag:
                raise ChangedError(f"{download.id} changed since it was listed")
            return super().open(download, offset, **watch)

    groups = {"g": dict(FILES)}
    one, other = two(lambda: Checking({}, groups=groups), files_of=files_of)
    document = manifest(one, kick_off(one))
    groups["g"] = {**FILES, "org": ("Organization", FILES["org"][1].replace(b"org", b"Org"))}
    for client in (one, other):
        answers = [client.get(there(client, entry["url"])) for entry in document["output"]]
        assert [answer.status_code for answer in answers if answer.status_code != 200] == [502] * changed
        assert "changed since it was listed" in problems(answers[-1])[0][1]


@pytest.mark.gate
def test_documents_that_cannot_be_reached_are_told_and_the_client_asks_again(
    two: Two, documents: Away, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = two()
    status = kick_off(one)
    url = manifest(one, status)["output"][0]["url"]
    documents.away = True
    with caplog.at_level(logging.WARNING):
        for answer in (
            one.get(status),
            one.get(url),
            one.delete(status),
            other.get("/fhir/$export", headers=KICK_OFF),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert problems(answer) == [("transient", "The database of the service can't be reached; try again")]
    assert "postgresql://db/readings can't be reached" in caplog.text
    documents.away = False
    assert fetched(other, manifest(one, status)) == ALL


# Tokens.


@pytest.mark.gate
def test_a_token_of_one_server_is_good_at_the_other_until_it_ends_and_its_assertion_at_neither(
    serve_fhir: ServeFhir, documents: Away, clock: Clock, tmp_path: Path
) -> None:
    clients = read_clients(write_clients(tmp_path / "clients.json"))
    key = KeyFile(CLIENT, write_key(tmp_path / "key.json"))
    one, other = (serve_fhir(tokens=TokenServer(clients, documents), documents=documents) for _ in range(2))
    form = {"grant_type": "client_credentials", "scope": "system/Patient.rs"}
    form |= key.proof(str(one.base_url.join("/fhir/token")), clock.now).fields
    token = one.post("/fhir/token", data=form).json()["access_token"]
    of_one = {"Host": one.base_url.netloc.decode()}  # as the URL of a load balancer is the same at both
    for client in (one, other):
        refused = client.post("/fhir/token", data=form, headers=of_one)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
        assert "used before" in refused.json()["error_description"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert other.get("/fhir/Group", headers=bearer).status_code == 200
    assert other.get("/fhir/$export?_type=Observation", headers=KICK_OFF | bearer).status_code == 403
    documents.away = True
    unknown = other.get("/fhir/Group", headers=bearer)
    assert (unknown.status_code, [code for code, _ in problems(unknown)]) == (503, ["transient"])
    told = other.post("/fhir/token", data=form, headers=of_one)
    assert (told.status_code, told.json()) == (503, {"error": "temporarily_unavailable"})
    assert told.headers["retry-after"] == "5"
    documents.away = False
    clock.now += 300
    assert other.get("/fhir/Group", headers=bearer).status_code == 401
