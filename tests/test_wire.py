"""URL paths and JSON shapes: what is sent is read back, what makes no sense is refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mockexport.errors import UntrustedDataError
from mockexport.model import Download
from mockexport.wire import (
    download_body,
    download_path,
    export_body,
    export_path,
    exports_body,
    is_plain_id,
    read_download,
    read_export,
    read_exports,
)

DOWNLOAD = Download(
    export="demo",
    id="f725622a",
    rows=9014,
    event_types=("bp_sys", "bp_dia"),
    patients=("P001", "P004", "P003"),
    start_time=datetime(2025, 8, 26, tzinfo=UTC),
    end_time=datetime(2025, 8, 26, 17, 31, 38, 500000, tzinfo=UTC),
)
SOUND: dict[str, Any] = {**download_body(DOWNLOAD)["data"], "event_types": ["bp_sys"], "patients": ["P001"]}
NO_OBJECTS: list[Any] = [None, 5, "text", [], {}, {"data": None}, {"data": []}, {"data": "text"}, [{"data": {}}]]
NO_NAMES: list[Any] = [None, "a", 5, {}, [None], [5], [["a"]], [""], ["a", "a"], True]
STRANGE_IDS = [
    "a b",
    "a/b",
    "../x",
    "..",
    ".",
    "a%2Fb",
    "%2e%2e",
    "a?b",
    "a#b",
    "ü",
    "患者",
    "a\nb",
    "\x00",
    "//host/x",
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.sampled_from(["data", *SOUND]) | st.text(), values),
)


def read_metadata(answer: object) -> Download:
    return read_download("demo", "f725622a", answer)


# ---- What is sent ----


def test_the_answers_are_those_of_the_contract() -> None:
    assert exports_body(["demo", "small"]) == {"data": {"export_ids": ["demo", "small"]}}
    assert export_body("demo", ["a", "b"]) == {"data": {"id": "demo", "download_ids": ["a", "b"]}}
    assert download_body(DOWNLOAD) == {
        "data": {
            "id": "f725622a",
            "rows": 9014,
            "event_types": ("bp_sys", "bp_dia"),
            "patients": ("P001", "P004", "P003"),
            "start_time": "2025-08-26T00:00:00",
            "end_time": "2025-08-26T17:31:38.500000",
        }
    }


def test_what_was_sent_is_read_back() -> None:
    assert read_exports(exports_body(["demo", "small"])) == ["demo", "small"]
    assert read_export(export_body("demo", ["a", "b"])) == ["a", "b"]
    body = {"data": {key: list(v) if isinstance(v, tuple) else v for key, v in download_body(DOWNLOAD)["data"].items()}}
    assert read_download("demo", "f725622a", body) == DOWNLOAD


def test_what_is_not_declared_is_null_and_may_be_missing() -> None:
    nothing = Download("demo", "a")
    body = download_body(nothing)
    assert {value for key, value in body["data"].items() if key != "id"} == {None}
    assert read_download("demo", "a", body) == nothing
    assert read_download("demo", "a", {"data": {"id": "a"}}) == nothing


def test_what_others_add_is_passed_over() -> None:
    assert read_exports({"data": {"export_ids": [], "next": "x"}, "meta": 1}) == []
    assert read_download("demo", "a", {"data": {"id": "a", "size": 7}}) == Download("demo", "a")


# ---- What makes no sense ----


@pytest.mark.parametrize("answer", NO_OBJECTS)
def test_an_answer_without_an_object_under_data_is_refused(answer: object) -> None:
    for read in (read_exports, read_export, read_metadata):
        with pytest.raises(UntrustedDataError):
            read(answer)


@pytest.mark.parametrize("names", NO_NAMES)
def test_a_list_of_ids_that_is_none_is_refused(names: object) -> None:
    with pytest.raises(UntrustedDataError, match="export_ids"):
        read_exports({"data": {"export_ids": names}})
    with pytest.raises(UntrustedDataError, match="download_ids"):
        read_export({"data": {"download_ids": names}})


WRONG_FIELDS: list[tuple[str, list[Any]]] = [
    ("id", ["other", None, 5, ["f725622a"], "F725622A"]),
    ("rows", [-1, "9014", 9014.0, True, [1], {}]),
    ("event_types", NO_NAMES[1:]),
    ("patients", NO_NAMES[1:]),
    ("start_time", ["", "yesterday", 5, True, "0001-01-01T00:00:00+05:00", "2025-13-01T00:00:00"]),
    ("end_time", ["", "yesterday", 5, [], "9999-12-31T23:59:59-05:00"]),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG_FIELDS for value in values])
def test_metadata_with_a_wrong_field_is_refused(name: str, value: object) -> None:
    assert read_download("demo", "f725622a", {"data": SOUND})
    with pytest.raises(UntrustedDataError):
        read_download("demo", "f725622a", {"data": {**SOUND, name: value}})


@pytest.mark.gate
@given(json_values)
def test_whatever_is_sent_is_read_or_refused_in_one_line(answer: object) -> None:
    for read in (read_exports, read_export, read_metadata):
        problem = ""
        try:
            read(answer)
        except UntrustedDataError as error:
            problem = str(error)
        assert problem.isprintable()
        assert len(problem) < 200


def test_a_giant_answer_that_is_wrong_is_refused_at_once() -> None:
    giant = {"data": {"export_ids": [1] * 5_000_000}}
    started = time.process_time()
    with pytest.raises(UntrustedDataError) as refused:
        read_exports(giant)
    assert time.process_time() - started < 1.0
    assert len(str(refused.value)) < 200


# ---- Paths ----


def test_paths_are_those_of_the_contract() -> None:
    assert export_path("demo") == "/api/export/demo"
    assert download_path("demo", "f725622a-22ea") == "/api/export/demo/f725622a-22ea"


@pytest.mark.parametrize("name", STRANGE_IDS)
def test_a_strange_id_is_one_segment_of_the_path_and_stays_one(name: str) -> None:
    sent = httpx.URL("http://host/base" + download_path(name, name) + "/data").raw_path.decode()
    assert sent == f"/base{download_path(name, name)}/data"
    assert [unquote(part) for part in sent.split("/")] == ["", "base", "api", "export", name, name, "data"]


@given(st.text(min_size=1))
def test_any_id_is_one_segment_of_the_path_and_stays_one(name: str) -> None:
    sent = httpx.URL("http://host" + export_path(name)).raw_path.decode()
    assert [unquote(part) for part in sent.split("/")] == ["", "api", "export", name]


def test_an_id_that_came_as_bytes_of_another_encoding_goes_out_as_these_bytes() -> None:
    assert export_path("\udcff") == "/api/export/%FF"


@pytest.mark.parametrize("name", ["demo", "A-1_b.c", "f725622a-22ea-4acc-aab8-810ec8b5e2c6", "a" * 128])
def test_an_id_of_plain_characters_can_be_a_file_name(name: str) -> None:
    assert is_plain_id(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "a\x00", "a\n", "ü", "a:b", "a*", "~", "a" * 129, "\u06f1"]
)
def test_any_other_id_can_be_none(name: str) -> None:
    assert not is_plain_id(name)


UUID = "f725622a-22ea-4acc-aab8-810ec8b5e2c6"


def test_a_download_listed_twice_in_different_case_is_one_download() -> None:
    for twice in ([UUID, UUID.upper()], [UUID.upper(), "other", UUID.title()]):
        with pytest.raises(UntrustedDataError, match="'download_ids' has a duplicate"):
            read_export({"data": {"download_ids": twice}})


def test_other_ids_and_all_other_lists_keep_their_case() -> None:
    for ids in (["a", "A"], [f"{UUID}0", f"{UUID.upper()}0"], ["urn:" + UUID, "URN:" + UUID]):
        assert read_export({"data": {"download_ids": ids}}) == ids
    patients = [UUID, UUID.upper()]  # patients are told apart byte by byte
    assert read_exports({"data": {"export_ids": patients}}) == patients
    found = read_download("trial", "a", {"data": {"id": "a", "patients": patients}})
    assert found.patients == tuple(patients)
