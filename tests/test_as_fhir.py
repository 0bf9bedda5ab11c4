"""Any source as FHIR: the same records, as resources with ids that FHIR allows; exact, or an error."""

from __future__ import annotations

import csv
import io
import json
import pickle
import re
from collections import Counter
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.seeds import examples
from tests.sources import EXPORT, HEADER, MemorySource, NamedSource, csv_body

from mockexport import ChangedError, Download, NotFoundError, UntrustedDataError, count, open_source, summarise
from mockexport.bulk_wire import fhir_id
from mockexport.sources import AsFhir, MockFhirSource, MockSource, UnionSource, as_fhir
from mockexport.tally import CsvFormat, FhirFormat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from mockexport.source import Chunks, Source

BY_CODE = FhirFormat(by="code", strict=True)
LOINC = {"heart_rate": "8867-4", "spo2": "59408-5", "bp_sys": "8480-6", "bp_dia": "8462-4"}
FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
FHIR_DATE_TIME = re.compile(  # hl7.org/fhir/R4/datatypes.html#dateTime
    r"([0-9]([0-9]([0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)(-(0[1-9]|1[0-2])(-(0[1-9]|[1-2][0-9]|3[0-1])"
    r"(T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?(Z|(\+|-)((0[0-9]|1[0-3]):[0-5][0-9]|14:00)))?)?)?"
)
FHIR_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def label(event_type: str) -> str:
    return f"http://loinc.org|{LOINC[event_type]}" if event_type in LOINC else f"text:{event_type}"


def body_of(source: Source, download: Download, offset: int = 0) -> bytes:
    return b"".join(source.open(download, offset))


def resources(source: Source, export: str = EXPORT) -> list[list[Any]]:
    bodies = [body_of(source, download) for download in source.downloads(export)]
    return [[json.loads(line, parse_float=str, parse_int=str) for line in body.splitlines()] for body in bodies]


def csv_of(rows: Iterable[tuple[str, str, str, str]]) -> bytes:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    return HEADER + written.getvalue().encode()


def one(row: bytes) -> Any:
    """The Observation of a row."""
    _, (found,) = resources(AsFhir(MemorySource({"a": HEADER + row + b"\n"})))
    return found


def assert_same_records(source: Source, view: Source, export: str) -> None:
    """The view has the records of the source under their codes, and a Patient for each of its patients."""
    records, found = count(source, export), count(view, export, fhir=BY_CODE)
    assert found.patients == {
        fhir_id(who): {"Patient": 1, **{label(event_type): n for event_type, n in types.items()}}
        for who, types in records.patients.items()
    }
    assert found.unassigned == {}
    declared = [download.rows for download in view.downloads(export)]
    assert None in declared or sum(map(int, filter(None, declared))) == found.rows


# ---- The same records ----


def test_the_made_up_exports_are_those_of_mock_fhir() -> None:
    view = as_fhir(MockSource("pure"))
    assert isinstance(view, MockFhirSource)
    assert view.kernel == "pure"
    assert as_fhir(view) is view


def test_both_parts_of_a_union_are_seen_as_fhir() -> None:
    view = as_fhir(UnionSource(MockSource(), MemorySource({"a": csv_body(3)})))
    assert view.exports() == ["demo", "small", "large", EXPORT]
    assert {d.format for export in ("demo", EXPORT) for d in view.downloads(export)} == {"ndjson"}
    assert_same_records(MemorySource({"a": csv_body(3)}), view, EXPORT)


def test_a_declared_export_has_the_same_numbers_under_its_codes() -> None:
    assert_same_records(MockSource(), AsFhir(MockSource()), "demo")


def test_a_folder_of_csv_has_the_same_numbers_under_its_codes(tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "one.csv").write_bytes(csv_body(500))
    (tmp_path / "trial" / "two.csv").write_bytes(
        csv_of([("Zoë/1", "2025-01-01", "mood, of the day", "good"), ("P9", "", "spo2", "")] * 3)
    )
    source = open_source(tmp_path)
    assert_same_records(source, AsFhir(source), "trial")
    patients, *observations = AsFhir(source).downloads("trial")
    assert (patients.event_types, {d.event_types for d in observations}) == (("Patient",), {("Observation",)})
    assert (patients.rows, patients.patients) == (None, None)  # the folder declares none


def test_an_export_declares_what_the_source_does() -> None:
    source, view = MockSource(), AsFhir(MockSource())
    patients, *observations = view.downloads("demo")
    for given_one, found in zip(source.downloads("demo"), observations, strict=True):
        kept = {"id", "rows", "patients", "start_time", "end_time", "export"}
        assert {field.name for field in fields(Download) if getattr(found, field.name) ==
                getattr(given_one, field.name)} >= kept  # fmt: skip
        assert (found.format, found.event_types, found.size) == ("ndjson", ("Observation",), None)
    assert (patients.rows, patients.patients) == (4, ("P001", "P002", "P003", "P004"))
    whole, known = summarise("demo", view.downloads("demo")), summarise("demo", source.downloads("demo"))
    assert (whole.start_time, whole.end_time) == (known.start_time, known.end_time)


ODD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
NAMES = st.one_of(st.sampled_from(["P1", "a.b-c", "x" * 64, "x" * 65, "1/2", "Zoë", "urn:x", "#1", "\0", "{"]), ODD)
TYPES = st.one_of(st.sampled_from([*LOINC, "mood", '"', "\0", "<value>"]), ODD)
TIMES = st.one_of(
    st.datetimes().map(str),
    st.sampled_from(["2025-08-26T00:00:04.906404Z", "2025-08-26", "", "noon", "2025-02-30", "2025-13-01T00:00:00Z"]),
    ODD,
)
VALUES = st.one_of(st.decimals().map(str), st.floats().map(str), st.integers().map(str), ODD, st.just(""))


@pytest.mark.gate
@examples(200, slow=10_000)
@given(rows=st.lists(st.tuples(NAMES, TIMES, TYPES, VALUES), max_size=8), at=st.integers(0, 2000))
@example(rows=[("a\nb", "noon", "c\rd", "\0")], at=0)
@example(rows=[("P1", "", "x", "1" * 5000)], at=0)
def test_odd_ids_types_times_and_values_become_valid_resources_and_stay_the_same_records(
    rows: list[tuple[str, str, str, str]], at: int
) -> None:
    source = MemorySource({"a": csv_of(rows[:4]), "b": csv_of(rows[4:])}, chunk_bytes=7)
    view = AsFhir(source)
    assert_same_records(source, view, EXPORT)
    patients, *observations = resources(view)
    assert {p["id"]: p["identifier"] for p in patients} == {fhir_id(who): [{"value": who}] for who, *_ in rows}
    found = [resource for some in observations for resource in some]
    assert len(found) == len(rows) == len({resource["id"] for resource in found})
    for resource, (who, _, event_type, value) in zip(found, rows, strict=True):
        assert FHIR_ID.fullmatch(resource["id"])
        assert resource["subject"] == {"reference": f"Patient/{fhir_id(who)}"}
        assert FHIR_ID.fullmatch(fhir_id(who))
        assert FHIR_DATE_TIME.fullmatch(resource.get("effectiveDateTime", "2025"))
        assert ("category" in resource) == (event_type in LOINC)
        assert_value(resource, value.strip(" \t\n\r\v\f"))
    for download in view.downloads(EXPORT):
        assert body_of(view, download, at) == body_of(view, download)[at:]


def assert_value(resource: Mapping[str, Any], value: str) -> None:
    """Exactly one of the three, and with the digits or the letters of the CSV."""
    (kind,) = {"valueQuantity", "valueString", "dataAbsentReason"} & resource.keys()
    if not value:
        assert resource[kind]["coding"][0]["code"] == "unknown"
    elif FHIR_DECIMAL.fullmatch(value) and len(value) <= 64:
        assert resource[kind]["value"] == value
    else:
        assert resource[kind] == value


# ---- An Observation ----


def test_a_known_type_with_a_number_and_a_time_claims_its_profile_and_no_other_does() -> None:
    profile = ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-vital-signs"]
    assert one(b"P1,2025-08-26T00:00:04Z,spo2,97")["meta"]["profile"] == profile
    for row in (b"P1,noon,spo2,97", b"P1,2025-08-26T00:00:04Z,spo2,high", b"P1,2025-08-26T00:00:04Z,mood,1"):
        assert "meta" not in one(row)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (b"2025-08-26T00:00:04.906404Z", "2025-08-26T00:00:04.906404Z"),
        (b"2025-08-26T00:00:04", "2025-08-26T00:00:04Z"),
        (b"2025-08-26 00:00:04", "2025-08-26T00:00:04Z"),
        (b"2025-08-26T02:00:04+02:00", "2025-08-26T02:00:04+02:00"),
        (b"2025-08-26", "2025-08-26"),
        (b"2025-02-30", None),
        (b"2025-08-26T25:00:04Z", None),
        (b"0000-08-26T05:00:04Z", None),
        (b"noon", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_a_time_is_written_as_fhir_has_it_or_left_out(written: bytes, found: str | None) -> None:
    assert one(b"P1,%b,spo2,97" % written).get("effectiveDateTime") == found


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (b"71", {"valueQuantity": {"value": "71"}}),
        (b" 71.50 ", {"valueQuantity": {"value": "71.50"}}),
        (b"-1e3", {"valueQuantity": {"value": "-1e3"}}),
        (b"071", {"valueString": "071"}),
        (b"NaN", {"valueString": "NaN"}),
        (b'">9,""x"""', {"valueString": '>9,"x"'}),
        (b"", {"dataAbsentReason": {"coding": [{"system": "?", "code": "unknown"}]}}),
        (b"\xff", {"dataAbsentReason": {"coding": [{"system": "?", "code": "error"}]}}),
    ],
)
def test_a_value_is_a_quantity_if_it_is_a_number_and_otherwise_the_text_or_the_reason_why_there_is_none(
    written: bytes, found: Mapping[str, Any]
) -> None:
    resource = one(b"P1,2025-08-26,mood,%b" % written)
    if "dataAbsentReason" in resource:
        resource["dataAbsentReason"]["coding"][0]["system"] = "?"
    assert {key: resource[key] for key in resource if key.startswith(("value", "data"))} == found


def test_ids_name_one_resource_of_all_exports_and_are_the_same_each_time() -> None:
    view = AsFhir(MemorySource({"a": csv_body(2), "b": csv_body(2)}))
    ids = [resource["id"] for some in resources(view)[1:] for resource in some]
    assert len(set(ids)) == 4
    assert ids == [resource["id"] for some in resources(pickle.loads(pickle.dumps(view)))[1:] for resource in some]


# ---- Resources stay as they are ----

PATIENT = b'{"resourceType":"Patient","id":"1"}\n'
CONDITION = b'{"resourceType":"Condition","id":"1","subject":{"reference":"Patient/1"}}\n'


class Resources(MemorySource):
    """Its downloads are NDJSON, and declare these types."""

    types: tuple[str, ...] | None = None

    def downloads(self, export: str) -> list[Download]:
        return [
            replace(download, format="ndjson", event_types=self.types, etag="1")
            for download in super().downloads(export)
        ]


@pytest.mark.parametrize(
    ("body", "types", "rows"),
    [
        (PATIENT * 3, ("Patient",), None),
        (b"\xef\xbb\xbf\r\n" + PATIENT.replace(b"\n", b"\r\n") + PATIENT.rstrip(), ("Patient",), None),
        (PATIENT + CONDITION, None, None),
        (PATIENT.rstrip(), ("Patient",), None),
        (b'{"resourceType":"../x"}\n', None, None),
        (b"nonsense\n", None, None),
        (b"", (), 0),
    ],
)
def test_the_type_of_resources_is_that_at_the_beginning_if_the_source_declares_none(
    body: bytes, types: tuple[str, ...] | None, rows: int | None
) -> None:
    view = AsFhir(Resources({"a": body}))
    (download,) = view.downloads(EXPORT)
    assert (download.event_types, download.rows, download.format, download.etag) == (types, rows, "ndjson", "1")
    assert body_of(view, download) == body
    assert body_of(view, download, 5) == body[5:]


def test_a_declared_type_is_taken_and_several_are_none() -> None:
    source = Resources({"a": CONDITION})
    for source.types, expected in ((("Patient",), ("Patient",)), (("Patient", "Condition"), None)):
        assert [download.event_types for download in AsFhir(source).downloads(EXPORT)] == [expected]
    assert source.places == []


def test_a_beginning_without_an_end_of_line_is_read_to_a_limit_once() -> None:
    source = Resources({"a": PATIENT.rstrip() * 700_000}, chunk_bytes=1 << 20)
    view = AsFhir(source)
    assert [download.event_types for download in view.downloads(EXPORT)] == [None]
    assert [download.event_types for download in view.downloads(EXPORT)] == [None]
    assert len(source.places) == 1


# ---- Exact, or an error ----


def test_a_malformed_row_ends_the_download_with_its_place() -> None:
    view = AsFhir(MemorySource({"a": csv_body(2) + b"P1,,x\n"}))
    for download in view.downloads(EXPORT):  # the Patients are found in the rows
        with pytest.raises(UntrustedDataError, match="download 'a' of export 'trial' is malformed at line 4: too few"):
            body_of(view, download)


@pytest.mark.parametrize("declared", [1, 3])
def test_other_than_the_declared_rows_are_an_error(declared: int) -> None:
    view = AsFhir(MemorySource({"a": csv_body(2)}, {"a": declared}))
    _, download = view.downloads(EXPORT)
    with pytest.raises(UntrustedDataError, match=f"declares {declared} rows but holds 2"):
        body_of(view, download)


def test_an_etag_is_another_one_for_other_bytes_and_as_strong_as_that_of_the_source() -> None:
    def etags(etag: str | None, csv: CsvFormat | None = None) -> list[str | None]:
        class Tagged(MemorySource):
            def downloads(self, export: str) -> list[Download]:
                return [replace(download, etag=etag) for download in super().downloads(export)]

        return [d.etag for d in AsFhir(Tagged({"a": csv_body(1)}), csv or CsvFormat()).downloads(EXPORT)]

    assert etags(None) == [None, None]
    assert all(str(etag).startswith('W/"') for etag in etags('W/"1"'))
    strong = [etags("1"), etags("2"), etags("1", CsvFormat(patient_column="value"))]
    assert len({etag for some in strong for etag in some}) == 6
    assert etags("1") == strong[0]


def test_what_changed_since_it_was_listed_is_an_error() -> None:
    source = NamedSource({"a": csv_body(1)})
    view = AsFhir(source)
    listed = view.downloads(EXPORT)
    source.bodies = {"a": csv_body(2)}
    with pytest.raises(ChangedError, match="changed since it was listed"):
        body_of(view, listed[0])
    with pytest.raises(ChangedError, match="changed since it was listed"):
        view.open(replace(view.downloads(EXPORT)[1], etag=listed[1].etag))


def test_a_download_that_was_written_down_is_found_again() -> None:
    view = AsFhir(NamedSource({"a": csv_body(2)}))
    for download in view.downloads(EXPORT):
        known = Download(EXPORT, download.id, etag=download.etag)
        assert body_of(view, known) == body_of(view, replace(download, patients=None)) == body_of(view, download)
        with pytest.raises(ChangedError):
            body_of(view, replace(known, etag="other"))
    with pytest.raises(NotFoundError, match="no download 'b' in export 'trial'; it has"):
        view.open(Download(EXPORT, "b"))


def test_an_export_is_listed_once_for_all_its_downloads_that_were_written_down() -> None:
    class Listed(NamedSource):
        times = 0

        def downloads(self, export: str) -> list[Download]:
            self.times += 1
            return list(super().downloads(export))

    source = Listed({str(number): csv_body(number) for number in range(20)}, dict.fromkeys(map(str, range(20))))
    known = [Download(EXPORT, found.id, etag=found.etag) for found in AsFhir(source).downloads(EXPORT)[1:]]
    source.times, view = 0, AsFhir(source)
    bodies = [body_of(view, download) for download in known]
    assert [body.count(b"\n") for body in bodies] == list(range(20))
    assert source.times == 1


def test_a_reader_that_stops_lets_go_of_the_source() -> None:
    closed = []

    class Watched(MemorySource):
        def open(self, download: Download, offset: int = 0, **watch: Any) -> Chunks:
            try:
                yield from super().open(download, offset, **watch)
            finally:
                closed.append(download.id)

    view = AsFhir(Watched({"a": csv_body(5000)}))
    chunks = view.open(view.downloads(EXPORT)[1])
    next(chunks)
    chunks.close()
    assert closed == ["a"]


def test_chunks_are_bounded_however_many_rows_come_at_once() -> None:
    view = AsFhir(MemorySource({"a": csv_body(5000)}, chunk_bytes=1 << 20))
    sizes = list(map(len, view.open(view.downloads(EXPORT)[1])))
    assert len(sizes) > 5
    assert max(sizes) < 300_000


def test_patients_are_counted_once_over_all_downloads() -> None:
    view = AsFhir(MemorySource({"a": csv_body(2), "b": csv_body(3)}))
    assert Counter(resource["id"] for resource in resources(view)[0]) == {"P001": 1}
