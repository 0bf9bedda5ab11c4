"""What the user writes about faults, on the command line or in a file, and docs/faults.md, which tells of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mockexport.errors import UsageError
from mockexport.server.faults.spec import AMOUNTS, BULK_AMOUNTS, ROUTES, FaultPlan, Rule, read_faults

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"


def test_a_plan_is_read_from_one_line() -> None:
    spec = " data:cut=10..20,p=0.1,times=3,where=between ; any:status=429,retry-after=date:5;download:rows=-1;seed=7 "
    assert read_faults(spec) == FaultPlan(
        (
            Rule("data", "cut", "10..20", p=0.1, times=3, where="between"),
            Rule("any", "status", "429", retry_after="date:5"),
            Rule("download", "rows", "-1"),
        ),
        seed=7,
    )


def toml_in_document() -> str:
    text: str = DOCUMENT.read_text(encoding="utf-8")
    return text.partition("```toml\n")[2].partition("```")[0]


def test_a_toml_file_says_the_same_as_one_line(tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(toml_in_document(), encoding="utf-8")
    assert read_faults(str(file)) == read_faults(
        "data:cut=1000..200000,p=0.2,where=between;data:status=429,times=1,retry-after=2;download:rows=-1,p=0.05;seed=7"
    )


def test_the_document_names_every_fault_and_route() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in [*AMOUNTS, *BULK_AMOUNTS, *ROUTES] if f"| `{name}" not in text] == []


def test_the_examples_in_the_document_are_read() -> None:
    specs = DOCUMENT.read_text(encoding="utf-8").split("--faults '")[1:]
    assert len(specs) > 3
    for spec in specs:
        assert read_faults(spec.partition("'")[0]).rules


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("cut=5", "'cut=5' has no route"),
        ("nowhere:cut=5", "no route 'nowhere'"),
        ("data:bite=5", "no fault 'bite'"),
        ("data:cut", "amount ''"),
        ("data:cut=", "amount ''"),
        ("data:cut=-5", "amount '-5'"),
        ("data:cut=1e3", "amount '1e3'"),
        ("data:cut=5..", "amount '5..'"),
        ("data:cut=20..10", "range 20..10 is empty"),
        ("data:slow=fast", "amount 'fast'"),
        ("data:latency=-1", "amount '-1'"),
        ("data:status=200", "amount '200'"),
        ("data:status=5000", "amount '5000'"),
        ("data:length=ten", "amount 'ten'"),
        ("download:rows=1.5", "amount '1.5'"),
        ("data:malformed=1.5", "amount '1.5'"),
        ("data:etag=1", "amount '1'"),
        ("data:cut=5,p=2", "p '2'"),
        ("data:cut=5,p=", "p ''"),
        ("data:cut=5,times=-1", "times '-1'"),
        ("data:cut=5,where=outside", "where 'outside'"),
        ("data:status=429,retry-after=soon", "retry-after 'soon'"),
        ("data:cut=5,q=1", "unknown option 'q'"),
        ("data:cut=5,", "unknown option ''"),
        ("data:cut=5,p=0.1,p=0.2", "p twice"),
        ("data:cut=5,route=any", "route twice"),
        ("data:cut=5;seed=x", "'seed=x' has no route"),
        ("data:redirect=307", "redirect is for the routes kickoff, poll, file, token and fhir"),
        ("file:redirect=300", "amount '300'"),
        ("file:expired=403", "amount '403'"),
        ("poll:retry-after=soon", "amount 'soon'"),
        ("poll:error-file=bad", "amount 'bad'"),
        ("poll:deleted=Patient", "amount 'Patient'"),
        ("missing.toml", "cannot read missing.toml: No such file or directory"),
    ],
)
def test_a_wrong_spec_is_named(spec: str, named: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_faults(spec)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("seed = ", "is not valid TOML: "),
        ('seed = "7"', "a number `seed`"),
        ("seed = true", "a number `seed`"),
        ("fault = 5", "tables [[fault]]"),
        ("fault = [5]", "tables [[fault]]"),
        ("faults = 5", "nothing else"),
        ('[[fault]]\nroute = "data"\n', "no fault ''"),
        ('[[fault]]\nroute = "data"\nfault = "cut"\namount = [5]\n', "amount '[5]'"),
        ('[[fault]]\nroute = "data"\nfault = "cut"\namount = 5\ncolour = "red"\n', "unknown option 'colour'"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_faults(str(file))
    assert named in str(caught.value)
