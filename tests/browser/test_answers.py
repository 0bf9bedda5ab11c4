"""The answers of runs in a real browser: counts with many types, statistics, certificates; taken away, and printed."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from tests.server.page.kinds import HeldRun
from tests.server.page.serving import page_over
from tests.sources import HEADER, MemorySource, csv_body

from mockexport.cli.page import kinds_of_runs
from mockexport.server import Answer
from mockexport.sources import MockSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx
    from tests.browser.conftest import Look

pytestmark = pytest.mark.browser
PATIENTS, TYPES = 60, 100
MANY_ROWS = 230_000  # more than a browser can draw at 36 pixels each


def many_types() -> bytes:
    """Each patient has two records of each type; type_007 has three; and P003 has 50 of type_099 alone."""
    rows = [f"P{patient:03},2025-08-26T00:00:04Z,type_{n:03},1\n" for patient in range(PATIENTS) for n in range(TYPES)]
    seventh = [f"P{patient:03},2025-08-26T00:00:05Z,type_007,1\n" for patient in range(PATIENTS)]
    rows += [row for row in rows if "type_099" not in row]
    return HEADER + "".join(rows + seventh + ["P003,2025-08-26T00:00:05Z,type_099,1\n"] * 50).encode()


@pytest.fixture(scope="module")
def counted() -> Iterator[httpx.Client]:
    """An export of many types."""
    source = MemorySource({"a": many_types()}, chunk_bytes=1 << 16)
    with page_over(source, kinds_of_runs(source, "auto")) as (client, _):
        yield client


@pytest.fixture(scope="module")
def mock() -> Iterator[httpx.Client]:
    """The generated exports, with the command line's own runs."""
    source = MockSource()
    with page_over(source, kinds_of_runs(source, "auto")) as (client, _):
        yield client


def test_all_types_can_be_reached_and_the_page_says_that_there_are_more(look: Look, counted: httpx.Client) -> None:
    with look(counted.base_url) as looking:
        page = looking.page
        looking.go()
        page.get_by_role("button", name="Count trial").click()
        expect(page.get_by_text("There are 100 types. 40 are shown at a time")).to_be_visible()
        table = page.get_by_role("table", name="Counts of trial")
        heads = table.get_by_role("columnheader")
        expect(heads).to_have_count(42)  # with those of the patients and the totals
        expect(heads.nth(1)).to_have_text("type_007")  # the one with the most records
        total = table.get_by_role("button", name="Total")
        total.click()
        expect(table.locator("tbody th").first).to_have_text("P003")
        page.get_by_role("combobox", name="Types").select_option("81 to 100 of 100")
        expect(heads).to_have_count(22)
        expect(heads.nth(20)).to_have_text("type_099")
        expect(table.locator("tbody th").first).to_have_text("P003")  # it is still sorted by the totals
        page.get_by_label("Types with").fill("TYPE_05")
        expect(heads).to_have_count(12)
        expect(page.get_by_role("combobox", name="Types").locator("option")).to_have_text(["1 to 10 of 10"])
        assert looking.findings() == []
        page.get_by_label("Types with").fill("nothing")
        expect(heads).to_have_count(2)


def test_who_stands_out_does_so_in_a_type_that_is_not_shown(look: Look, counted: httpx.Client) -> None:
    with look(counted.base_url) as looking:
        page = looking.page
        looking.go()
        page.get_by_role("button", name="Count trial").click()
        page.get_by_label("Types with").fill("type_05")
        page.get_by_label("only those that stand out").check()
        expect(page.get_by_text("1 of 60 patients")).to_be_visible()
        expect(page.get_by_role("rowheader", name="P003")).to_be_visible()


def test_patients_are_in_the_order_of_their_ids_also_if_these_are_numbers(look: Look) -> None:
    rows = [f"{patient},2025-08-26T00:00:04Z,bp_sys,1\n" for patient in ("b", "9", "10", "a")]
    source = MemorySource({"a": HEADER + "".join(rows).encode()})
    with page_over(source, kinds_of_runs(source, "auto")) as (client, _), look(client.base_url) as looking:
        looking.go()
        looking.page.get_by_role("button", name="Count trial").click()
        patients = looking.page.get_by_role("table").locator("tbody th")
        expect(patients).to_have_text(["10", "9", "a", "b"])


def test_statistics_show_what_the_command_writes(look: Look, mock: httpx.Client) -> None:
    with look(mock.base_url) as looking:
        page = looking.page
        looking.go()
        page.get_by_role("button", name="Statistics demo").click()
        table = page.get_by_role("table", name="Statistics of demo")
        expect(table.get_by_role("row")).to_have_count(9)
        expect(page.get_by_text("8 rows", exact=True)).to_be_visible()
        expect(table.get_by_role("row", name="P001 bp_sys")).to_contain_text("119.179")
        mean = table.get_by_role("columnheader", name="mean")
        mean.get_by_role("button").click()
        expect(mean).to_have_attribute("aria-sort", "descending")
        expect(table.locator("tbody tr:not(.gap) td").first).to_have_text("bp_sys")
        assert looking.findings() == []


def test_a_whole_export_has_no_findings(look: Look, mock: httpx.Client) -> None:
    with look(mock.base_url) as looking:
        looking.go()
        looking.page.get_by_role("button", name="Reconcile demo").click()
        expect(looking.page.get_by_text("The export is whole: what was declared was found.")).to_be_visible()
        expect(looking.page.get_by_text("No findings.")).to_be_visible()
        assert looking.findings() == []


@pytest.mark.parametrize("width", [360, 1280])
def test_the_findings_of_an_export_that_is_not_whole_are_told_in_full(look: Look, width: int) -> None:
    source = MemorySource({"a": csv_body(3), "b": csv_body(1)}, rows={"a": 7, "b": 1})
    with (
        page_over(source, kinds_of_runs(source, "auto")) as (client, _),
        look(client.base_url, viewport={"width": width, "height": 800}) as looking,
    ):
        page = looking.page
        looking.go()
        page.get_by_role("button", name="Reconcile trial").click()
        expect(page.get_by_text("The export is not whole.")).to_be_visible()
        finding = page.get_by_role("listitem").filter(has_text="error")
        expect(finding.first).to_have_text("error downloads with other rows than declared: 1 — a, declared 7, found 3")
        table = page.get_by_role("table", name="Reconcile of trial")
        expect(table.get_by_role("row", name="rows-differ")).to_contain_text("error")
        assert looking.findings() == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_table_that_is_too_long_for_a_browser_says_so(look: Look) -> None:
    held = HeldRun(answer=Answer(b"{}", b"name,value\r\n" + b"".join(b"n%d,1\r\n" % n for n in range(MANY_ROWS))))
    held.may_end.set()
    with page_over(MemorySource({"a": csv_body(3)}), [held]) as (client, _), look(client.base_url) as looking:
        looking.go()
        looking.page.get_by_role("button", name="Hold trial").click()
        told = "230,000 rows; the table has the first 222,222, the CSV has all"
        expect(looking.page.get_by_text(told)).to_be_visible()


def test_an_answer_that_cannot_be_taken_away_is_told_of(look: Look, mock: httpx.Client) -> None:
    with look(mock.base_url, complains="net::ERR_FAILED") as looking:
        page = looking.page
        looking.go()
        page.get_by_role("button", name="Count demo").click()
        expect(page.get_by_role("rowheader", name="P001")).to_be_visible()
        page.route("**/result.csv", lambda route: route.abort())
        page.get_by_role("button", name="CSV", exact=True).click()
        expect(page.get_by_role("alert")).to_have_text("The server does not answer. Is it still running?")
        page.unroute("**/result.csv")
        with page.expect_download():
            page.get_by_role("button", name="CSV", exact=True).click()
        expect(page.get_by_role("alert")).to_have_count(0)


def test_where_a_page_may_not_copy_the_command_is_selected(look: Look, mock: httpx.Client) -> None:
    with look(mock.base_url) as looking:
        page = looking.page
        page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")  # as over plain HTTP
        looking.go()
        page.get_by_role("button", name="Count demo").click()
        page.get_by_role("button", name="Copy").press("Enter")
        expect(page.get_by_role("button", name="Press Ctrl+C")).to_be_visible()
        assert page.evaluate("String(getSelection())") == "mockexport count demo --source mock"


def test_a_printed_answer_has_all_rows_and_none_of_the_controls(
    look: Look, counted: httpx.Client, tmp_path: Path
) -> None:
    with look(counted.base_url, viewport={"width": 1280, "height": 500}) as looking:
        page = looking.page
        looking.go()
        page.get_by_role("button", name="Count trial").click()
        expect(page.get_by_role("rowheader", name="P000")).to_be_visible()
        expect(page.get_by_role("rowheader", name="P059")).to_have_count(0)
        page.pdf(path=tmp_path / "page.pdf", landscape=True)
        expect(page.get_by_role("rowheader", name="P059")).to_have_count(0)  # afterwards, it is as it was
    text = text_of(tmp_path / "page.pdf")
    for shown in ("Count trial", "mockexport count trial --source memory", "P000", "P059"):
        assert shown in text
    assert "Copy" not in text
    assert "Patients with" not in text


def text_of(pdf: Any) -> str:
    program = shutil.which("pdftotext")
    if program is None:
        pytest.skip("pdftotext is missing: apt-get install poppler-utils")
    return subprocess.run([program, "-layout", pdf, "-"], capture_output=True, text=True, check=True).stdout
