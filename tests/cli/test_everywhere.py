"""The same export from everywhere gives the same answer, byte for byte, and it is the golden one."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mockexport import open_source
from mockexport.settings import Settings
from mockexport.tally import tally_name

if TYPE_CHECKING:
    from tests.cli.conftest import RunCommand

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "mock-exports.json").read_bytes())
CODES = {"heart_rate": "8867-4", "spo2": "59408-5", "bp_sys": "8480-6", "bp_dia": "8462-4"}
COMMITTED = Path(__file__).parents[2] / "outputs"
pytestmark = pytest.mark.kernel
IS_NATIVE = tally_name(Settings.from_environment().kernel) != "pure"


@pytest.fixture
def server(start: Any) -> str:
    """The URL of `mockexport serve`."""
    return url_of(start("serve", "--port", "0"))


def url_of(served: Any) -> str:
    line = served.stderr.readline()
    found = re.search(r"listening on (http://\S+)", line)
    assert found, line
    return found[1]


@pytest.mark.parametrize(
    "export", ["demo", pytest.param("small", marks=pytest.mark.slow), pytest.param("large", marks=pytest.mark.slow)]
)
def test_mock_server_and_fetched_folder_give_the_committed_answer_and_the_golden_totals(
    export: str, command: RunCommand, server: str
) -> None:
    committed = (COMMITTED / f"{export}.json").read_text()
    assert json.loads(committed)["totals"] == GOLDEN[export]["totals"]
    assert command("count", export).stdout == committed
    assert command("count", export, "--source", server).stdout == committed
    assert command("downloads", "fetch", export, "--source", server, "--dir", "kept").code == 0
    assert command("count", export, "--source", "kept").stdout == committed
    assert command("verify", COMMITTED / f"{export}.json", "--source", server).code == 0


@pytest.mark.parametrize("export", ["demo", pytest.param("small", marks=pytest.mark.slow)])
def test_plain_python_gives_the_committed_answer(export: str, command: RunCommand) -> None:
    counted = command("count", export, MOCKEXPORT_KERNEL="pure")
    assert counted.stdout == (COMMITTED / f"{export}.json").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not IS_NATIVE, reason="minutes, in plain Python")
def test_large_from_mock_gives_the_committed_answer(command: RunCommand) -> None:
    assert command("count", "large").stdout == (COMMITTED / "large.json").read_text()


@pytest.mark.gate
def test_made_up_fhir_is_the_same_from_a_server(command: RunCommand, start: Any) -> None:
    url = url_of(start("serve", "--source", "mock-fhir", "--port", "0"))
    for listing in (("exports", "list"), ("downloads", "list", "demo"), ("downloads", "list", "large")):
        here = command(*listing, "--source", "mock-fhir")
        assert here.code == 0
        assert command(*listing, "--source", url).stdout == here.stdout
    with closing(open_source("mock-fhir")) as mock, closing(open_source(url)) as server:
        for download in server.downloads("demo"):
            assert download.format == "ndjson"
            assert b"".join(server.open(download)) == b"".join(mock.open(download))


@pytest.mark.parametrize("export", ["demo", pytest.param("small", marks=pytest.mark.slow)])
def test_made_up_fhir_has_the_committed_numbers_under_its_codes(export: str, command: RunCommand) -> None:
    if export != "demo" and not IS_NATIVE:
        pytest.skip("minutes, in plain Python")
    committed = json.loads((COMMITTED / f"{export}.json").read_bytes())["patients"]
    counted = command("count", export, "--source", "mock-fhir", "--by", "code")
    assert counted.code == 0
    assert json.loads(counted.stdout)["patients"] == {
        patient: {"Patient": 1, **{f"http://loinc.org|{CODES[kind]}": number for kind, number in types.items()}}
        for patient, types in committed.items()
    }
