"""The routes: the first table of docs/wire.md to the letter, and any source behind them."""

from __future__ import annotations

import threading
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.bodies import PLAIN
from tests.server.serving import serving
from tests.server.sources import DeclaringSource, WatchedSource, path_of
from tests.sources import EXPORT, HEADER, ROW, WAIT_SECONDS, MemorySource, csv_body

from mockexport import Download
from mockexport.errors import (
    MockExportError,
    NotAuthorisedError,
    NotFoundError,
    Remedy,
    UnreachableError,
    UntrustedDataError,
)
from mockexport.server import create_app
from mockexport.server.ids import entity_tag, wire_id
from mockexport.sources import HttpSource
from mockexport.sources.folder import FolderSource

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.server.conftest import Serve

DEMO = "f725622a-22ea-4acc-aab8-810ec8b5e2c6"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
PATHS = ["/health", "/api/export", "/api/export/demo", f"/api/export/demo/{DEMO}", f"/api/export/demo/{DEMO}/data"]


def test_the_exports_are_listed(mock: httpx.Client) -> None:
    answer = mock.get("/api/export")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == '{"data":{"export_ids":["demo","small","large"]}}'


def test_the_downloads_of_an_export_are_listed_in_order(mock: httpx.Client, golden: Any) -> None:
    ids = [golden["demo"]["downloads"][number]["id"] for number in ("0", "1")]
    assert mock.get("/api/export/demo").json() == {"data": {"id": "demo", "download_ids": ids}}


def test_a_download_is_described_with_naive_times(mock: httpx.Client) -> None:
    assert mock.get(f"/api/export/demo/{DEMO}").text == (
        f'{{"data":{{"id":"{DEMO}","rows":9014,"event_types":["bp_sys","bp_dia"],'
        '"patients":["P001","P004","P003"],"start_time":"2025-08-26T00:00:00","end_time":"2025-08-26T17:31:38"}}'
    )


@pytest.mark.parametrize("path", ["/api/export/nix", f"/api/export/nix/{DEMO}", f"/api/export/nix/{DEMO}/data"])
def test_an_unknown_export_is_404(mock: httpx.Client, path: str) -> None:
    answer = mock.get(path)
    assert (answer.status_code, answer.text) == (404, '{"detail":"Export not found"}')


def test_an_id_with_a_slash_is_one_id_where_that_is_escaped(tmp_path: Path) -> None:
    for name in ("group/1", "group/2"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.csv").write_bytes(PLAIN)
    with serving(FolderSource(tmp_path)) as url, closing(HttpSource(url)) as source:
        assert source.exports() == ["group/1", "group/2"]
        (download,) = source.downloads("group/2")
        assert b"".join(source.open(download)) == PLAIN
        assert httpx.get(f"{url}/api/export/group%2f1").json()["data"]["id"] == "group/1"
        assert httpx.get(f"{url}/api/export/group/1").status_code == 422
        assert httpx.get(f"{url}/api/export/group%2F..%2Fgroup%2F1").status_code == 404


@pytest.mark.parametrize("path", [f"/api/export/demo/{UNKNOWN}", f"/api/export/demo/{UNKNOWN}/data"])
def test_an_unknown_download_is_404(mock: httpx.Client, path: str) -> None:
    answer = mock.get(path)
    assert (answer.status_code, answer.text) == (404, '{"detail":"Download not found"}')


@pytest.mark.parametrize("path", ["/api/export/demo/day-1", "/api/export/nix/day-1", "/api/export/demo/day-1/data"])
def test_a_download_id_that_is_no_uuid_is_422_whatever_the_export(mock: httpx.Client, path: str) -> None:
    answer = mock.get(path)
    (problem,) = answer.json()["detail"]
    assert answer.status_code == 422
    assert (problem["type"], problem["loc"]) == ("uuid_parsing", ["path", "download_id"])
    assert problem["msg"] == "The id of a download is a UUID"


def test_a_download_id_may_be_written_in_capitals(mock: httpx.Client) -> None:
    assert mock.get(f"/api/export/demo/{DEMO.upper()}").json()["data"]["id"] == DEMO


def test_health_is_told(mock: httpx.Client) -> None:
    answer = mock.get("/health")
    assert (answer.status_code, answer.text) == (200, '{"status":"healthy"}')
    assert (mock.get("/health/live").status_code, mock.get("/health/live").json()) == (200, {"status": "alive"})


@pytest.mark.parametrize("path", [*PATHS, "/docs", "/openapi.json"])
def test_head_answers_as_get_does_without_a_body(mock: httpx.Client, path: str) -> None:
    head, get = mock.head(path), mock.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers.get("etag") == get.headers.get("etag")


@pytest.mark.parametrize("path", ["/api/export/nix", f"/api/export/demo/{UNKNOWN}/data"])
def test_head_of_what_is_not_there_is_404_without_a_body(mock: httpx.Client, path: str) -> None:
    head = mock.head(path)
    assert (head.status_code, head.content) == (404, b"")


@pytest.mark.parametrize("path", PATHS)
def test_other_methods_are_405_and_told_which_are_allowed(mock: httpx.Client, path: str) -> None:
    answer = mock.post(path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_the_api_is_described(mock: httpx.Client) -> None:
    described = mock.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/health",
        "/health/live",
        "/api/export",
        "/api/export/{export_id}",
        "/api/export/{export_id}/{download_id}",
        "/api/export/{export_id}/{download_id}/data",
    }
    for path, operations in described["paths"].items():
        assert set(operations) == {"get", "head"}, path
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]
        assert not any("content" in answer for answer in operations["head"]["responses"].values())
        assert operations["head"]["responses"].keys() == operations["get"]["responses"].keys()
        assert ("502" in operations["get"]["responses"]) == (not path.startswith("/health"))
    names = [operation["operationId"] for path in described["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(names)
    data = described["paths"]["/api/export/{export_id}/{download_id}/data"]["get"]
    assert set(data["responses"]) == {"200", "206", "304", "404", "412", "416", "422", "502"}
    assert set(data["responses"]["200"]["content"]) == {"text/csv; charset=utf-8", "application/fhir+ndjson"}
    assert mock.get("/docs").status_code == 200
    assert mock.get("/openapi.json").json() == described, "the second time, too"


@pytest.mark.gate
@pytest.mark.parametrize("token", [None, "secret"])
def test_the_bearer_token_is_described_where_it_is_required(token: str | None) -> None:
    described = create_app(MemorySource({}), token=token).openapi()
    schemes = described.get("components", {}).get("securitySchemes", {})
    assert [(scheme["type"], scheme["scheme"]) for scheme in schemes.values()] == [("http", "bearer")] * bool(token)
    for path, operations in described["paths"].items():
        for operation in operations.values():
            required = token is not None and not path.startswith("/health")
            assert ("401" in operation["responses"]) == required
            assert operation.get("security", []) == [{name: [] for name in schemes}] * required


def test_a_folder_of_files_is_served_under_uuids_that_stay_the_same(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "ward"
    folder.mkdir()
    for day in (1, 2):
        (folder / f"day-{day}.csv").write_bytes(csv_body(day))
    client = serve(FolderSource(tmp_path))
    assert client.get("/api/export").json() == {"data": {"export_ids": ["ward"]}}
    ids = client.get("/api/export/ward").json()["data"]["download_ids"]
    assert ids == ["961f7057-6770-5507-ac71-c49376eb18c1", "5c9964b0-1b15-5b73-beea-b354e0f4434b"]
    assert [uuid.UUID(text).version for text in ids] == [5, 5]
    for day, name in enumerate(ids, start=1):
        assert client.get(f"/api/export/ward/{name}/data").content == csv_body(day)
    nothing_declared = dict.fromkeys(("rows", "event_types", "patients", "start_time", "end_time"))
    assert client.get(f"/api/export/ward/{ids[0]}").json() == {"data": {"id": ids[0], **nothing_declared}}


def test_uuids_go_on_the_wire_in_lower_case(serve: Serve) -> None:
    client = serve(MemorySource({DEMO.upper(): csv_body(3)}))
    assert client.get(f"/api/export/{EXPORT}").json()["data"]["download_ids"] == [DEMO]
    assert client.get(f"/api/export/{EXPORT}/{DEMO}/data").content == csv_body(3)


def test_ids_on_the_wire_differ_when_export_and_id_do() -> None:
    pairs = [
        ("a", "b"),
        ("ab", ""),
        ("a,b", "c"),
        ("a", "b,c"),
        ('a","b', "c"),
        ("a", 'b","c'),
        ("b", "a"),
        ("a", "\udcff"),
    ]
    assert len({wire_id(Download(export, download)) for export, download in pairs}) == len(pairs)


def test_what_looks_like_a_uuid_to_python_alone_gets_one_of_its_own() -> None:
    for text in (DEMO.replace("-", ""), f"{{{DEMO}}}", f"urn:uuid:{DEMO}"):
        assert wire_id(Download("demo", text)) != DEMO


@pytest.mark.parametrize("etag", ['with "quotes"', "with space", "ümlaut", "\udcff", "line\r\nend", '"quoted"'])
def test_an_etag_is_made_fit_for_the_header(etag: str) -> None:
    tag = entity_tag(Download("demo", DEMO, etag=etag))
    assert tag is not None
    assert tag.isascii()
    assert tag.count('"') == 2
    assert not set(tag) & set(" \r\n")


def test_ids_that_clash_on_the_wire_are_told_and_not_hidden(serve: Serve) -> None:
    answer = serve(MemorySource({DEMO: HEADER, DEMO.upper(): HEADER + ROW})).get(f"/api/export/{EXPORT}")
    assert answer.status_code == 502
    assert "have the same UUID; rename one" in answer.json()["detail"]


def test_an_export_whose_id_cannot_be_in_json_is_told_and_not_hidden(serve: Serve) -> None:
    class OddSource(MemorySource):
        def exports(self) -> Sequence[str]:
            return ["fine", "odd-\udcff"]

    answer = serve(OddSource({})).get("/api/export")
    assert (answer.status_code, answer.json()) == (
        502,
        {"detail": "the id of export 'odd-\\udcff' is not UTF-8; rename it to serve it"},
    )


class OtherwiseSource(MemorySource):
    """Can't be read."""

    def __init__(self, error: MockExportError) -> None:
        super().__init__({})
        self.error = error

    def exports(self) -> Sequence[str]:
        raise self.error

    def downloads(self, export: str) -> Sequence[Download]:  # noqa: ARG002
        raise self.error


@pytest.mark.parametrize(
    "error",
    [UnreachableError("gone"), UntrustedDataError("odd"), NotAuthorisedError("no", remedy=Remedy.TOKEN)],
    ids=lambda error: type(error).__name__,
)
def test_a_source_that_cannot_be_read_is_502_and_says_why_but_not_what_its_operator_may_do(
    serve: Serve, error: MockExportError
) -> None:
    client = serve(OtherwiseSource(error))
    for path in PATHS[1:]:
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (502, {"detail": error.message})


def test_a_source_that_is_not_there_is_404(serve: Serve) -> None:
    answer = serve(OtherwiseSource(NotFoundError("no folder"))).get("/api/export")
    assert (answer.status_code, answer.json()) == (404, {"detail": "no folder"})


def test_a_source_that_takes_its_time_to_list_keeps_nobody_else_waiting(serve: Serve) -> None:
    class SlowSource(MemorySource):
        asked = threading.Event()
        go_on = threading.Event()

        def exports(self) -> Sequence[str]:
            self.asked.set()
            assert self.go_on.wait(WAIT_SECONDS)
            return super().exports()

    source = SlowSource({})
    client = serve(source)
    listing = threading.Thread(target=client.get, args=("/api/export",))
    listing.start()
    assert source.asked.wait(WAIT_SECONDS)
    assert client.get("/health").status_code == 200
    source.go_on.set()
    listing.join(WAIT_SECONDS)


def test_the_head_of_a_body_makes_no_rows(serve: Serve) -> None:
    source = WatchedSource()
    head = serve(source).head(f"{path_of('watched')}/data", headers={"Range": "bytes=0-5"})
    assert (head.status_code, head.content, source.opened) == (200, b"", 0)


def test_a_declared_size_is_told_by_head(serve: Serve) -> None:
    client = serve(DeclaringSource({"day": csv_body(3)}, sizes={"day": len(csv_body(3))}))
    assert client.head(f"{path_of('day')}/data").headers["content-length"] == str(len(csv_body(3)))
