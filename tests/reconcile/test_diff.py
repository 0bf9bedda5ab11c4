"""`mockexport diff`: what came and went between two exports, and what of it was deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.commands import run_command

from mockexport.errors import UntrustedDataError
from mockexport.reconciliation import diff_certificates, read_certificate

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "patient_id,event_time,event_type,value\n"
SOUND: dict[str, Any] = {
    "mockexport": "0.1.0",
    "source": "s",
    "export": "e",
    "whole": True,
    "records": {"Observation": 2, "Patient": 1},
    "patients": 1,
    "distinct": 3,
    "downloads": [{"id": "1", "found": {"sha256": "a"}}],
    "by_patient": {"p": {"Observation": 2, "Patient": 1}},
    "deleted": [],
}


def certificate(**other: Any) -> dict[str, Any]:
    return {name: value for name, value in {**SOUND, **other}.items() if value is not None}


def of_patients(by_patient: dict[str, dict[str, int]], deleted: list[str] | None = None) -> dict[str, Any]:
    records: dict[str, int] = {}
    for types in by_patient.values():
        for name, n in types.items():
            records[name] = records.get(name, 0) + n
    return certificate(
        by_patient=by_patient, records=records, patients=len(by_patient), distinct=sum(records.values()),
        deleted=deleted if deleted is not None else [],
    )  # fmt: skip


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    rows = [f"P00{n % 3},2025-08-26T00:00:0{n}Z,bp_{'sys' if n % 2 else 'dia'},{70 + n}\n" for n in range(9)]
    for name, kept in {"one": rows, "same": rows, "less": rows[:7], "other": [*rows[:8], "P009,t,spo2,1\n"]}.items():
        (tmp_path / "exports" / name).mkdir(parents=True)
        (tmp_path / "exports" / name / "a.csv").write_text(HEADER + "".join(kept))
    return tmp_path


def test_two_equal_exports_exit_with_0_and_say_so(exports: Path) -> None:
    done = run_command(exports, "diff", "one", "same", "-s", "exports")
    assert (done.code, done.stderr) == (0, "mockexport: equal: both have the same numbers of records\n")
    document = orjson.loads(done.stdout)
    assert (document["equal"], document["types"], document["patients"]) == (True, [], [])


def test_what_went_is_told_by_type_and_patient_with_exit_code_1(exports: Path) -> None:
    done = run_command(exports, "diff", "one", "less", "-s", "exports", "--format", "csv")
    assert done.code == 1
    assert done.stdout.splitlines() == [
        "patient_id,type,before,after,difference,deleted",
        ",bp_dia,5,4,-1,0",
        ",bp_sys,4,3,-1,0",
        "P001,bp_sys,2,1,-1,0",
        "P002,bp_dia,2,1,-1,0",
    ]
    assert "0 records came; 2 went" in done.stderr


def test_what_came_is_told_too(exports: Path) -> None:
    done = run_command(exports, "diff", "one", "other", "-s", "exports")
    document = orjson.loads(done.stdout)
    assert (done.code, document["came"], document["went"]) == (1, ["P009"], [])
    assert {"type": "spo2", "before": None, "after": 1, "difference": 1, "deleted": 0} in document["types"]


@pytest.mark.gate
def test_a_certificate_and_an_export_are_compared(exports: Path) -> None:
    made = run_command(
        exports, "reconcile", "one", "-s", "exports", "--by-patient", "-o", "one.json", "--allow=duplicate"
    )
    assert made.code == 0, made.stderr
    assert run_command(exports, "diff", "one.json", "same", "-s", "exports").code == 0
    assert run_command(exports, "diff", "one.json", "less", "-s", "exports").code == 1
    assert run_command(exports, "diff", "less", "one.json", "-s", "exports").code == 1
    assert run_command(exports, "diff", "one.json", "one.json").code == 0


def test_exports_of_two_sources_are_compared(exports: Path) -> None:
    (exports / "moved").mkdir()
    (exports / "exports" / "less").rename(exports / "moved" / "one")
    done = run_command(exports, "diff", "one", "one", "-s", "exports", "--other-source", "moved", "--table")
    assert done.code == 1
    assert "2 changes" in done.stdout


def test_without_records_by_patient_it_says_what_it_cannot_tell() -> None:
    before, after = certificate(by_patient=None, deleted=None), certificate(records={"Observation": 1, "Patient": 1})
    diff = diff_certificates(before, after)
    assert diff.patients is None
    assert [change.difference for change in diff.types] == [-1]
    assert any("before has no by_patient" in line for line in diff.unknown)
    assert any("after has no list of it" in line for line in diff_certificates(after, before).unknown)


def test_an_export_that_is_not_whole_is_told() -> None:
    diff = diff_certificates(certificate(whole=False), certificate())
    assert diff.equal
    assert diff.unknown == ["whether these are all changes: before is not whole"]


def test_deleted_resources_explain_as_many_as_went_of_their_type() -> None:
    before = of_patients({"p": {"Observation": 5, "Patient": 1}})
    after = of_patients({"p": {"Observation": 2, "Patient": 1}}, ["Observation/1", "Observation/2"])
    (change,) = diff_certificates(before, after).types
    assert (change.type, change.difference, change.deleted) == ("Observation", -3, 2)


def test_whose_deleted_resources_were_is_not_told() -> None:
    before = of_patients({"p": {"Observation": 5}, "q": {"Observation": 1}})
    after = of_patients({"p": {"Observation": 4}, "q": {"Observation": 1}}, ["Observation/1"])
    (change,) = diff_certificates(before, after).patients or []
    assert (change.patient, change.difference, change.deleted) == ("p", -1, None)


def test_a_deleted_patient_explains_all_of_it() -> None:
    before = of_patients({"p": {"Observation": 5, "Patient": 1}, "q": {"Patient": 1}})
    after = of_patients({"q": {"Patient": 1}}, ["Patient/p"])
    diff = diff_certificates(before, after)
    assert [(change.type, change.deleted) for change in diff.patients or []] == [("Observation", 5), ("Patient", 1)]
    assert diff.went == ["p"]


def test_what_went_without_being_deleted_is_not_explained() -> None:
    before = of_patients({"p": {"Patient": 1}, "q": {"Patient": 1}})
    after = of_patients({"q": {"Patient": 1}}, ["Patient/x"])
    (change,) = diff_certificates(before, after).patients or []
    assert (change.patient, change.deleted) == ("p", 0)


def test_other_bytes_with_the_same_counts_are_told() -> None:
    other = certificate(downloads=[{"id": "1", "found": {"sha256": "b"}}])
    diff = diff_certificates(certificate(), other)
    assert (diff.equal, diff.other_bytes) == (True, 1)
    assert diff_certificates(certificate(), certificate(downloads=[])).other_bytes is None


counts = st.dictionaries(
    st.sampled_from("pqr"), st.dictionaries(st.sampled_from("AB"), st.integers(1, 5), min_size=1), max_size=3
)


@given(before=counts, after=counts)
def test_the_changes_lead_from_one_export_to_the_other(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]
) -> None:
    diff = diff_certificates(of_patients(before), of_patients(after))
    made = {(patient, name): n for patient, types in before.items() for name, n in types.items()}
    for change in diff.patients or []:
        made[str(change.patient), change.type] = (change.before or 0) + change.difference
    assert {key: n for key, n in made.items() if n} == {
        (patient, name): n for patient, types in after.items() for name, n in types.items()
    }
    assert diff.equal == (before == after)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "it is not a certificate; create one"),
        ({"patients": {}, "totals": {}}, "it is not a certificate; create one"),
        (certificate(records=None), '"records" is missing or of another kind'),
        (certificate(records={"A": "1"}), '"records" does not hold numbers by type'),
        (certificate(by_patient={"p": 1}), '"by_patient" does not hold numbers'),
        (certificate(deleted=[1]), '"deleted" is not a list of ids'),
        (certificate(downloads=[1]), '"downloads" does not hold downloads'),
        (certificate(downloads=[{"id": "a", "found": 1}]), '"downloads" does not hold downloads'),
    ],
)
def test_what_is_no_certificate_is_refused(document: Any, message: str) -> None:
    with pytest.raises(UntrustedDataError, match=message):
        read_certificate(document)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("no.json", "one"), 3, "no such file: no.json; create a certificate with `mockexport reconcile -o FILE`"),
        (("bad.json", "one"), 6, "bad.json: it is not valid JSON"),
        (("counts.json", "one"), 6, "counts.json: it is not a certificate; create one"),
        (("one", "absent"), 3, "no export 'absent' in exports"),
        (("one", "one", "--other-source", "nowhere"), 3, "nowhere"),
        (("one", "one", "--memory", "12"), 2, "--memory '12' is not a size of at least 1MB"),
        (("one",), 2, "AFTER"),
    ],
)
def test_a_bad_argument_is_one_clear_line(exports: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    (exports / "bad.json").write_text("{")
    (exports / "counts.json").write_text('{"patients": {}, "totals": {}}')
    done = run_command(exports, "diff", *arguments, "-s", "exports")
    assert (done.code, done.stdout) == (code, "")
    assert message in done.stderr
