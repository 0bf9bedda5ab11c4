"""The manifest of a FHIR bulk export: read, or refused when it makes no sense."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mockexport.bulk_manifest import BulkFile, BulkManifest, is_bulk_manifest, parse_bulk_manifest
from mockexport.errors import UntrustedDataError

PATIENTS = {"type": "Patient", "url": "https://ehr.example/files/1.ndjson", "count": 3}
WHOLE = {  # with all that the specification names
    "transactionTime": "2025-06-26T00:00:00Z",
    "request": "https://ehr.example/fhir/$export?_type=Patient",
    "requiresAccessToken": True,
    "output": [PATIENTS, {"type": "Observation", "url": "https://ehr.example/files/2.ndjson"}],
    "deleted": [{"type": "Bundle", "url": "https://ehr.example/files/3.ndjson", "count": 1}],
    "error": [{"type": "OperationOutcome", "url": "https://ehr.example/files/4.ndjson", "count": 2}],
    "extension": {"https://ehr.example/more": True},
}


def test_all_that_a_manifest_declares_is_read() -> None:
    assert parse_bulk_manifest(WHOLE) == BulkManifest(
        output=(
            BulkFile("https://ehr.example/files/1.ndjson", "Patient", 3),
            BulkFile("https://ehr.example/files/2.ndjson", "Observation"),
        ),
        deleted=(BulkFile("https://ehr.example/files/3.ndjson", "Bundle", 1),),
        errors=(BulkFile("https://ehr.example/files/4.ndjson", "OperationOutcome", 2),),
        base="https://ehr.example/fhir",
        request="https://ehr.example/fhir/$export?_type=Patient",
        transaction_time=datetime(2025, 6, 26, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("request_url", "types", "since"),
    [
        (None, None, None),
        ("https://ehr.example/fhir/$export", (), None),
        ("https://ehr.example/fhir/$export?_type=Patient,Condition&_type=Patient", ("Patient", "Condition"), None),
        ("https://ehr.example/$export?_since=2025-01-01T01:00:00%2B01:00", (), datetime(2025, 1, 1, tzinfo=UTC)),
        ("https://ehr.example/$export?_since=yesterday", (), None),
    ],
)
def test_a_manifest_tells_what_was_asked_for(
    request_url: str | None, types: tuple[str, ...] | None, since: datetime | None
) -> None:
    manifest = parse_bulk_manifest({**WHOLE, "request": request_url, "transactionTime": "soon"})
    assert (manifest.types, manifest.since, manifest.transaction_time) == (types, since, None)


def test_a_manifest_needs_no_more_than_its_output() -> None:
    assert parse_bulk_manifest({"output": []}) == BulkManifest(())
    nulls = {"output": [PATIENTS], "deleted": None, "error": None, "request": None}
    assert parse_bulk_manifest(nulls) == BulkManifest((BulkFile(str(PATIENTS["url"]), "Patient", 3),))


def test_version_4_calls_the_files_of_errors_outcome() -> None:
    errors = [{"url": "https://ehr.example/files/4.ndjson", "countSeverity": [{"severity": "error", "count": 2}]}]
    assert parse_bulk_manifest({"output": [], "outcome": errors}).errors == (
        BulkFile("https://ehr.example/files/4.ndjson", ""),
    )


@pytest.mark.parametrize(
    ("request_url", "base"),
    [
        ("https://ehr.example/fhir/$export", "https://ehr.example/fhir"),
        ("https://ehr.example/fhir/Patient/$export?_since=2020&_type=a", "https://ehr.example/fhir"),
        ("https://ehr.example/api/FHIR/R4/Group/e3.X-1/$export", "https://ehr.example/api/FHIR/R4"),
        ("http://127.0.0.1:9443/fhir/Group/1/%24export", "http://127.0.0.1:9443/fhir"),
        ("https://ehr.example/Patient/fhir/$export", "https://ehr.example/Patient/fhir"),
        ("https://ehr.example/$export", "https://ehr.example"),
        ("https://ehr.example/fhir/$import", None),
        ("ftp://ehr.example/fhir/$export", None),
        ("", None),
    ],
)
def test_the_server_s_base_is_what_stands_before_the_kind_of_export(request_url: str, base: str | None) -> None:
    assert parse_bulk_manifest({"output": [], "request": request_url}).base == base


@pytest.mark.parametrize("document", [None, [], "output", {}, {"export": "trial", "downloads": []}])
def test_another_document_is_none(document: object) -> None:
    assert not is_bulk_manifest(document)
    with pytest.raises(UntrustedDataError, match='it has no "output"'):
        parse_bulk_manifest(document)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output": {}}, '"output" is not a list of objects'),
        ({"output": None}, '"output" is not a list of objects'),
        ({"output": ["a"]}, '"output" is not a list of objects'),
        ({"error": 5}, '"error" is not a list of objects'),
        ({"deleted": [None]}, '"deleted" is not a list of objects'),
        ({"request": 5}, '"request" is not a string'),
        ({"output": [PATIENTS, {"type": "Patient"}]}, 'entry 2 of "output" has no "url"'),
        ({"output": [{**PATIENTS, "url": ""}]}, 'entry 1 of "output" has no "url"'),
        *(
            ({key: [{**PATIENTS, "type": kind}]}, 'the "type" of https://ehr.example/files/1.ndjson is not the name of')
            for key in ("output", "error", "deleted")
            for kind in (5, "../Patient", "Pat/ient", "a b", "x" * 300)
        ),
        ({"output": [{**PATIENTS, "type": ""}]}, 'has no "type"'),
        *(
            ({"output": [{**PATIENTS, "count": count}]}, "is not a number of resources")
            for count in ("3", -1, 1.5, True)
        ),
    ],
)
def test_what_makes_no_sense_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UntrustedDataError, match=said):
        parse_bulk_manifest({**WHOLE, **changes})


def test_output_that_is_not_organised_by_type_is_refused_by_name() -> None:
    document = {"outputOrganizedBy": "Patient", "output": [{"url": "https://ehr.example/files/1.ndjson"}]}
    with pytest.raises(
        UntrustedDataError, match=r'1\.ndjson has no "type"; output organised by Patient is not supported'
    ):
        parse_bulk_manifest(document)
    del document["outputOrganizedBy"]
    with pytest.raises(UntrustedDataError, match=r'1\.ndjson has no "type"; files of several types are not supported'):
        parse_bulk_manifest(document)
