"""What `downloads fetch` leaves of a FHIR server's export in an object store: what it leaves in a folder."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

import boto3  # type: ignore[import-untyped]
import orjson
import pytest
from tests.commands import Ended, started, wait_while_running
from tests.fhir_client.scripted_fhir import Answer, cut, outcome, patients
from tests.fhir_client.test_keeping import BUNDLE, DELETE, EXPORT, FETCH, LEVEL, WARNING, with_others
from tests.moto import moto_server
from tests.sources import WAIT_SECONDS

from mockexport import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fhir_client.conftest import OpenFhir
    from tests.fhir_client.scripted_fhir import Asked, ScriptedFhir

KEYS: dict[str, Any] = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
INTO = ("downloads", "fetch", EXPORT, "--dir", "s3://box/kept", "--retries", "0")
STATE = ".export-state.json"
WHOLE = {".mockexport.json", "1.Patient.ndjson", "2.Patient.ndjson", "log.ndjson", "manifest.json"}
FIRST = hashlib.sha256(patients(1, 3)).hexdigest()


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def box(store: str) -> Iterator[Any]:
    names = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    box = boto3.resource("s3", endpoint_url=store, **names).create_bucket(Bucket="box")
    yield box
    box.objects.all().delete()


@pytest.fixture
def command(store: str, tmp_path: Path) -> Callable[..., Ended]:
    """Run the installed command with the store, in a process of its own."""

    def run(*arguments: object) -> Ended:
        with started(tmp_path, *arguments, "--endpoint", store, **KEYS) as process:
            stdout, stderr = process.communicate(timeout=WAIT_SECONDS * 4)
            return Ended(process.returncode, stdout, stderr)

    return run


@pytest.fixture
def fetch(server: ScriptedFhir, command: Callable[..., Ended]) -> Callable[..., Ended]:
    return lambda *options: command(*INTO, "-s", f"fhir+{server.url}", *options)


def objects(box: Any) -> dict[str, bytes]:
    """What the store has of the export."""
    prefix = f"kept/{EXPORT}/"
    return {entry.key.removeprefix(prefix): entry.get()["Body"].read() for entry in box.objects.filter(Prefix=prefix)}


def event_ids(box: Any) -> list[str]:
    return [orjson.loads(line)["eventId"] for line in objects(box)["log.ndjson"].splitlines()]


@pytest.mark.gate
def test_an_export_in_a_store_has_the_files_and_counts_of_one_in_a_folder(
    server: ScriptedFhir,
    run: Callable[..., Ended],
    command: Callable[..., Ended],
    fetch: Callable[..., Ended],
    box: Any,
    kept: Path,
) -> None:
    with_others(server)
    wire = run("count", EXPORT)
    assert run(*FETCH).code == 0
    done = fetch()
    assert done.code == 0, done.stderr
    there = objects(box)
    local = {str(path.relative_to(kept)): path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    assert there.keys() == local.keys()
    assert (there["error/1.OperationOutcome.ndjson"], there["deleted/1.Bundle.ndjson"]) == (WARNING, BUNDLE)
    of_times = {"log.ndjson", STATE, ".mockexport.json"}  # when the export began is a part of its ETags
    assert {name: there[name] for name in there.keys() - of_times} == {n: local[n] for n in local.keys() - of_times}
    begun = [orjson.loads(line)["eventId"] for line in local["log.ndjson"].splitlines()]
    assert (sorted(event_ids(box)), event_ids(box)[:4], event_ids(box)[-1]) == (sorted(begun), begun[:4], begun[-1])
    counted = command("count", EXPORT, "-s", "s3://box/kept")
    assert (counted.code, counted.stdout) == (0, wire.stdout), counted.stderr
    assert command("reconcile", EXPORT, "-s", "s3://box/kept", "-o", "certificate.json").code == 0


@pytest.mark.gate
def test_worker_processes_hand_back_the_lines_of_the_log(
    server: ScriptedFhir, fetch: Callable[..., Ended], box: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.export(level=LEVEL)
    monkeypatch.setenv("MOCKEXPORT_KERNEL", "pure")  # Python code counts in processes
    done = fetch("-j", "2")
    assert done.code == 0, done.stderr
    assert event_ids(box)[4:] == [*["download_request", "download_complete"] * 2, "export_complete"]


@pytest.mark.gate
def test_a_file_that_breaks_off_is_not_there_and_the_next_fetch_goes_on_with_the_same_export(
    server: ScriptedFhir, command: Callable[..., Ended], fetch: Callable[..., Ended], box: Any
) -> None:
    server.export(level=LEVEL)
    server.on("GET /fhir/files/2", *[cut(Answer(body=patients(4, 5)), 50)] * 9, Answer(500))
    broken = fetch("-j", "1")
    assert broken.code == 6, broken.stderr
    assert "run the same command again to go on with it" in broken.stderr
    there = objects(box)
    assert there.keys() == {STATE, *WHOLE} - {"2.Patient.ndjson", "manifest.json"}
    entries = orjson.loads(there[".mockexport.json"])
    assert (entries["complete"], [entry["sha256"] for entry in entries["downloads"]]) == (False, [FIRST, None])
    assert event_ids(box)[-1] == "download_error"
    counted = command("count", EXPORT, "-s", "s3://box/kept")
    assert (counted.code, counted.stdout) == (6, "")
    assert "the fetch into s3://box/kept/group/7 has not finished" in counted.stderr
    server.on("GET /fhir/files/2", Answer(body=patients(4, 5)))
    done = fetch()
    assert done.code == 0, done.stderr
    assert (server.kick_offs, server.count("GET /fhir/files/1"), server.count(DELETE)) == (1, 1, 1)
    assert objects(box).keys() == {STATE, *WHOLE}
    assert event_ids(box).count("kickoff") == 1
    assert event_ids(box)[-1] == "export_complete"


@pytest.mark.slow
def test_a_large_file_that_breaks_off_between_its_parts_is_not_there(
    server: ScriptedFhir, fetch: Callable[..., Ended], box: Any
) -> None:
    large = patients(4, 800_000)
    server.export([patients(1, 3), large], LEVEL)
    server.on("GET /fhir/files/2", cut(Answer(body=large), 20 << 20), Answer(500))
    assert fetch("-j", "1").code == 6
    assert "2.Patient.ndjson" not in objects(box)
    server.on("GET /fhir/files/2", Answer(body=large))
    assert fetch().code == 0
    assert objects(box)["2.Patient.ndjson"] == large


@pytest.mark.gate
def test_a_fetch_into_a_store_that_is_killed_is_gone_on_with(
    server: ScriptedFhir, store: str, fetch: Callable[..., Ended], box: Any, tmp_path: Path
) -> None:
    server.export(level=LEVEL)
    reached, end = threading.Event(), threading.Event()

    def held(_asked: Asked) -> Answer:
        reached.set()
        assert end.wait(WAIT_SECONDS)
        return Answer(500)

    server.on("GET /fhir/files/2", held, Answer(body=patients(4, 5)))
    with started(tmp_path, *INTO, "-s", f"fhir+{server.url}", "-j", "1", "--endpoint", store, **KEYS) as process:
        wait_while_running(process, reached.is_set)
        process.kill()
    end.set()
    assert objects(box).keys() == {STATE, *WHOLE} - {"2.Patient.ndjson", "manifest.json"}
    done = fetch()
    assert done.code == 0, done.stderr
    assert (server.kick_offs, server.count(DELETE)) == (1, 1)
    assert objects(box).keys() == {STATE, *WHOLE}


@pytest.mark.gate
def test_a_whole_export_in_a_store_is_not_asked_for_again(
    server: ScriptedFhir, fetch: Callable[..., Ended], box: Any
) -> None:
    server.export(level=LEVEL)
    assert fetch().code == 0
    server.asked.clear()
    before = objects(box)
    again = fetch()
    assert (again.code, server.asked, objects(box)) == (0, [], before)
    assert f"{EXPORT} was complete in s3://box/kept/{EXPORT}; --restart has it exported again" in again.stderr
    other = fetch("--type", "Patient")
    assert (other.code, server.asked) == (2, [])
    assert f"s3://box/kept/{EXPORT}/{STATE} belongs to" in other.stderr


@pytest.mark.gate
def test_restart_replaces_the_objects_of_the_export_before_and_removes_those_that_are_left(
    server: ScriptedFhir, command: Callable[..., Ended], fetch: Callable[..., Ended], box: Any
) -> None:
    with_others(server)
    assert fetch().code == 0
    server.export([patients(1, 4)], LEVEL)
    done = fetch("--restart")
    assert (done.code, server.kick_offs) == (0, 2), done.stderr
    assert objects(box).keys() == {STATE, *WHOLE} - {"2.Patient.ndjson"}
    counted = command("count", EXPORT, "-s", "s3://box/kept")
    assert orjson.loads(counted.stdout)["totals"] == {"Patient": 4}


@pytest.mark.gate
def test_a_damaged_object_is_exit_3_once_the_export_has_ended(
    server: ScriptedFhir, fetch: Callable[..., Ended], box: Any
) -> None:
    server.export(level=LEVEL)
    assert fetch().code == 0
    box.put_object(Key=f"kept/{EXPORT}/1.Patient.ndjson", Body=patients(7, 9))
    done = fetch()
    assert (done.code, server.kick_offs) == (3, 1)
    assert "--restart begins another one" in done.stderr


@pytest.mark.gate
def test_the_state_is_kept_in_the_file_that_is_named(
    server: ScriptedFhir, fetch: Callable[..., Ended], box: Any, tmp_path: Path
) -> None:
    server.export(level=LEVEL)
    server.on("GET /fhir/files/2", Answer(500))
    assert fetch("--state", "job.json").code == 5
    assert orjson.loads((tmp_path / "job.json").read_bytes())["status_url"] == server.status_url
    server.on("GET /fhir/files/2", Answer(body=patients(4, 5)))
    assert fetch("--state", "job.json").code == 0
    assert server.kick_offs == 1
    assert objects(box).keys() == WHOLE


@pytest.mark.gate
def test_a_kick_off_that_is_refused_leaves_no_object(
    server: ScriptedFhir, fetch: Callable[..., Ended], box: Any
) -> None:
    server.on(f"GET /fhir{LEVEL}/$export", outcome(404, {"severity": "error", "code": "not-found"}))
    assert (fetch().code, objects(box)) == (3, {})


@pytest.mark.gate
def test_a_kick_off_whose_answer_is_lost_is_not_sent_again(
    server: ScriptedFhir, fetch: Callable[..., Ended], box: Any
) -> None:
    server.on(f"GET /fhir{LEVEL}/$export", Answer(0))
    assert [fetch().code, fetch().code, server.kick_offs] == [5, 5, 1]
    assert objects(box).keys() == {STATE}


class FailingStore:
    """An object whose second write fails: that of where the export is."""

    def __init__(self) -> None:
        self.writes = 0

    def write(self, _data: bytes) -> None:
        self.writes += 1
        if self.writes > 1:
            raise UnreachableError("s3://box/state: the store cannot be reached")

    def version(self) -> Any:
        raise FileNotFoundError

    def open_file(self, _etag: str | None) -> Any:
        raise FileNotFoundError

    def remove(self) -> None:
        self.writes = 0

    check_writable = new_file = version


def test_an_export_whose_state_the_store_does_not_take_is_deleted(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    server.export(level=LEVEL)
    state: Any = FailingStore()
    with pytest.raises(UnreachableError, match="the store cannot be reached"):
        open_fhir(server, state=state).downloads(EXPORT)
    assert (server.kick_offs, server.count(DELETE), state.writes) == (1, 1, 0)


@pytest.mark.usefixtures("box")
def test_nothing_is_begun_for_a_bucket_that_is_not_there(server: ScriptedFhir, command: Callable[..., Ended]) -> None:
    server.export(level=LEVEL)
    done = command("downloads", "fetch", EXPORT, "--dir", "s3://nowhere/kept", "-s", f"fhir+{server.url}")
    assert (done.code, server.asked) == (3, [])
    assert done.stderr.startswith("mockexport: error: the store has no s3://nowhere/kept")
    assert done.stderr.count("\n") == 1


def test_a_url_that_is_not_valid_is_named_as_it_was_given(server: ScriptedFhir, command: Callable[..., Ended]) -> None:
    done = command("downloads", "fetch", EXPORT, "--dir", "s3:///kept", "-s", f"fhir+{server.url}")
    assert (done.code, server.asked) == (2, [])
    assert done.stderr.startswith("mockexport: error: s3:///kept is not the URL of something in a store")
    assert done.stderr.count("\n") == 1
