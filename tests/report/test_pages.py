"""A report holds what a command answered, and nothing in it but what is ours is markup."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.pages import EVIL, about, read

from mockexport import __version__, count, open_source
from mockexport.cli.documents import counts_document, statistics_document
from mockexport.pipeline import reconcile, statistics
from mockexport.reconciliation import CODES, FIRST_PLACES, WHAT_TO_DO, Certificate, Finding
from mockexport.report import certificate_report, counts_report, statistics_report
from mockexport.report.markup import element

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

PATIENTS = 10_000
FEW_MEGABYTES = 2_000_000
STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
FIGURES: dict[str, Any] = {
    "mean": 1.0, "min": -1e308, "max": 1e308, "anomalies": 1, "latency": None, "count": 3, "not_a_number": 1,
    "sd": None, "p05": 1.0, "median": 1.0, "p95": 2.0, "first": None, "last": None, "longest_gap": None,
    "longest_gap_start": None, "duplicates": 0, "out_of_order": 1, "future": 0,
}  # fmt: skip
NO_VALUES = FIGURES | dict.fromkeys(("mean", "min", "max", "p05", "median", "p95"))


def counts_of(names: Any) -> dict[str, Any]:
    """A document of counts with these names for everything that a source names."""
    patients = {name: {other: 1 + place for place, other in enumerate(names)} for name in names}
    return {
        "patients": patients,
        "totals": dict.fromkeys(names, 5),
        "unassigned": {name: {name: 1} for name in names},
        "left_out": dict.fromkeys(names, 2),
    }


def statistics_of(names: Any) -> dict[str, Any]:
    return {
        "patients": {name: {other: FIGURES if other == name else NO_VALUES for other in names} for name in names},
        "totals": dict.fromkeys(names, FIGURES),
        "all": FIGURES,
        "ranges": dict.fromkeys(names, (None, 5.0)),
        "only": list(names),
        "suppressed": {"below": 2, "cells": 3},
        "unassigned": {name: {name: 1} for name in names},
        "left_out": dict.fromkeys(names, 2),
    }


def certificate_of(names: Any) -> Certificate:
    found = {"rows": 2, "bytes": 9, "sha256": "0" * 64, "patients": 1, "types": {}, "first": None, "last": None}
    downloads = [{"id": name, "declared": {"rows": 1}, "found": found} for name in names]
    downloads += [{"id": name, "declared": {}, "broken": name} for name in names]
    findings = [
        Finding(
            code,
            "error",
            11,
            tuple({"download": name, "reason": name, name: name} for name in names[:FIRST_PLACES]),
            {names[0]: 1},
        )
        for code in CODES
    ]
    return Certificate(
        names[0], names[0], "", "", downloads, dict.fromkeys(names, 1), 1, 1, findings, findings, {"types": list(names)}
    )


def reports_of(names: Any) -> list[str]:
    """Each report, with these names everywhere."""
    what = about(names[0], names[0], f"mockexport count {names[0]}")
    return [
        counts_report(counts_of(names), what),
        statistics_report(statistics_of(names), what),
        certificate_report(certificate_of(names), what),
    ]


def test_nothing_from_a_source_is_markup() -> None:
    for page in reports_of(EVIL):
        found = read(page)
        texts = "".join(found.texts)
        for name in EVIL:
            if name.isprintable():
                assert name in texts
        assert r"\x1b[31m\x00\u202egnirts\n\udcff" in texts


@pytest.mark.gate
@given(st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True))
def test_no_text_at_all_is_markup(names: list[str]) -> None:
    for page in reports_of(names):
        read(page)
        page.encode()


def test_an_attribute_cannot_be_left_by_its_value() -> None:
    for text in EVIL:
        found = read_element(element("p", title=text))
        assert len(found) == 1
        assert list(found[0][1]) == ["title"]


def read_element(page: str) -> list[tuple[str, dict[str, str | None]]]:
    from tests.report.pages import Read

    found = Read()
    found.feed(page)
    found.close()
    return found.elements


def test_a_browser_may_use_our_style_and_load_or_run_nothing() -> None:
    for page in reports_of(["demo"]):
        (style,) = STYLE.findall(page)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policies = [a["content"] for name, a in read(page).elements if name == "meta" and "http-equiv" in a]
        expected = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        assert policies == [expected]
        assert "://" not in page


def test_the_reports_of_an_export_are_the_same_each_time(snapshot: SnapshotAssertion) -> None:
    source = open_source("mock")
    certificate = reconcile(source, "demo")
    pages = {
        "counts": counts_report(counts_document(count(source, "demo")), about()),
        "statistics": statistics_report(statistics_document(statistics(source, "demo")), about()),
        "certificate": certificate_report(certificate, about()),
    }
    for name, page in pages.items():
        assert lines_of(page, certificate.digest) == snapshot(name=name)
        read(page)


def lines_of(page: str, digest: str) -> str:
    """A page with a line for each element, without its style and what a new version changes."""
    page = STYLE.sub("<style>…</style>", re.sub(r"sha256-[^&]+", "sha256-…", page))
    return page.replace(digest, "DIGEST").replace(f"mockexport {__version__}", "VERSION").replace("><", ">\n<")


def test_10_000_patients_are_a_small_file_that_shows_the_extremes_and_says_what_it_leaves_out() -> None:
    names = [f"P{n:05}" for n in range(PATIENTS)]
    patients = {name: {"bp_sys": 3, "bp_dia": 3 + place % 2} for place, name in enumerate(names)}
    patients["P04999"]["bp_sys"] = 500
    document = {"patients": patients, "totals": {"bp_sys": 30_497, "bp_dia": 35_000}}
    page = counts_report(document, about())
    texts = read(page).texts
    assert len(page) < FEW_MEGABYTES
    assert "P04999" in texts
    assert any(text.startswith("400 of 10,000 patients") for text in texts)
    figures = {name: {"bp_sys": FIGURES | {"anomalies": place == 4999}} for place, name in enumerate(names)}
    page = statistics_report({"patients": figures, "totals": {"bp_sys": FIGURES}, "all": FIGURES}, about())
    texts = read(page).texts
    assert len(page) < FEW_MEGABYTES
    assert "P04999" in texts
    assert any(text.startswith("200 of 10,000 pairs") for text in texts)


def test_many_types_and_downloads_are_a_small_file_too() -> None:
    names = [f"{number}-{'n' * 40}" for number in range(1000)]
    totals = dict.fromkeys(names, 1)
    page = counts_report({"patients": {"P1": totals, "P2": {}}, "totals": totals}, about())
    assert len(page) < FEW_MEGABYTES
    assert "992 other types" in read(page).texts
    assert len(certificate_report(certificate_of(names), about())) < FEW_MEGABYTES


@pytest.mark.parametrize("document", [{"patients": {}, "totals": {}}, {"patients": {"P1": {}}, "totals": {}}])
def test_an_export_without_records_has_a_report_too(document: dict[str, Any]) -> None:
    assert "Records" in read(counts_report(document, about())).texts


def test_an_export_without_figures_has_a_report_too() -> None:
    document = {"patients": {}, "totals": {}, "all": NO_VALUES | {"count": 0, "not_a_number": 0}}
    assert "Values" in read(statistics_report(document, about())).texts


def test_what_to_do_about_a_finding_is_what_the_docs_say() -> None:
    text = (Path(__file__).parents[2] / "docs/reconcile.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| [^|]* \| .* \| ([^|]*) \|$", text, re.MULTILINE)
    assert {code: told.replace("`", "") for code, told in rows} == WHAT_TO_DO
    assert list(WHAT_TO_DO) == list(CODES)
