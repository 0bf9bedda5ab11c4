"""Each code of a finding that exports of CSV can have: what it is found by, where, and that nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.conftest import KERNELS
from tests.reconcile.codes import DeclaringSource, codes, csv, found, reconciled
from tests.sources import HEADER

from mockexport import UntrustedDataError, reconcile
from mockexport.errors import Remedy
from mockexport.reconciliation import CODES

TWO = csv("P1,10:00,hr", "P2,11:00,bp")


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_export_as_declared_is_whole(kernel: str) -> None:
    start, end = datetime(2025, 1, 1, 10, tzinfo=UTC), datetime(2025, 1, 1, 11, tzinfo=UTC)
    declared = {"event_types": ("hr", "bp"), "patients": ("P1", "P2"), "start_time": start, "end_time": end}
    certificate = reconciled({"a": TWO}, kernel, rows={"a": 2}, fields={"a": declared})
    assert certificate.whole
    assert not certificate.findings
    assert (certificate.records, certificate.patients, certificate.distinct) == ({"hr": 1, "bp": 1}, 2, 2)


@pytest.mark.parametrize("declared", [1, 3])
def test_rows_differ_after_a_second_reading(kernel: str, declared: int) -> None:
    certificate = reconciled({"a": TWO}, kernel, rows={"a": declared})
    assert codes(certificate) == {"rows-differ": ("error", 1)}
    assert found(certificate, "rows-differ") == [{"download": "a", "declared": declared, "found": 2}]
    assert not certificate.whole
    assert certificate.records == {"hr": 1, "bp": 1}


def test_bytes_differ_from_those_declared() -> None:
    certificate = reconciled({"a": TWO}, told={"sizes": {"a": len(TWO) + 1}})
    assert codes(certificate) == {"bytes-differ": ("error", 1)}
    assert found(certificate, "bytes-differ") == [{"download": "a", "declared": len(TWO) + 1, "found": len(TWO)}]


def test_the_checksum_differs_from_the_one_declared() -> None:
    certificate = reconciled({"a": TWO}, told={"sha256": {"a": "0" * 64}})
    assert codes(certificate) == {"checksum-differs": ("error", 1)}


def test_what_is_missing_and_what_is_undeclared_is_told() -> None:
    certificate = reconciled({"a": TWO}, told={"missing": ["b.csv"], "undeclared": ["c.csv", "d.csv"]})
    assert codes(certificate) == {"download-missing": ("error", 1), "download-undeclared": ("error", 2)}
    assert found(certificate, "download-undeclared") == [{"download": "c.csv"}, {"download": "d.csv"}]


def test_a_download_that_cannot_be_read_is_broken_and_the_others_are_read(kernel: str) -> None:
    certificate = reconciled({"a": b"no,header\n1,2\n", "b": TWO, "c": b""}, kernel)
    assert codes(certificate) == {"download-broken": ("error", 2)}
    assert "no column patient_id" in found(certificate, "download-broken")[0]["reason"]
    assert certificate.records == {"hr": 1, "bp": 1}
    assert ["found" in download for download in certificate.downloads] == [False, True, False]


def test_malformed_rows_are_told_by_reason_and_line(kernel: str) -> None:
    certificate = reconciled({"a": TWO + b"P3,x\n" + TWO[len(HEADER) :] + b",x,hr,1\n"}, kernel, rows={"a": 6})
    assert codes(certificate) == {"malformed": ("error", 2), "duplicate": ("warning", 2)}
    assert found(certificate, "malformed") == [
        {"download": "a", "line": 4, "reason": "too few fields"},
        {"download": "a", "line": 7, "reason": "empty patient_id"},
    ]
    assert certificate.findings[0].by == {"too few fields": 1, "empty patient_id": 1}


def test_patients_are_compared_both_ways() -> None:
    certificate = reconciled({"a": TWO}, fields={"a": {"patients": ("P1", "P3")}})
    assert codes(certificate) == {"patient-undeclared": ("error", 1), "patient-absent": ("warning", 1)}
    assert found(certificate, "patient-undeclared") == [{"download": "a", "patient": "P2"}]
    assert found(certificate, "patient-absent") == [{"download": "a", "patient": "P3"}]


def test_types_are_compared_both_ways() -> None:
    certificate = reconciled({"a": TWO}, fields={"a": {"event_types": ("hr", "spo2")}})
    assert codes(certificate) == {"type-undeclared": ("error", 1), "type-absent": ("warning", 1)}
    assert found(certificate, "type-undeclared") == [{"download": "a", "type": "bp"}]


def test_events_outside_the_window_are_told_on_both_sides(kernel: str) -> None:
    body = csv("P1,09:59,hr", "P1,10:00,hr", "P1,11:00,hr", "P1,11:01,hr")
    window = {"start_time": datetime(2025, 1, 1, 10, tzinfo=UTC), "end_time": datetime(2025, 1, 1, 11, tzinfo=UTC)}
    certificate = reconciled({"a": body}, kernel, fields={"a": window})
    assert codes(certificate) == {"outside-window": ("error", 2)}
    assert found(certificate, "outside-window") == [
        {"download": "a", "line": 2, "is": "before"},
        {"download": "a", "line": 5, "is": "after"},
    ]


def test_the_same_row_twice_in_a_download_is_a_duplicate(kernel: str) -> None:
    body = csv("P1,10:00,hr", "P1,10:01,hr", "P1,10:00,hr")
    certificate = reconciled({"a": body}, kernel)
    assert codes(certificate) == {"duplicate": ("warning", 1)}
    assert found(certificate, "duplicate") == [{"download": "a", "line": 4, "repeats": {"download": "a", "line": 2}}]
    assert certificate.distinct == 2


def test_rows_are_equal_however_they_are_quoted_and_ended(kernel: str) -> None:
    body = HEADER + b'P1,t,"a""b",1\r\n"P1",t,"a""b","1"\nP1,t,"a""b",2\n"P1,t",t,b,1\nP1,t,tb,1'
    certificate = reconciled({"a": body}, kernel)
    assert found(certificate, "duplicate") == [{"download": "a", "line": 3, "repeats": {"download": "a", "line": 2}}]
    assert certificate.distinct == 4


def test_the_same_row_in_two_downloads_is_a_duplicate_across(kernel: str) -> None:
    certificate = reconciled({"a": TWO, "b": TWO, "c": csv("P2,11:00,bp")}, kernel)
    assert codes(certificate) == {"duplicate-across": ("error", 3)}
    assert found(certificate, "duplicate-across")[-1] == {
        "download": "c", "line": 2, "repeats": {"download": "a", "line": 3},
    }  # fmt: skip


def test_only_the_first_ten_places_are_kept(kernel: str) -> None:
    certificate = reconciled({"a": csv(*["P1,10:00,hr"] * 30)}, kernel)
    assert codes(certificate) == {"duplicate": ("warning", 29)}
    assert [place["line"] for place in found(certificate, "duplicate")] == list(range(3, 13))


@pytest.mark.parametrize(
    "bodies",
    [{"a": csv("P1,10:00,hr"), "b": csv("P2,10:00,hr")}, {"a": csv("P1,10:00,hr", "P2,10:00,hr")}],
    ids=["in all", "in one download"],
)
def test_too_many_pairs_end_the_run(bodies: dict[str, bytes], kernel: str) -> None:
    with pytest.raises(UntrustedDataError, match="more than 1 distinct") as caught:
        reconcile(DeclaringSource(bodies), "trial", max_pairs=1, kernel=kernel)
    assert caught.value.remedy is Remedy.MAX_PAIRS


def test_every_code_is_documented_and_tested() -> None:
    here = Path(__file__).parent
    documented = (here.parents[1] / "docs/reconcile.md").read_text()
    tested = "".join(path.read_text() for path in here.glob("test_*.py"))
    for code in CODES:
        assert f"| `{code}` |" in documented
        assert f'"{code}"' in tested
