"""Every command on folders of FHIR bulk exports: with links, with a manifest, over HTTP, in processes, on a cluster."""

from __future__ import annotations

import gzip
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest
from tests.commands import run_command, serve_command
from tests.fhir.folders import COUNTS, EXPORTED, SERVER, bulk_data_client, lines, observations, smart_fetch
from tests.files import source_of, zstd_frame
from tests.pairing import pairs

from mockexport import Split, count, thread_workers
from mockexport.sources import HttpSource

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Ended


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of two exports that hold the same: one of bulk-data-client, one of smart-fetch."""
    bulk_data_client(tmp_path / "bulk")
    smart_fetch(tmp_path / "smart")
    return tmp_path


def output(ended: Ended) -> object:
    assert (ended.code, ended.stderr) == (0, "")
    return orjson.loads(ended.stdout)


def test_exports_are_listed_with_what_their_manifests_declare(root: Path) -> None:
    found = output(run_command(root, "exports", "list", "-s", root))
    assert isinstance(found, list)
    assert [(e["id"], e["downloads"], e["rows"], e["event_types"]) for e in found] == [
        ("bulk", 3, 5, ["Patient", "Observation"]),
        ("smart", 3, None, None),
    ]


def test_downloads_are_listed_without_a_name_where_the_folder_is_the_export(root: Path) -> None:
    found = output(run_command(root, "downloads", "list", "-s", root / "smart"))
    assert isinstance(found, list)
    assert [d["id"] for d in found] == ["Observation.001", "Observation.002", "Patient.001"]


def test_a_run_of_smart_fetch_named_as_an_export_is_exit_3_and_says_what_to_do(root: Path) -> None:
    ended = run_command(root, "downloads", "list", "003.again", "-s", "smart")
    assert (ended.code, ended.stdout) == (3, "")
    assert "to count it alone, take smart/003.again as the source" in ended.stderr


def test_files_of_errors_are_a_warning_of_one_line(root: Path) -> None:
    manifest = root / "bulk" / "manifest.json"
    document = orjson.loads(manifest.read_bytes())
    document["error"] = [{"type": "OperationOutcome", "url": f"{SERVER}/bulk/7/e.ndjson"}]
    manifest.write_bytes(orjson.dumps(document))
    ended = run_command(root, "downloads", "list", "bulk", "-s", root)
    assert ended.code == 0
    (line,) = ended.stderr.splitlines()
    assert "lists 1 file of errors: the server left something out" in line


@pytest.mark.gate
@pytest.mark.parametrize("name", ["bulk", "smart"])
def test_they_are_served_as_ndjson(root: Path, name: str) -> None:
    bodies = sorted(body for _, body in EXPORTED)
    with serve_command("--source", root) as server, closing(HttpSource(server.url)) as source:
        found = list(source.downloads(name))
        assert {d.format for d in found} == {"ndjson"}
        assert {d.base for d in found} == {SERVER if name == "bulk" else None}
        assert sorted(b"".join(source.open(download)) for download in found) == bodies
        for download in found:
            answer = httpx.get(f"{server.url}/api/export/{name}/{download.id}/data", timeout=30)
            assert answer.headers["content-type"] == "application/fhir+ndjson"
            assert answer.content in bodies


# ---- Counting ----

ANSWER = {"patients": COUNTS, "totals": {"Observation": 3, "Patient": 2}}
WAYS: dict[str, list[str]] = {
    "threads": ["--jobs", "2"],
    "one at a time": ["--jobs", "1"],
    "a checkpoint": ["--checkpoint", "kept"],
    "strict": ["--strict"],
}


@pytest.mark.parametrize(
    ("name", "way"), pairs({"bulk": "bulk", "smart": "smart"}, {way: way for way in WAYS}), ids=str
)
def test_a_count_has_patients_and_types(root: Path, name: str, way: str) -> None:
    assert output(run_command(root, "count", name, "-s", root, *WAYS[way])) == ANSWER


@pytest.mark.parametrize("name", ["bulk", "smart"])
def test_processes_count_the_same(root: Path, name: str) -> None:
    ended = run_command(root, "count", name, "-s", ".", "--jobs", "2", MOCKEXPORT_KERNEL="pure")
    assert output(ended) == ANSWER


def test_a_run_of_smart_fetch_is_counted_alone(root: Path) -> None:
    ended = run_command(root, "count", "-s", root / "smart" / "002.2025-06-27")
    assert output(ended) == {
        "patients": {"1": {"Observation": 2}, "2": {"Observation": 1}},
        "totals": {"Observation": 3},
    }


@pytest.mark.gate
def test_a_count_of_a_server_is_that_of_its_folder(root: Path) -> None:
    with serve_command("--source", root) as server:
        for name in ("bulk", "smart"):
            assert output(run_command(root, "count", name, "-s", server.url)) == ANSWER


@pytest.mark.gate
def test_a_reference_below_the_manifest_s_server_is_the_patient_s_bare_id(root: Path) -> None:
    (root / "bulk" / "2.Observation.ndjson").write_bytes(
        lines(
            {"resourceType": "Observation", "id": "o", "subject": {"reference": f"{base}/Patient/2"}}
            for base in (SERVER, "https://other.example")
        )
    )
    (root / "bulk" / "manifest.json").write_bytes(
        (root / "bulk" / "manifest.json").read_bytes().replace(b'"count": 1', b'"count": 2')
    )
    expected = {**COUNTS, "https://other.example/Patient/2": {"Observation": 1}}
    with serve_command("--source", root) as server:
        for name in (root, server.url):
            answer = output(run_command(root, "count", "bulk", "-s", name))
            assert isinstance(answer, dict)
            assert answer["patients"] == expected
    fetched = run_command(root, "downloads", "fetch", "bulk", "-s", root, "--dir", "copy")
    assert fetched.code == 0, fetched.stderr
    again = output(run_command(root, "count", "bulk", "-s", "copy"))
    assert isinstance(again, dict)
    assert again["patients"] == expected


def test_a_file_that_holds_fewer_than_the_manifest_declares_is_exit_6(root: Path) -> None:
    file = root / "bulk" / "1.Observation.ndjson"
    file.write_bytes(observations("1"))
    ended = run_command(root, "count", "bulk", "-s", root)
    assert (ended.code, ended.stdout) == (6, "")
    assert "download '1.Observation' of export 'bulk' declares 2 rows but holds 1" in ended.stderr


@pytest.mark.gate
@pytest.mark.parametrize("name", ["bulk", "smart"])
def test_verify_finds_what_has_changed(root: Path, name: str) -> None:
    assert run_command(root, "count", name, "-s", root, "-o", f"{name}.json").code == 0
    assert run_command(root, "verify", f"{name}.json", "-s", root).code == 0
    (root / f"{name}.json").write_bytes(orjson.dumps({**ANSWER, "totals": {"Observation": 4, "Patient": 2}}))
    assert run_command(root, "verify", f"{name}.json", "-s", root).code == 1


@pytest.mark.gate
@pytest.mark.parametrize("over_http", [False, True])
@pytest.mark.parametrize("name", ["bulk", "smart"])
def test_what_is_fetched_is_a_folder_of_ndjson_files_that_counts_the_same(
    root: Path, name: str, over_http: bool
) -> None:
    with serve_command("--source", root) as server:
        source = server.url if over_http else str(root)
        for _ in range(2):  # the second time everything is there
            ended = run_command(root, "downloads", "fetch", name, "-s", source, "--dir", "copy")
            assert ended.code == 0, ended.stderr
    files = sorted(path.name for path in (root / "copy" / name).iterdir() if path.suffix == ".ndjson")
    assert len(files) == 3
    if not over_http:
        assert files == sorted(f"{download['id']}.ndjson" for download in listing(root, name))
    held = [(root / "copy" / name / file).read_bytes() for file in files]
    assert sorted(held) == sorted(body for _, body in EXPORTED)
    assert output(run_command(root, "count", name, "-s", "copy")) == ANSWER
    kept = [(d["rows"], d["event_types"]) for d in listing(root / "copy", name)]
    if name == "bulk":
        assert sorted(kept) == [(1, ["Observation"]), (2, ["Observation"]), (2, ["Patient"])]


def listing(root: Path, name: str) -> list[dict[str, Any]]:
    found = output(run_command(root, "downloads", "list", name, "-s", root))
    assert isinstance(found, list)
    return found


def test_a_checkpoint_keeps_no_counts_of_a_link_that_leads_to_another_file_now(root: Path) -> None:
    run = root / "smart" / "003.again" / "Patient.001.ndjson.gz"
    sound = run.read_bytes()
    run.write_bytes(gzip.compress(b"nonsense\n"))
    arguments = ("count", "-s", root / "smart", "--checkpoint", "kept", "--jobs", "1")
    ended = run_command(root, *arguments)
    assert (ended.code, ended.stdout) == (6, "")
    assert "2 downloads are saved in kept" in ended.stderr
    run.write_bytes(sound)
    link = root / "smart" / "Observation.002.ndjson.gz"
    link.unlink()
    link.symlink_to("002.2025-06-27/Observation.001.ndjson.gz")
    answer = output(run_command(root, *arguments))
    assert isinstance(answer, dict)
    assert answer["patients"] == {"1": {"Observation": 4, "Patient": 1}, "2": {"Patient": 1}}


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("suffix", ["", ".zst"])
def test_a_large_file_is_counted_in_splits(
    export: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, jobs: int
) -> None:
    body = observations(*(str(number % 9) for number in range(3000)))
    cut = [body[start : start + 9_999] for start in range(0, len(body), 9_999)]
    (export / f"a.ndjson{suffix}").write_bytes(b"".join(map(zstd_frame, cut)) if suffix else body)
    monkeypatch.setattr("mockexport.sources.data_files.SPLIT_BYTES", 10_000)
    parts: set[object] = set()
    counts = count(
        source_of(export), "trial", start_workers=partial(thread_workers, jobs=jobs),
        on_progress=lambda downloads, _: parts.update(downloads),
    )  # fmt: skip
    assert counts.totals == {"Observation": 3000}
    assert len(counts.patients) == 9
    assert sum(isinstance(part, Split) for part in parts) > 9
