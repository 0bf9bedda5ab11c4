"""Each code of a finding that exports of FHIR can have: what it is found by, where, and that nothing else is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import KERNELS
from tests.reconcile.codes import DeclaringSource, codes, found, ndjson, reconciled

from mockexport import Certificate, Download, UntrustedDataError, reconcile
from mockexport.errors import NotResumableError
from mockexport.reconciliation import deleted_in

if TYPE_CHECKING:
    from mockexport.source import Chunks


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def patient(name: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": name, **more}


def observation(name: str, of: str = "1", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": name, "subject": {"reference": f"Patient/{of}"}, **more}


def fhir(bodies: dict[str, bytes], kernel: str = "auto", **source: Any) -> Certificate:
    return reconciled(bodies, kernel, format="ndjson", **source)


WHOLE = {"1.Patient": ndjson(patient("1")), "1.Observation": ndjson(observation("a"), observation("b"))}


def test_an_export_with_all_it_refers_to_is_whole(kernel: str) -> None:
    types = {name: {"event_types": (name.partition(".")[2],)} for name in WHOLE}
    certificate = fhir(WHOLE, kernel, fields=types, rows={"1.Patient": 1, "1.Observation": 2}, told={"types": ()})
    assert not certificate.findings
    assert (certificate.records, certificate.patients, certificate.distinct) == ({"Patient": 1, "Observation": 2}, 1, 3)


def test_the_count_of_a_file_differs(kernel: str) -> None:
    certificate = fhir(WHOLE, kernel, rows={"1.Observation": 3})
    assert found(certificate, "rows-differ") == [{"download": "1.Observation", "declared": 3, "found": 2}]


def test_the_same_id_again_is_a_duplicate_whatever_else_is_in_it(kernel: str) -> None:
    rows = [observation("a", value=1), observation("b"), observation("a", value=2)]
    certificate = fhir({"1": ndjson(patient("1"), *rows), "2": ndjson(observation("b"))}, kernel)
    assert codes(certificate) == {"duplicate": ("error", 1), "duplicate-across": ("error", 1)}
    assert found(certificate, "duplicate") == [{"download": "1", "line": 4, "repeats": {"download": "1", "line": 2}}]
    assert certificate.distinct == 3


def test_versions_of_a_resource_are_distinct_and_types_too(kernel: str) -> None:
    versions = [observation("1", meta={"versionId": text}) for text in "12"]
    certificate = fhir({"1": ndjson(patient("1"), *versions)}, kernel)
    assert not certificate.findings
    assert certificate.distinct == 3


def test_without_an_id_the_same_row_is_a_duplicate(kernel: str) -> None:
    bare = {"resourceType": "Organization"}
    body = ndjson(bare, {**bare, "name": "x"}) + b"  " + ndjson(bare)
    certificate = fhir({"1": body}, kernel)
    assert codes(certificate) == {"duplicate": ("error", 1)}
    assert certificate.distinct == 2


def test_what_stands_twice_in_a_resource_counts_as_absent(kernel: str) -> None:
    row = b'{"resourceType":"Organization","id":"1","id":"2","meta":{"tag":5,"lastUpdated":7}}\n'
    certificate = fhir({"1": row + row}, kernel)
    assert codes(certificate) == {"duplicate": ("error", 1)}


def test_resources_of_another_type_than_their_file_are_told(kernel: str) -> None:
    certificate = fhir(WHOLE, kernel, fields={"1.Observation": {"event_types": ("Condition",)}})
    assert codes(certificate) == {"type-undeclared": ("error", 1), "type-absent": ("warning", 1)}


def test_a_type_that_was_asked_for_and_brought_nothing_is_absent() -> None:
    certificate = fhir(WHOLE, told={"types": ("Patient", "Observation", "Condition")})
    assert codes(certificate) == {"type-absent": ("warning", 1)}
    assert found(certificate, "type-absent") == [{"type": "Condition"}]


def test_what_changed_outside_the_window_is_told(kernel: str) -> None:
    times = ["2025-01-01T09:59:59Z", "2025-01-01T10:00:00Z", "2025-01-01T12:00:00+01:00", "2025-01-01T11:00:00.001Z"]
    rows = [observation(str(n), meta={"lastUpdated": time}) for n, time in enumerate(times)]
    since, at = datetime(2025, 1, 1, 10, tzinfo=UTC), datetime(2025, 1, 1, 11, tzinfo=UTC)
    body = ndjson(patient("1"), *rows)
    certificate = fhir({"1": body}, kernel, told={"since": since, "transaction_time": at})
    assert codes(certificate) == {"outside-window": ("warning", 2)}
    assert [place["line"] for place in found(certificate, "outside-window")] == [2, 5]
    assert certificate.asked == {"since": "2025-01-01T10:00:00Z", "transaction_time": "2025-01-01T11:00:00Z"}


def test_a_resource_that_was_deleted_and_is_there_is_told(kernel: str) -> None:
    request = [
        {"request": {"method": "DELETE", "url": url}} for url in ("Observation/b", "Patient/9", "Patient/1/_history/2")
    ]
    bundle = ndjson({"resourceType": "Bundle", "type": "transaction", "entry": request})
    source: dict[str, Any] = {"not_listed": ["deleted/1.Bundle"]}
    told = {"deleted": [Download("trial", "deleted/1.Bundle", format="ndjson")]}
    certificate = fhir({**WHOLE, "deleted/1.Bundle": bundle}, kernel, told=told, **source)
    assert codes(certificate) == {"deleted-present": ("error", 2)}
    assert found(certificate, "deleted-present") == [
        {"download": "1.Patient", "line": 1, "id": "Patient/1"},
        {"download": "1.Observation", "line": 2, "id": "Observation/b"},
    ]
    broken = fhir({**WHOLE, "deleted/1.Bundle": b"{}\n"}, kernel, told=told, **source)
    assert codes(broken) == {"download-broken": ("error", 1)}


BUNDLE = ndjson(
    {"resourceType": "Bundle", "entry": [{"request": {"method": "DELETE", "url": f"Patient/{n}"}} for n in (1, 9)]}
)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("Patient/1", "Patient/1"),
        ("/Patient/1/", "Patient/1"),
        ("https://ehr.example/fhir/Patient/1", "Patient/1"),
        ("https://ehr.example/Patient/1/_history/2", "Patient/1"),
        ("Patient/1/_history", "Patient/1"),
        ("Patient/ABC/_history", "Patient/ABC"),
        ("Patient?identifier=1", None),
        ("Patient/1?_cascade=delete", None),
        ("urn:uuid:1", None),
        ("1", None),
        ("", None),
    ],
)
def test_a_url_names_one_deleted_resource_or_the_file_is_broken(url: str, name: str | None) -> None:
    row = ndjson({"resourceType": "Bundle", "entry": [{"request": {"method": "DELETE", "url": url}}]})
    if name:
        assert list(deleted_in(row)) == [name]
    else:
        with pytest.raises(UntrustedDataError, match=re.escape(f"names {url!r}, which is no Type/id")):
            list(deleted_in(row))


class BreakingOff(DeclaringSource):
    """The file of deleted resources breaks off in the middle, and cannot be resumed, `times` times."""

    times = 0

    def open(self, download: Download, offset: int = 0, **watch: Any) -> Chunks:
        chunks = super().open(download, offset, **watch)
        if download.id.startswith("deleted/") and self.times:
            self.times -= 1
            yield next(chunks)
            raise NotResumableError("it broke off")
        yield from chunks


@pytest.mark.parametrize(("times", "broken"), [(5, False), (6, True)])
def test_a_file_of_deleted_resources_that_cannot_be_resumed_is_read_again(
    times: int, broken: bool, kernel: str
) -> None:
    told = {"deleted": [Download("trial", "deleted/1.Bundle", format="ndjson")]}
    bodies = {**WHOLE, "deleted/1.Bundle": BUNDLE + BUNDLE.replace(b"Patient/9", b"Patient/8")}
    source = BreakingOff(bodies, format="ndjson", told=told, not_listed=["deleted/1.Bundle"], chunk_bytes=len(BUNDLE))
    source.times = times
    certificate = reconcile(source, "trial", kernel=kernel, by_patient=True)
    assert codes(certificate) == ({"download-broken": ("error", 1)} if broken else {"deleted-present": ("error", 1)})
    assert certificate.deleted == ([] if broken else ["Patient/1", "Patient/8", "Patient/9"])


def test_issues_of_the_server_are_told_by_severity_and_code() -> None:
    issues = {
        ("error", "processing"): 2,
        ("fatal", "exception"): 1,
        ("warning", "processing"): 4,
        ("information", "x"): 9,
    }
    certificate = fhir(WHOLE, told={"issues": issues})
    assert [(f.code, f.severity, f.count) for f in certificate.findings] == [
        ("server-error", "error", 3),
        ("server-error", "warning", 4),
    ]
    assert certificate.findings[0].by == {"error processing": 2, "fatal exception": 1}


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (None, {}),
        (("Observation",), {}),
        ((), {"reference-missing": ("error", 1)}),
        (("Patient", "Observation"), {"reference-missing": ("error", 1), "type-absent": ("warning", 1)}),
    ],
)
def test_a_patient_that_was_not_exported_is_missing_where_patients_were_asked_for(
    types: tuple[str, ...] | None, expected: dict[str, Any]
) -> None:
    certificate = fhir({"1": ndjson(observation("a"))}, told={"types": types})
    assert codes(certificate) == expected


def test_a_patient_that_was_not_exported_is_missing_where_others_were(kernel: str) -> None:
    certificate = fhir({"1": ndjson(patient("1"), observation("a"), observation("b", "2"))}, kernel)
    assert found(certificate, "reference-missing") == [{"patient": "2"}]


def test_a_patient_without_records_is_empty_unless_only_patients_were_asked_for() -> None:
    body = ndjson(patient("1"), patient("2"), observation("a"))
    assert codes(fhir({"1": body})) == {"patient-empty": ("warning", 1)}
    assert not fhir({"1": ndjson(patient("1"))}, told={"types": ("Patient",)}).findings


def test_resources_without_a_patient_are_told_where_their_type_has_one(kernel: str) -> None:
    rows = [{"resourceType": "Observation", "id": "a"}, {"resourceType": "Organization", "id": "b"}]
    certificate = fhir({"1": ndjson(*rows)}, kernel)
    assert codes(certificate) == {"unassigned": ("warning", 1)}
    assert found(certificate, "unassigned") == [{"type": "Observation", "reason": "no-reference"}]


def test_parts_of_resources_are_told(kernel: str) -> None:
    tags = [{"code": "x"}, {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}]
    certificate = fhir({"1": ndjson(patient("1"), observation("a", meta={"tag": tags}))}, kernel)
    assert codes(certificate) == {"subsetted": ("warning", 1)}
    assert found(certificate, "subsetted") == [{"download": "1", "line": 2}]


def test_malformed_resources_are_told_by_reason_and_line(kernel: str) -> None:
    certificate = fhir(
        {"1": b'{"resourceType":"Patient","id":"1"}\n{"id":1}\n[]\n', "2": WHOLE["1.Observation"]}, kernel
    )
    assert codes(certificate) == {"malformed": ("error", 2)}
    assert [place["line"] for place in found(certificate, "malformed")] == [2, 3]
