"""The certificate: its digest is the same for the same data, and the command writes it, says it, and ends by it."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import TYPE_CHECKING

import orjson
import pytest
from tests.commands import run_command
from tests.conftest import KERNELS
from tests.fhir.folders import bulk_data_client
from tests.reconcile.codes import codes, csv, found, ndjson, reconciled

from mockexport import fetch, open_source, process_workers, reconcile, thread_workers
from mockexport.reconciliation import certificate_digest

if TYPE_CHECKING:
    from pathlib import Path

ROWS = csv("P1,10:00,hr", "P2,11:00,bp")


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    fetch(open_source("mock"), "demo", folder)
    return folder


def test_the_digest_is_the_same_whatever_the_run_the_kernel_and_the_workers(kept: Path) -> None:
    source = open_source(kept)
    digests = {reconcile(source, "demo", kernel=kernel, memory=1 << 20).digest for kernel in KERNELS}
    for workers, jobs in ((thread_workers, 1), (thread_workers, 3), (process_workers, 2)):
        digests.add(reconcile(source, "demo", start_workers=partial(workers, jobs=jobs), jobs=jobs).digest)
    assert len(digests) == 1


def test_a_folder_that_was_fetched_has_the_records_of_its_source(kept: Path) -> None:
    mock, folder = reconcile(open_source("mock"), "demo"), reconcile(open_source(kept), "demo")
    assert mock.whole
    assert folder.whole
    assert [download["found"] for download in mock.downloads] == [download["found"] for download in folder.downloads]
    assert mock.digest != folder.digest  # each names its source
    assert folder.downloads[0]["declared"]["sha256"] == folder.downloads[0]["found"]["sha256"]


def test_the_digest_is_that_of_canonical_json_without_the_times() -> None:
    certificate = reconciled({"a": ROWS}, rows={"a": 3})
    document = json.loads(orjson.dumps(certificate.document()))
    assert list(document) == sorted(document)
    del document["begun"], document["ended"]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert certificate.digest == hashlib.sha256(text.encode()).hexdigest() == certificate_digest(document)


def test_by_patient_is_there_only_if_it_was_asked_for() -> None:
    from tests.reconcile.codes import DeclaringSource

    source = DeclaringSource({"a": ROWS})
    assert "by_patient" not in reconcile(source, "trial").document()
    document = reconcile(source, "trial", by_patient=True).document()
    assert (document["by_patient"], document["deleted"]) == ({"P1": {"hr": 1}, "P2": {"bp": 1}}, [])


def test_a_folder_of_a_fhir_client_is_compared_with_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    names = bulk_data_client(tmp_path / "7")
    whole = reconcile(open_source(tmp_path), "7")
    assert whole.asked == {"types": [], "transaction_time": "2025-06-26T00:00:00Z"}
    (tmp_path / "7" / names[0]).unlink()
    (tmp_path / "7" / "9.Patient.ndjson").write_bytes(ndjson({"resourceType": "Patient", "id": "9"}))
    assert {"download-missing", "download-undeclared"} <= codes(reconcile(open_source(tmp_path), "7")).keys()


def test_deleted_and_error_files_of_a_folder_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    for name in ("deleted", "error"):
        (folder / name).mkdir(parents=True)
    (folder / "1.Patient.ndjson").write_bytes(ndjson({"resourceType": "Patient", "id": "1"}))
    entry = [{"request": {"method": "DELETE", "url": "Patient/1"}}]
    (folder / "deleted/1.Bundle.ndjson").write_bytes(ndjson({"resourceType": "Bundle", "entry": entry}))
    issues = [{"severity": "error", "code": "processing"}]
    (folder / "error/1.OperationOutcome.ndjson").write_bytes(
        ndjson({"resourceType": "OperationOutcome", "issue": issues})
    )
    certificate = reconcile(open_source(tmp_path), "7", by_patient=True)
    assert codes(certificate) == {"deleted-present": ("error", 1), "server-error": ("error", 1)}
    assert certificate.deleted == ["Patient/1"]


def test_a_fetched_folder_tells_what_is_missing_changed_and_not_its_own(kept: Path, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    for file in (kept / "demo").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    first, second = sorted(folder.glob("*.csv"))
    first.write_bytes(first.read_bytes().replace(b"bp_sys,", b"bp_sys,1", 1))
    second.rename(folder / "other.csv")
    certificate = reconcile(open_source(tmp_path), "demo")
    assert codes(certificate) == {
        "checksum-differs": ("error", 1), "download-missing": ("error", 1), "download-undeclared": ("error", 1),
    }  # fmt: skip
    assert found(certificate, "download-missing") == [{"download": second.name}]


def test_the_command_ends_with_1_unless_the_findings_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(ROWS)
    (tmp_path / "b.csv").write_bytes(ROWS)
    arguments = ("reconcile", "-s", "*.csv", tmp_path.name)
    ended = run_command(tmp_path, *arguments)
    assert ended.code == 1
    assert json.loads(ended.stdout)["findings"][0]["code"] == "duplicate-across"
    assert "duplicate-across  2  records that are in another download, too" in ended.stderr
    allowed = run_command(tmp_path, *arguments, "--allow", "duplicate-across")
    assert allowed.code == 0
    assert json.loads(allowed.stdout)["accepted"][0]["count"] == 2
    assert run_command(tmp_path, *arguments, "--allow", "duplicate-across", "--deny", "duplicate-across").code == 0


def test_a_warning_that_is_denied_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv("P1,10:00,hr", "P1,10:00,hr"))
    assert run_command(tmp_path, "reconcile", "-s", "a.csv").code == 0
    assert run_command(tmp_path, "reconcile", "-s", "a.csv", "--deny", "duplicate").code == 1


def test_the_command_writes_the_digest_alone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(ROWS)
    ended = run_command(tmp_path, "reconcile", "-s", "a.csv", "--digest", "-o", "cert.json", "--quiet")
    assert ended.stderr == ""
    assert ended.stdout == certificate_digest(json.loads((tmp_path / "cert.json").read_text())) + "\n"
    assert f"digest  {ended.stdout}" in run_command(tmp_path, "reconcile", "-s", "a.csv").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--allow", "duplicat"), "--allow 'duplicat' is not the code of a finding; did you mean 'duplicate'?"),
        (("--deny", "x"), "--deny 'x' is not the code of a finding; there are rows-differ, "),
        (("--memory", "much"), "--memory 'much' is not a size of at least 1MB"),
        (("--ask-server",), "a.csv is not a FHIR server"),
    ],
)
def test_what_is_wrong_with_an_option_is_told_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "a.csv").write_bytes(ROWS)
    ended = run_command(tmp_path, "reconcile", "-s", "a.csv", *arguments)
    assert ended.code == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


def test_csv_has_a_row_for_each_finding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv("P1,10:00,hr", "P1,10:00,hr") + b"x\n")
    ended = run_command(tmp_path, "reconcile", "-s", "a.csv", "--format", "csv", "--allow", "duplicate")
    assert ended.stdout.splitlines() == [
        "code,severity,accepted,count,meaning,places",
        'malformed,error,false,1,rows that are no records,"a, line 4, too few fields"',
        'duplicate,warning,true,1,records that are twice in a download,"a, line 3, again line 2"',
    ]


def test_verbose_tells_that_keys_are_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv(*(f"P{row},10:00,hr" for row in range(100_000))))
    ended = run_command(tmp_path, "reconcile", "-s", "a.csv", "--memory", "1MB", "-v", "--digest", "--jobs", "1")
    assert "MB of them on disk" in ended.stderr
    assert "on disk" not in run_command(tmp_path, "reconcile", "demo", "-v", "--digest").stderr


def test_downloads_that_declare_no_rows_are_told_beside_the_verdict(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(ROWS)
    ended = run_command(tmp_path, "reconcile", "-s", "a.csv", "--allow", "duplicate")
    assert ended.code == 0
    assert "of 1 download no number of rows was declared\n" in ended.stderr
    assert "was declared" not in run_command(tmp_path, "reconcile", "demo").stderr
