"""Every command on folders of FHIR bulk exports: with links, with a manifest, over HTTP, in processes, on a cluster."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import orjson
import pytest
from tests.commands import run_command, serve_command
from tests.fhir.folders import EXPORTED, SERVER, bulk_data_client, smart_fetch

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
