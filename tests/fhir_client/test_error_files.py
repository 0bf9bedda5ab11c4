"""What a server says of errors and of deleted resources, beside the files of an export."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from tests.fhir_client.conftest import counted
from tests.fhir_client.scripted_fhir import Answer, ScriptedFhir, cut, document, manifest

from mockexport import UnreachableError, UntrustedDataError

if TYPE_CHECKING:
    from tests.fhir_client.conftest import OpenFhir

STATUS = "GET /fhir/jobs/1"
ERROR = (
    b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"exception","diagnostics":"lost 99%"}]}\n'
)
WARNING = (
    b'{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"informational","diagnostics":"slow"}]}'
)


def with_errors(server: ScriptedFhir, body: bytes, key: str = "error") -> None:
    listed: dict[str, Any] = {key: [{"type": "OperationOutcome", "url": f"{server.url}/errors"}]}
    server.export(**listed)
    server.on("GET /fhir/errors", Answer(body=body))


@pytest.mark.parametrize("key", ["error", "outcome"])
@pytest.mark.parametrize(
    ("body", "told"),
    [
        (ERROR, "1 error exception; lost 99%"),
        (WARNING + b"\n" + ERROR * 2, "2 error exception, 1 warning informational; lost 99%"),
        (ERROR.replace(b'"error"', b'"fatal"'), "1 fatal exception; lost 99%"),
        (b"what is this", "1 error not-an-outcome"),
    ],
)
def test_errors_of_the_server_end_the_count_unless_a_part_is_enough(
    server: ScriptedFhir, open_fhir: OpenFhir, caplog: pytest.LogCaptureFixture, key: str, body: bytes, told: str
) -> None:
    with_errors(server, body, key)
    with pytest.raises(UntrustedDataError, match=f"could not export everything: {told}"):
        counted(open_fhir(server))
    with caplog.at_level(logging.WARNING, "mockexport"):
        assert counted(open_fhir(server, allow_partial=True)) == 5
    assert f"the server says of the export: {told}" in caplog.text


def test_warnings_of_the_server_are_told(
    server: ScriptedFhir, open_fhir: OpenFhir, caplog: pytest.LogCaptureFixture
) -> None:
    with_errors(server, WARNING)
    assert counted(open_fhir(server)) == 5
    assert "the server says of the export: 1 warning informational; slow" in caplog.text


def test_an_error_file_that_is_cut_or_expired_is_read_again(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    with_errors(server, ERROR)
    server.on("GET /fhir/errors", cut(Answer(body=ERROR), 30), Answer(410), Answer(body=ERROR))
    with pytest.raises(UntrustedDataError, match="lost 99%"):
        counted(open_fhir(server))


def test_an_error_file_that_stays_expired_is_an_error(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    with_errors(server, WARNING)
    server.on("GET /fhir/errors", Answer(404))
    with pytest.raises(UntrustedDataError, match=r"lists a file of errors, but http:.*errors answered 404"):
        counted(open_fhir(server))


def test_a_manifest_that_has_changed_when_an_error_file_has_expired_is_an_error(
    server: ScriptedFhir, open_fhir: OpenFhir
) -> None:
    with_errors(server, WARNING)
    listed = {"error": [{"type": "OperationOutcome", "url": f"{server.url}/errors?new"}]}
    server.on(
        STATUS,
        server.manifest_answer,
        document(manifest({"type": "Patient", "url": f"{server.url}/files/2", "count": 2}, **listed)),
    )
    server.on("GET /fhir/errors", Answer(404), Answer(body=WARNING))
    with pytest.raises(UntrustedDataError, match="changed while its files were read"):
        counted(open_fhir(server))


def test_an_error_file_that_cannot_be_read_is_an_error(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    with_errors(server, ERROR)
    server.on("GET /fhir/errors", Answer(500))
    with pytest.raises(UnreachableError):
        counted(open_fhir(server))


def test_deleted_resources_are_told_and_not_counted(
    server: ScriptedFhir, open_fhir: OpenFhir, caplog: pytest.LogCaptureFixture
) -> None:
    server.export(deleted=[{"type": "Bundle", "url": f"{server.url}/deleted"}])
    assert counted(open_fhir(server)) == 5
    assert caplog.text.count("1 files of deleted resources, which are not counted") == 1
    assert server.count("GET /fhir/deleted") == 0
