"""The manifest: written, read back, refused when it makes no sense."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from mockexport.errors import UnreachableError, UntrustedDataError
from mockexport.manifest import Manifest, ManifestEntry, load_manifest, manifest_document, read_manifest
from mockexport.model import Download

if TYPE_CHECKING:
    from pathlib import Path

    from mockexport.bulk_manifest import BulkManifest

SHA256 = "0123456789abcdef" * 4
WHOLE = ManifestEntry(
    Download(
        "trial",
        "a",
        3,
        ("bp_sys",),
        ("P001",),
        datetime(2025, 8, 26, tzinfo=UTC),
        datetime(2025, 8, 27, tzinfo=UTC),
        etag='"a"',
    ),
    "a.csv",
    SHA256,
)
UNFINISHED = ManifestEntry(Download("trial", "b"), "b.csv.gz", None)
SOUND = {"id": "a", "file": "a.csv"}


def read(tmp_path: Path, document: object) -> list[ManifestEntry] | BulkManifest | None:
    path = tmp_path / "manifest.json"
    path.write_bytes(document if isinstance(document, bytes) else orjson.dumps(document))
    return read_manifest(path, "trial")


@pytest.mark.parametrize("complete", [True, False])
def test_what_was_written_is_read_back(tmp_path: Path, complete: bool) -> None:
    manifest = Manifest("trial", [WHOLE, UNFINISHED], "http://here", complete)
    path = tmp_path / "manifest.json"
    path.write_bytes(orjson.dumps(manifest_document(manifest)))
    assert load_manifest(path, "trial") == manifest


def test_one_of_a_fetch_that_has_not_finished_is_refused(tmp_path: Path) -> None:
    manifest = Manifest("trial", [WHOLE], complete=False)
    with pytest.raises(UntrustedDataError, match=r"the fetch into .* has not finished; .*fetch. completes it"):
        read(tmp_path, manifest_document(manifest))


def test_one_that_says_nothing_of_a_fetch_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(orjson.dumps({"export": "trial", "downloads": [SOUND]}))
    assert load_manifest(path, "trial") == Manifest("trial", [ManifestEntry(Download("trial", "a"), "a.csv", None)])


def test_no_manifest_is_none_and_says_nothing(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "manifest.json", "trial") is None
    assert read_manifest(tmp_path / "no folder" / "manifest.json", "trial") is None


def test_an_entry_needs_an_id_and_a_file_and_nothing_else(tmp_path: Path) -> None:
    assert read(tmp_path, {"export": "trial", "downloads": [SOUND]}) == [
        ManifestEntry(Download("trial", "a"), "a.csv", None)
    ]


@pytest.mark.parametrize("text", [b"", b"{", b"nonsense", b'{"export": "trial"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_refused_and_named(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(UntrustedDataError, match=r"manifest\.json is not valid JSON"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"export": "other", "downloads": []},
        {"downloads": []},
        {"export": "trial"},
        {"export": "trial", "downloads": {}},
        {"export": "trial", "downloads": [], "source": 5},
        {"export": "trial", "downloads": [], "complete": None},
        {"export": "trial", "downloads": ["a.csv"]},
        {"export": "trial", "downloads": [None]},
    ],
)
def test_another_shape_is_refused_and_named(tmp_path: Path, document: object) -> None:
    with pytest.raises(UntrustedDataError, match=r"manifest\.json is not a manifest of export 'trial'"):
        read(tmp_path, document)


WRONG_FIELDS: list[tuple[str, list[Any]]] = [
    ("id", [None, "", 5, ["a"]]),
    ("file", [None, "", 5, "../x.csv", "/etc/passwd", "sub/x.csv", "..", ".", ".hidden.csv", "a\x00.csv", "a b.csv"]),
    ("sha256", ["", "abc", 5, SHA256.upper(), SHA256[:-1] + "g", SHA256 + "0", SHA256[:-1] + "\n"]),
    ("etag", [5, ["a"]]),
    ("rows", ["3", -1, 3.5, True]),
    ("patients", ["P001", [5]]),
    ("start_time", ["yesterday", 5]),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG_FIELDS for value in values])
def test_an_entry_with_a_wrong_field_is_refused(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(UntrustedDataError, match=r"not a manifest of export 'trial'"):
        read(tmp_path, {"export": "trial", "downloads": [{**SOUND, name: value}]})


@pytest.mark.parametrize(
    ("other", "kind"), [({"id": "a", "file": "b.csv"}, "download"), ({"id": "b", "file": "a.csv"}, "file")]
)
def test_the_same_download_or_file_twice_is_refused(tmp_path: Path, other: dict[str, str], kind: str) -> None:
    with pytest.raises(UntrustedDataError, match=f"lists a {kind} twice"):
        read(tmp_path, {"export": "trial", "downloads": [SOUND, other]})


def test_a_manifest_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(UnreachableError, match=r"cannot read .*manifest\.json"):
        read_manifest(tmp_path / "manifest.json", "trial")


def test_a_uuid_listed_twice_in_different_case_is_refused(tmp_path: Path) -> None:
    uuid = "f725622a-22ea-4acc-aab8-810ec8b5e2c6"
    downloads = [{"id": uuid, "file": "a.csv"}, {"id": uuid.upper(), "file": "b.csv"}]
    with pytest.raises(UntrustedDataError, match="lists a download twice"):
        read(tmp_path, {"export": "trial", "downloads": downloads})
