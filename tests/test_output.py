"""The answers as JSON and CSV."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb
import orjson
from hypothesis import given
from hypothesis import strategies as st

from mockexport.cli.documents import counts_document, download_document, export_document, verdict_document
from mockexport.cli.output import csv_text
from mockexport.encoding import json_bytes
from mockexport.model import Counts, Download, summarise
from mockexport.pipeline.verify import Difference

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = st.text(st.characters(codec="utf-8"), max_size=6) | st.text(' "\r\n,\t\0', max_size=4)

COUNTS = Counts({"P2": {"y": 1}, "P1": {"y": 2, "x": 3}})


def test_counts_are_written_exactly_as_the_contract_shows_them() -> None:
    assert json_bytes(counts_document(COUNTS)) == (
        b'{\n  "patients": {\n    "P1": {\n      "x": 3,\n      "y": 2\n    },\n'
        b'    "P2": {\n      "y": 1\n    }\n  },\n'
        b'  "totals": {\n    "x": 3,\n    "y": 3\n  }\n}\n'
    )


def test_rows_that_were_left_out_come_last_and_only_where_there_are_any() -> None:
    assert list(counts_document(COUNTS)) == ["patients", "totals"]
    skipped = counts_document(Counts(COUNTS.patients, {"too few fields": 2, "bad quote": 1}))
    assert list(skipped) == ["patients", "totals", "left_out"]
    assert list(skipped["left_out"].items()) == [("bad quote", 1), ("too few fields", 2)]


def test_ids_of_any_characters_are_written_as_utf8() -> None:
    counts = Counts({"患者\n": {'"x"': 1}})
    assert orjson.loads(json_bytes(counts_document(counts)))["patients"] == {"患者\n": {'"x"': 1}}
    assert "患者".encode() in json_bytes(counts_document(counts))


def test_times_are_written_with_a_z_and_what_is_not_declared_is_null() -> None:
    start = datetime(2025, 8, 26, tzinfo=UTC)
    download = Download("trial", "a", rows=3, patients=("P1",), event_types=("x",), start_time=start, end_time=start)
    assert orjson.loads(json_bytes(download_document(download))) == {
        "id": "a", "rows": 3, "event_types": ["x"], "patients": ["P1"],
        "start_time": "2025-08-26T00:00:00Z", "end_time": "2025-08-26T00:00:00Z",
    }  # fmt: skip
    assert orjson.loads(json_bytes(export_document(summarise("trial", [download])))) == {
        "id": "trial", "downloads": 1, "rows": 3, "patients": 1, "event_types": ["x"],
        "start_time": "2025-08-26T00:00:00Z", "end_time": "2025-08-26T00:00:00Z",
    }  # fmt: skip
    bare = {
        **download_document(Download("trial", "a")),
        **export_document(summarise("trial", [Download("trial", "a")])),
    }
    assert {name: value for name, value in bare.items() if value is not None} == {"id": "trial", "downloads": 1}


def test_a_verdict_is_a_match_differs_or_an_error() -> None:
    difference = Difference("P1", "x", 3, None)
    assert verdict_document("a.json", "a", [], None) == {
        "file": "a.json", "export": "a", "status": "match", "differences": [],
    }  # fmt: skip
    differs = verdict_document("a.json", "a", [difference], None)
    assert differs["status"] == "differs"
    assert differs["differences"] == [{"patient": "P1", "event_type": "x", "expected": 3, "actual": None}]
    error = verdict_document("a.json", "a", [], "no export 'a'")
    assert (error["status"], error["error"]) == ("error", "no export 'a'")


def test_csv_quotes_what_needs_it_joins_lists_and_leaves_none_empty() -> None:
    text = csv_text(["a", "b"], [["x,y", ("P1", "P2")], ['say "x"', None], ["two\nlines", 3]])
    assert text == 'a,b\n"x,y",P1 P2\n"say ""x""",\n"two\nlines",3\n'


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6))
def test_what_is_written_as_csv_is_what_a_csv_reader_reads(rows: list[tuple[str, str]]) -> None:
    text = csv_text(["a", "b"], rows)
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["a", "b"], *map(list, rows)]
    assert csv_text(["a", "b"], [(one, other, "x") for one, other in rows]).count(",x\n") >= len(rows)


def test_ids_with_a_lone_cr_and_their_like_are_quoted_and_read_back_by_duckdb(tmp_path: Path) -> None:
    ids = ["a\rb", "\r", "a\r\nb", "a\nb", 'a"b', "a,b", " a ", "\ta", "\0", "#a", "'a'", "\u2028"]
    text = csv_text(["id", "rows"], [(name, 1) for name in ids])
    assert '"a\rb",1\n' in text
    (tmp_path / "ids.csv").write_bytes(text.encode())
    read = duckdb.read_csv(
        str(tmp_path / "ids.csv"), header=True, delimiter=",", quotechar='"', escapechar='"', all_varchar=True
    )
    assert read.fetchall() == [(name, "1") for name in ids]


def test_names_that_are_not_utf8_are_written_with_their_odd_bytes_told() -> None:
    name = b"day-\xff".decode(errors="surrogateescape")
    document = {"id": name, "list": [name, 1], "tuple": (name,), name: {"rows": None}}
    assert orjson.loads(json_bytes(document)) == {
        "id": r"day-\udcff", "list": [r"day-\udcff", 1], "tuple": [r"day-\udcff"], r"day-\udcff": {"rows": None},
    }  # fmt: skip
    assert csv_text(["id"], [[name]]).encode() == b"id\nday-\\udcff\n"
