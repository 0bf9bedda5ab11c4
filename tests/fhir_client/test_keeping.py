"""What `downloads fetch` leaves of a FHIR server's export: what other clients leave, and what our own count proves."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.commands import run_command
from tests.fhir_client.scripted_fhir import Answer, document, manifest, outcome, patients

from mockexport import UnreachableError, UntrustedDataError, UsageError, count, fetch, thread_workers
from mockexport.manifest import load_manifest
from mockexport.pipeline import fetch_folder, fetching, kept_in
from mockexport.pipeline.partial_file import PartialFile
from mockexport.place import write_whole
from mockexport.sources import FolderSource
from mockexport.tally import ResourceSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.commands import Ended
    from tests.fhir_client.conftest import OpenFhir
    from tests.fhir_client.scripted_fhir import ScriptedFhir

LEVEL = "/Group/7"
EXPORT = "group/7"
STATUS, DELETE = "GET /fhir/jobs/1", "DELETE /fhir/jobs/1"
WARNING = b'{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"value"}]}\n'
BUNDLE = b'{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"DELETE","url":"Patient/9"}}]}\n'
ALL = {f"p{n}": {"Patient": 1} for n in range(1, 6)}
FETCH = ("downloads", "fetch", EXPORT, "--dir", "kept")


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def events(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (folder / "log.ndjson").read_bytes().splitlines()]


def with_others(server: ScriptedFhir) -> None:
    """Serve an export with a file of warnings and one of deleted resources."""
    server.export(
        level=LEVEL,
        error=[{"type": "OperationOutcome", "url": f"{server.url}/files/e"}],
        deleted=[{"type": "Bundle", "url": f"{server.url}/files/d"}],
    )
    server.on("GET /fhir/files/e", Answer(body=WARNING))
    server.on("GET /fhir/files/d", Answer(body=BUNDLE))


# ---- What others read ----


def test_the_servers_manifest_is_kept_byte_for_byte(server: ScriptedFhir, open_fhir: OpenFhir, tmp_path: Path) -> None:
    server.export(level=LEVEL, extension={"odd": 1.50})
    body = b"\n" + server.manifest_answer.body.replace(b'"output":', b'"output" :  ').replace(b"1.5", b"1.50") + b" \n"
    server.on(STATUS, Answer(200, body, {"Content-Type": "application/json"}))
    fetch(open_fhir(server), EXPORT, tmp_path)
    assert (tmp_path / EXPORT / "manifest.json").read_bytes() == body


def test_a_manifest_in_parts_is_kept_as_one(server: ScriptedFhir, open_fhir: OpenFhir, tmp_path: Path) -> None:
    server.export(level=LEVEL)
    first, second = ({"type": "Patient", "url": f"{server.url}/files/{n}"} for n in (1, 2))
    link = {"link": [{"relation": "next", "url": f"{server.url}/jobs/1/2"}]}
    server.on(STATUS, document(manifest(first, **link)))
    server.on("GET /fhir/jobs/1/2", document(manifest(second)))
    fetch(open_fhir(server), EXPORT, tmp_path)
    kept = orjson.loads((tmp_path / EXPORT / "manifest.json").read_bytes())
    assert kept == manifest(first, second)


def test_a_plain_reader_of_the_manifest_finds_each_file_by_its_number(
    server: ScriptedFhir, run: Callable[..., Ended], kept: Path
) -> None:
    server.export(level=LEVEL)
    assert run(*FETCH).code == 0
    numbers: dict[str, int] = {}
    ids = set()
    for entry in orjson.loads((kept / "manifest.json").read_bytes())["output"]:
        numbers[entry["type"]] = numbers.get(entry["type"], 0) + 1
        lines = (kept / f"{numbers[entry['type']]}.{entry['type']}.ndjson").read_bytes().splitlines()
        assert len(lines) == entry["count"]
        ids |= {orjson.loads(line)["id"] for line in lines}
    assert ids == ALL.keys()
    assert [name for name in names_in(kept) if not name.startswith(".")] == [
        "1.Patient.ndjson",
        "2.Patient.ndjson",
        "log.ndjson",
        "manifest.json",
    ]


def test_files_of_errors_and_of_deleted_resources_are_kept_apart_and_not_counted(
    server: ScriptedFhir, run: Callable[..., Ended], kept: Path
) -> None:
    with_others(server)
    assert run(*FETCH).code == 0
    assert (kept / "error" / "1.OperationOutcome.ndjson").read_bytes() == WARNING
    assert (kept / "deleted" / "1.Bundle.ndjson").read_bytes() == BUNDLE
    assert count(FolderSource(kept.parent.parent), EXPORT).patients == ALL


def test_the_log_has_the_events_and_fields_of_other_clients(
    server: ScriptedFhir, run: Callable[..., Ended], kept: Path
) -> None:
    with_others(server)
    assert run(*FETCH, "--type", "Patient", "-j", "1").code == 0
    log = events(kept)
    assert [set(event) for event in log] == [{"exportId", "timestamp", "eventId", "eventDetail"}] * len(log)
    assert {event["exportId"] for event in log} == {server.status_url}
    assert [event["eventId"] for event in log] == [
        "kickoff",
        "status_complete",
        "status_page_complete",
        "manifest_complete",
        *["download_request", "download_complete"] * 4,
        "export_complete",
    ]
    details = [event["eventDetail"] for event in log]
    assert details[0]["exportUrl"] == f"{server.url}{LEVEL}/$export?_type=Patient"
    assert details[0]["requestParameters"] == {"_type": "Patient"}
    assert details[2]["outputFileCount"] == 2
    assert details[3] == {
        "transactionTime": "2026-01-01T00:00:00Z",
        "totalOutputFileCount": 2,
        "totalDeletedFileCount": 1,
        "totalErrorFileCount": 1,
        "totalManifests": 1,
    }
    first = patients(1, 3)
    url = f"{server.url}/files/1"
    assert details[4] == {"fileUrl": url, "itemType": "output", "resourceType": "Patient"}
    assert details[5] == {"fileUrl": url, "resourceCount": 3, "fileSize": len(first)}
    assert {detail["itemType"] for detail in details if "itemType" in detail} == {"output", "error", "deleted"}
    size = len(first + patients(4, 5) + WARNING + BUNDLE)
    assert {**details[-1], "duration": 0} == {
        "files": 4,
        "resources": 7,
        "bytes": size,
        "attachments": None,
        "duration": 0,
    }


@pytest.mark.gate
def test_a_half_line_that_a_killed_run_left_in_the_log_is_cut_off(
    server: ScriptedFhir, run: Callable[..., Ended], kept: Path
) -> None:
    server.export(level=LEVEL)
    server.on("GET /fhir/files/2", Answer(500), Answer(body=patients(4, 5)))
    assert run(*FETCH).code == 5
    before = events(kept)
    assert [event["eventId"] for event in before].count("download_error") == 1
    with (kept / "log.ndjson").open("ab") as file:
        file.write(b'{"exportId":"x","timest')
    assert run(*FETCH).code == 0
    log = events(kept)
    assert log[: len(before)] == before
    assert [event["eventId"] for event in log].count("kickoff") == 1
    assert log[-1]["eventId"] == "export_complete"


@pytest.mark.gate
@pytest.mark.parametrize("whole", range(5))
def test_a_log_that_a_run_was_killed_in_is_made_whole(
    server: ScriptedFhir, run: Callable[..., Ended], kept: Path, whole: int
) -> None:
    server.export(level=LEVEL)
    server.on("GET /fhir/files/1", Answer(500), Answer(body=patients(1, 3)))
    assert run(*FETCH, "-j", "1").code == 5
    log = kept / "log.ndjson"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:whole], lines[whole][:20]]))
    assert run(*FETCH, "-j", "1").code == 0
    assert [event["eventId"] for event in events(kept)] == [
        "kickoff",
        "status_complete",
        "status_page_complete",
        "manifest_complete",
        *["download_request", "download_complete"] * 2,
        "export_complete",
    ]


def test_a_part_of_a_file_is_not_said_to_be_kept_as_no_other_run_goes_on_with_it(
    server: ScriptedFhir, run: Callable[..., Ended], kept: Path
) -> None:
    server.export(level=LEVEL)
    server.on("GET /fhir/files/2", Answer(500))
    assert run(*FETCH, "-j", "1").code == 5
    manifest = load_manifest(kept / ".mockexport.json", EXPORT)
    assert manifest
    second = manifest.entries[1]
    with suppress(UnreachableError), PartialFile(kept / second.file, second.download, manifest.source or "") as part:
        part.begin(ResourceSpec("pure").new(), resume=False)
        part.write(patients(4, 4))
        raise UnreachableError
    assert (kept / ".2.Patient.ndjson.part.json").exists()
    assert kept_in(kept, EXPORT) == (1, 2, 0)


# ---- What our own count reads ----


@pytest.mark.gate
def test_a_count_of_the_folder_is_that_over_the_wire(
    server: ScriptedFhir, run: Callable[..., Ended], tmp_path: Path
) -> None:
    server.export(level=LEVEL)
    wire = run("count", EXPORT)
    assert run(*FETCH).code == 0
    ways = [(EXPORT, "kept"), ("7", "kept/group"), ("7", "kept/group/7")]
    counted = [run_command(tmp_path, "count", name, "-s", folder) for name, folder in ways]
    assert [(done.code, done.stdout) for done in counted] == [(0, wire.stdout)] * 3
    listed = orjson.loads(run_command(tmp_path, "exports", "list", "-s", "kept").stdout)
    assert [(export["id"], export["downloads"], export["rows"]) for export in listed] == [(EXPORT, 2, 5)]


@pytest.fixture
def fetched(server: ScriptedFhir, run: Callable[..., Ended], kept: Path) -> Path:
    """A folder that was fetched whole."""
    server.export(level=LEVEL)
    assert run(*FETCH).code == 0
    server.asked.clear()
    return kept


def test_a_file_whose_sha256_is_another_one_is_an_error(fetched: Path) -> None:
    file = fetched / "1.Patient.ndjson"
    file.write_bytes(file.read_bytes().replace(b"p1", b"p9"))  # as many rows, of the same size
    with pytest.raises(UntrustedDataError, match="SHA-256"):
        count(FolderSource(fetched.parent.parent), EXPORT)


@pytest.mark.parametrize("name", ["manifest.json", ".mockexport.json"])
def test_one_manifest_alone_is_enough(fetched: Path, name: str) -> None:
    (fetched / name).unlink()
    assert count(FolderSource(fetched.parent.parent), EXPORT).patients == ALL


def test_manifests_that_declare_different_files_are_an_error(fetched: Path) -> None:
    path = fetched / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"count":3', b'"count":4'))
    with pytest.raises(UntrustedDataError, match=r"manifest.json and .mockexport.json beside it declare different"):
        count(FolderSource(fetched.parent.parent), EXPORT)


def test_an_additional_file_is_an_error(fetched: Path) -> None:
    (fetched / "3.Patient.ndjson").write_bytes(patients(8, 9))
    with pytest.raises(UntrustedDataError, match=r"3\.Patient\.ndjson is not listed"):
        count(FolderSource(fetched.parent.parent), EXPORT)


# ---- Again ----


def test_a_whole_export_is_not_asked_for_again(fetched: Path, server: ScriptedFhir, run: Callable[..., Ended]) -> None:
    before = {path: path.stat().st_mtime_ns for path in fetched.iterdir()}
    done = run(*FETCH)
    assert (done.code, server.asked) == (0, [])
    assert f"{EXPORT} was complete in kept/{EXPORT}; --restart has it exported again" in done.stderr
    assert [file["rows"] for file in orjson.loads(done.stdout)["downloads"]] == [3, 2]
    assert {path: path.stat().st_mtime_ns for path in fetched.iterdir()} == before


@pytest.mark.usefixtures("fetched")
def test_one_of_other_parameters_is_an_error(server: ScriptedFhir, run: Callable[..., Ended]) -> None:
    done = run(*FETCH, "--type", "Patient")
    assert (done.code, server.asked) == (2, [])
    assert ".export-state.json belongs to" in done.stderr


def test_a_damaged_file_of_an_export_that_has_ended_is_exit_3_and_says_what_to_do(
    fetched: Path, server: ScriptedFhir, run: Callable[..., Ended]
) -> None:
    (fetched / "1.Patient.ndjson").unlink()
    done = run(*FETCH)
    assert (done.code, server.kick_offs) == (3, 0)
    assert "--restart begins another one" in done.stderr


@pytest.mark.gate
def test_restart_makes_another_export_whose_files_take_the_place_of_all(
    server: ScriptedFhir, run: Callable[..., Ended], kept: Path
) -> None:
    with_others(server)
    assert run(*FETCH).code == 0
    server.export([patients(1, 4)], LEVEL)
    done = run(*FETCH, "--restart")
    assert (done.code, server.kick_offs) == (0, 2), done.stderr
    assert [name for name in names_in(kept) if not name.startswith(".")] == [
        "1.Patient.ndjson",
        "log.ndjson",
        "manifest.json",
    ]
    assert len(count(FolderSource(kept.parent.parent), EXPORT).patients) == 4


@pytest.mark.gate
def test_another_export_at_the_same_url_takes_nothing_from_the_one_before(
    fetched: Path, server: ScriptedFhir, run: Callable[..., Ended]
) -> None:
    server.export([patients(11, 13), patients(14, 15)], LEVEL)
    assert run(*FETCH, "--restart").code == 0
    assert count(FolderSource(fetched.parent.parent), EXPORT).patients.keys() == {f"p{n}" for n in range(11, 16)}


@pytest.mark.gate
def test_a_restart_that_is_interrupted_is_gone_on_with_by_the_command_without_it(
    server: ScriptedFhir, run: Callable[..., Ended], tmp_path: Path
) -> None:
    server.export(level=LEVEL)
    assert run(*FETCH).code == 0
    server.export([patients(1, 4)], LEVEL)
    server.on(f"GET /fhir{LEVEL}/$export", Answer(202, headers={"Content-Location": f"{server.status_url}/b"}))
    server.on(f"{STATUS}/b", Answer(400), server.manifest_answer)
    server.on(f"{DELETE}/b", Answer(202))
    broken = run(*FETCH, "--restart")
    assert broken.code == 6
    assert "run the same command without --restart again to go on with it" in broken.stderr
    assert len(count(FolderSource(tmp_path / "kept"), EXPORT).patients) == 5  # the export before is still whole
    done = run(*FETCH)
    assert (done.code, done.stderr) == (0, "")
    assert (server.kick_offs, server.count(f"{DELETE}/b")) == (2, 1)
    assert len(count(FolderSource(tmp_path / "kept"), EXPORT).patients) == 4


def test_a_folder_of_another_kind_of_export_is_refused(
    server: ScriptedFhir, open_fhir: OpenFhir, tmp_path: Path
) -> None:
    server.export(level=LEVEL)
    folder = tmp_path / EXPORT
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest()))
    before = names_in(tmp_path)
    with pytest.raises(UsageError, match="holds another export of this name"):
        fetch(open_fhir(server), EXPORT, tmp_path)
    assert (names_in(tmp_path), server.asked) == (before, [])


def test_a_kick_off_that_is_refused_leaves_nothing(
    server: ScriptedFhir, run: Callable[..., Ended], tmp_path: Path
) -> None:
    server.on(f"GET /fhir{LEVEL}/$export", outcome(404, {"severity": "error", "code": "not-found"}))
    assert run(*FETCH).code == 3
    assert not any((tmp_path / "kept").iterdir())


@pytest.mark.parametrize("name", ["group/../../x", "group/..", "group//x", "/tmp/x"])
def test_an_id_that_leads_elsewhere_is_refused_before_anything_is_sent(
    server: ScriptedFhir, run: Callable[..., Ended], tmp_path: Path, name: str
) -> None:
    done = run("downloads", "fetch", name, "--dir", "kept")
    assert (done.code, server.asked, list(tmp_path.iterdir())) == (6, [], [])


# ---- Large ----


@pytest.mark.gate
def test_an_export_of_very_many_files_does_not_write_its_manifest_for_each(
    server: ScriptedFhir, open_fhir: OpenFhir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MANIFESTS", 3)
    written: list[Path] = []

    def counting(path: Path, *arguments: Any, **options: Any) -> None:
        written.append(path)
        write_whole(path, *arguments, **options)

    monkeypatch.setattr(fetch_folder, "write_whole", counting)
    server.export([patients(n, n) for n in range(30)], LEVEL)
    server.on("GET /fhir/files/30", Answer(404))
    with pytest.raises(UntrustedDataError, match="404"):
        fetch(open_fhir(server), EXPORT, tmp_path, start_workers=partial(thread_workers, jobs=1))
    folder = tmp_path / EXPORT
    assert sum(path.name == ".mockexport.json" for path in written) <= 6
    whole = [file for file in orjson.loads((folder / ".mockexport.json").read_bytes())["downloads"] if file["sha256"]]
    assert len(whole) == len(list(folder.glob("*.Patient.ndjson"))) == 29  # all that is finished is known
