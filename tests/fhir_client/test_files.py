"""What the manifest lists, and how its files are read: each once and whole, or there is an error that names it."""

from __future__ import annotations

import gzip
import threading
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.fhir_client.conftest import counted
from tests.fhir_client.scripted_fhir import (
    Answer,
    Asked,
    ScriptedFhir,
    busy,
    cut,
    document,
    manifest,
    outcome,
    patients,
)
from tests.sources import WAIT_SECONDS

from mockexport import (
    NotAuthorisedError,
    NotFoundError,
    UntrustedDataError,
    count,
    process_workers,
    thread_workers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.commands import Ended
    from tests.fhir_client.conftest import OpenFhir

STATUS = "GET /fhir/jobs/1"
FILE = "GET /fhir/files/1"
TOKEN = "secret"


def patient_file(server: ScriptedFhir, name: object, **more: Any) -> dict[str, Any]:
    return {"type": "Patient", "url": f"{server.url}/files/{name}", **more}


def test_the_parts_of_a_manifest_are_one(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    server.export([patients(1, 2), patients(3, 3), patients(4, 6)])

    def part(number: int, link: str | None) -> Answer:
        links = {"link": [{"relation": "next", "url": link}]} if link else {}
        return document(manifest(patient_file(server, number), deleted=[], **links))

    server.on(STATUS, part(1, f"{server.url}/jobs/1/2"))
    server.on("GET /fhir/jobs/1/2", Answer(502), busy(429), part(2, "/fhir/jobs/1/3"))
    server.on("GET /fhir/jobs/1/3", part(3, None))
    source = open_fhir(server)
    assert counted(source) == 6
    assert [download.id for download in source.downloads("system")] == ["1.Patient", "2.Patient", "3.Patient"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"link": [{"relation": "next", "url": "/fhir/jobs/1"}]}, "links without end"),
        ({"link": [{"relation": "next"}]}, "does not name one next part"),
        ({"link": [{"relation": "next", "url": ""}]}, "does not name one next part"),
        ({"link": [{"relation": "next", "url": "http://["}]}, r"names 'http://\[', which is not a URL"),
        ({"output": [{"type": "Patient", "url": "http://["}]}, r"names 'http://\[', which is not a URL"),
        ({"error": [{"type": "OperationOutcome", "url": "http://["}]}, r"names 'http://\[', which is not a URL"),
        ({"output": [{"type": "Pat/ient", "url": "a"}]}, "is not the name of a type of resources"),
        ({"link": "next"}, "not a list of objects"),
        (
            {"output": [{"type": "Patient", "url": "a", "continuesInFile": "b"}]},
            "a continues in 'b', which is not listed",
        ),
        ({"output": [{"url": "a"}]}, 'a has no "type"; files of several types'),
        ({"output": [{"url": "a"}], "outputOrganizedBy": "Patient"}, "organised by Patient is not supported"),
        ({"output": [{"type": "Patient"}]}, 'entry 1 of "output" has no "url"'),
        ({"output": [{"type": "Patient", "url": "a", "count": -1}]}, 'the "count" of a is not'),
        ({"output": [{"type": "Patient", "url": "a"}, {"type": "Patient", "url": "a"}]}, "lists .*/a twice"),
        (
            {"output": [{"type": "Patient", "url": "a"}], "deleted": [{"type": "Bundle", "url": "a"}]},
            "lists .*/a twice",
        ),
        ({"output": None}, '"output" is not a list'),
    ],
)
def test_an_invalid_manifest_is_an_error_and_is_not_kept(
    server: ScriptedFhir, open_fhir: OpenFhir, tmp_path: Any, more: Mapping[str, Any], told: str
) -> None:
    server.export()
    server.on(STATUS, document({**manifest(), **more}))
    with pytest.raises(UntrustedDataError, match=told):
        counted(open_fhir(server, state=tmp_path / "state"))
    assert server.count(FILE) == 0


def test_a_file_that_continues_in_another_one_is_counted(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    server.export()
    files = patient_file(server, 1, continuesInFile=f"{server.url}/files/2"), patient_file(server, 2)
    server.on(STATUS, document(manifest(*files)))
    assert counted(open_fhir(server)) == 5


def test_an_export_that_holds_nothing_is_told(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    server.export([])
    with pytest.raises(NotFoundError, match="has no downloads; there is nothing to count"):
        counted(open_fhir(server))


@pytest.mark.parametrize("length", [1, 40, 89])
def test_a_file_that_is_cut_is_read_again_from_its_start_where_no_ranges_are_offered(
    server: ScriptedFhir, open_fhir: OpenFhir, length: int
) -> None:
    server.export([patients(1, 3)])
    whole = Answer(body=patients(1, 3), headers={"ETag": '"1"'})
    server.on(FILE, cut(whole, length), whole)
    assert counted(open_fhir(server)) == 3
    assert len(server.of(FILE)) == 2
    assert not any("range" in asked.headers for asked in server.of(FILE))


def test_a_file_that_is_cut_is_gone_on_with_where_ranges_are_offered(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    body = patients(1, 3)
    server.export([body])
    headers = {"ETag": '"1"', "Accept-Ranges": "bytes"}
    rest = Answer(206, body[40:], {**headers, "Content-Range": f"bytes 40-{len(body) - 1}/{len(body)}"})
    server.on(FILE, cut(Answer(body=body, headers=headers), 40), rest)
    assert counted(open_fhir(server)) == 3
    again = server.of(FILE)[1].headers
    assert (again["range"], again["if-range"]) == ("bytes=40-", '"1"')


def test_gzip_is_decoded(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    server.export([patients(1, 300)])
    whole = Answer(body=gzip.compress(patients(1, 300)), headers={"Content-Encoding": "gzip", "Accept-Ranges": "bytes"})
    server.on(FILE, cut(whole, 100), whole)
    assert counted(open_fhir(server)) == 300


@pytest.mark.parametrize("listed", [2, 4, 0])
def test_a_count_that_lies_is_an_error_that_names_the_file(
    server: ScriptedFhir, open_fhir: OpenFhir, listed: int
) -> None:
    server.export([patients(1, 3)])
    server.on(STATUS, document(manifest(patient_file(server, 1, count=listed))))
    with pytest.raises(UntrustedDataError, match=r"1\.Patient"):
        counted(open_fhir(server))


@pytest.mark.parametrize(("needed", "sent"), [(True, True), (False, False)])
def test_the_token_is_sent_for_files_only_where_it_is_required(
    server: ScriptedFhir, open_fhir: OpenFhir, needed: bool, sent: bool
) -> None:
    server.export(requiresAccessToken=needed, error=[{"type": "OperationOutcome", "url": "/fhir/errors"}])
    server.on("GET /fhir/errors", Answer())
    assert counted(open_fhir(server, token=TOKEN)) == 5
    for asked in server.asked:
        about = asked.path.startswith(("/fhir/files", "/fhir/errors"))
        assert ("authorization" in asked.headers) == (sent or not about), asked.what


@pytest.mark.parametrize("redirected", [True, False])
def test_the_token_never_goes_to_another_origin(server: ScriptedFhir, open_fhir: OpenFhir, redirected: bool) -> None:
    with ScriptedFhir() as store:
        store.export([patients(1, 3)])
        server.export([patients(1, 3)])
        if redirected:
            server.on(FILE, Answer(307, headers={"Location": f"{store.url}/files/1"}))
        else:
            server.on(STATUS, document(manifest(patient_file(store, 1))))
        assert counted(open_fhir(server, token=TOKEN)) == 3
        (asked,) = store.asked
    assert "authorization" not in asked.headers
    assert "cookie" not in asked.headers


def test_a_token_that_expires_in_the_middle_is_an_error_of_authorisation(
    server: ScriptedFhir, open_fhir: OpenFhir
) -> None:
    server.export()
    server.on("GET /fhir/files/2", Answer(401))
    with pytest.raises(NotAuthorisedError, match="401"):
        counted(open_fhir(server, token=TOKEN))


def expire(server: ScriptedFhir, files: int, status: int = 410, at_once: int = 1) -> list[int]:
    """Let each file have a link that has expired, until the manifest is read again; return how often that was.

    So many files are `at_once` found to be so.
    """
    together = threading.Barrier(at_once)
    reads: list[int] = []
    lock = threading.Lock()

    def status_answer(_: Asked) -> Answer:
        with lock:
            reads.append(len(reads))
        output = [patient_file(server, f"{n}?link={len(reads)}") for n in range(1, files + 1)]
        return document(manifest(*output))

    def file_answer(number: int, asked: Asked) -> Answer:
        body = patients(number, number)
        if int(asked.query["link"]) > 1:
            return Answer(body=body)
        together.wait(WAIT_SECONDS)
        return Answer(status)

    server.on(STATUS, status_answer)
    for number in range(1, files + 1):
        server.on(f"GET /fhir/files/{number}", partial(file_answer, number))
    return reads


@pytest.mark.parametrize("status", [404, 410])
def test_the_manifest_is_read_again_once_for_all_links_that_have_expired(
    server: ScriptedFhir, open_fhir: OpenFhir, status: int
) -> None:
    server.export([b""] * 8)
    reads = expire(server, 8, status, at_once=4)
    counts = count(open_fhir(server), "system", start_workers=partial(thread_workers, jobs=4))
    assert len(counts.patients) == 8
    assert len(reads) == 2
    assert server.kick_offs == 1


@pytest.mark.gate
def test_worker_processes_read_the_manifest_again_too(server: ScriptedFhir, open_fhir: OpenFhir, tmp_path: Any) -> None:
    server.export([b""] * 3)
    reads = expire(server, 3)
    source = open_fhir(server, state=tmp_path / "state")
    counts = count(source, "system", kernel="pure", start_workers=partial(process_workers, jobs=2))
    assert len(counts.patients) == 3
    assert len(reads) in (2, 3)  # at most once in each process
    assert server.kick_offs == 1


def test_links_that_stay_expired_are_an_error(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    server.export()
    server.on(FILE, Answer(410))
    with pytest.raises(UntrustedDataError, match=r"the manifest lists 1\.Patient, but http:.*files/1 answered 410"):
        counted(open_fhir(server))


@pytest.mark.parametrize(
    "after",
    [[(1, 1)], [(1, 1), (2, 1), (3, 1)], [(1, 1), (2, 7)], [(2, 1), (1, 1)]],
    ids=["fewer", "more", "rows", "order"],
)
def test_a_manifest_that_has_changed_when_it_is_read_again_is_an_error(
    server: ScriptedFhir, open_fhir: OpenFhir, after: list[tuple[int, int]]
) -> None:
    server.export([patients(1, 1), patients(2, 2)])
    before = manifest(*[patient_file(server, f"{n}?old", count=1) for n in (1, 2)])
    changed = manifest(*[patient_file(server, n, count=rows) for n, rows in after])
    server.on(STATUS, document(before), document(changed))
    server.on("GET /fhir/files/2", Answer(410))
    with pytest.raises(UntrustedDataError, match="changed while its files were read"):
        counted(open_fhir(server))


def test_a_manifest_that_has_changed_is_an_error_in_all_later_runs_too(
    server: ScriptedFhir, run: Callable[..., Ended]
) -> None:
    """The first file is saved by its name; if the second run took that name from the new manifest, it would be lost."""
    server.export([patients(1, 3), patients(4, 6)])
    before = manifest(patient_file(server, 1, count=3), patient_file(server, "2?old", count=3))
    swapped = manifest(patient_file(server, "2?new", count=3), patient_file(server, 1, count=3))
    server.on(STATUS, document(before), document(swapped))
    server.on("GET /fhir/files/2", Answer(404), Answer(404), Answer(body=patients(4, 6)))
    count = ("count", "system", "--state", "job", "-j", "1")
    first, second = run(*count), run(*count)
    assert "1 downloads are saved" in first.stderr
    for ended in (first, second):
        assert (ended.code, ended.stdout) == (6, "")
        assert "changed while its files were read" in ended.stderr


def groups(*ids: str, following: str | None = None) -> Answer:
    links = {"link": [{"relation": "next", "url": following}]} if following else {}
    entries = [{"resource": {"resourceType": "Group", "id": group}} for group in ids]
    return document({"resourceType": "Bundle", "entry": entries, **links})


def test_the_groups_of_all_pages_are_exports_and_none_is_begun(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    second = groups("c")
    pages = iter([groups("a", "b", following="/fhir/Group?page=2"), second])
    server.on("GET /fhir/Group", lambda _: next(pages))
    assert open_fhir(server).exports() == ["system", "patient", "group/a", "group/b", "group/c"]
    assert server.asked[1].query == {"page": "2"}
    assert server.kick_offs == 0


@pytest.mark.parametrize("answer", [Answer(404), Answer(403), Answer(200, b"<html>"), outcome(501), document([])])
def test_a_server_need_not_list_its_groups(
    server: ScriptedFhir, open_fhir: OpenFhir, caplog: pytest.LogCaptureFixture, answer: Answer
) -> None:
    server.on("GET /fhir/Group", answer)
    assert open_fhir(server).exports() == ["system", "patient"]
    assert "does not list its groups" in caplog.text


@pytest.mark.parametrize("export", ["demo", "group", "group/", "", "System"])
def test_what_is_no_export_is_told_with_what_there_is(server: ScriptedFhir, open_fhir: OpenFhir, export: str) -> None:
    with pytest.raises(NotFoundError, match="it has system, patient and group/ID"):
        open_fhir(server).downloads(export)
    assert server.asked == []


def test_the_end_is_a_delete_and_one_that_fails_is_told(
    server: ScriptedFhir, open_fhir: OpenFhir, caplog: pytest.LogCaptureFixture
) -> None:
    server.export()
    with closing(open_fhir(server)) as source:
        counted(source)
        source.end()
        source.end()
        assert server.count("DELETE /fhir/jobs/1") == 1
    server.on("DELETE /fhir/jobs/1", Answer(500))
    source = open_fhir(server)
    counted(source)
    source.end()
    assert "still on the server" in caplog.text
