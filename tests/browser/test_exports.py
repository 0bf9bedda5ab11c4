"""The views of exports, their downloads and their counts, in a real browser."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from playwright.sync_api import expect
from tests.server.page.kinds import HeldRun
from tests.server.page.serving import page_over
from tests.sources import EXPORT, HEADER, WAIT_SECONDS, MemorySource, csv_body

from mockexport.cli.page import kinds_of_runs
from mockexport.errors import UnreachableError
from mockexport.server import Answer
from mockexport.sources import MockSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from tests.browser.conftest import Look

pytestmark = pytest.mark.browser
VENDOR = Path(__file__).parent / "vendor"
VENDORED = {  # axe-core 4.14.1, as `npm pack axe-core@4.14.1` gives it; MPL-2.0
    "axe.min.js": "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c",
    "axe.LICENSE": "af175b9d96ee93c21a036152e1b905b0b95304d4ae8c2c921c7609100ba8df7e",
    "axe.LICENSE-3RD-PARTY.txt": "4f8563870d0fca38bbc3e00b6f670cb7fa9f380ba9f26a7f7d1184a6b18b1653",
}
WIDTHS = (360, 1280, 2000)
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
PATIENTS = 10_000


@pytest.fixture(scope="module")
def mock() -> Iterator[httpx.Client]:
    """The generated exports, with the command line's own runs."""
    source = MockSource()
    with page_over(source, kinds_of_runs(source, "auto")) as (client, _):
        yield client


def many_patients() -> bytes:
    """One CSV of 10,000 patients; patient 4,999 has far more of one type than the others."""
    rows = [f"P{n:05},2025-08-26T00:00:04Z,{kind},1\n" for n in range(PATIENTS) for kind in ("bp_sys", "bp_dia")]
    return HEADER + "".join(rows + ["P04999,2025-08-26T00:00:05Z,bp_sys,1\n"] * 9).encode()


def test_what_is_vendored_is_what_its_author_published() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir()}
    assert found == VENDORED


def test_the_exports_are_shown_with_what_is_declared_of_them(look: Look, mock: httpx.Client) -> None:
    with look(mock.base_url) as looking:
        looking.go()
        row = looking.page.get_by_role("row", name="demo")
        for text in ("18,784", "bp_sys, bp_dia", "2025-08-26 00:00", "2025-08-27 12:31 UTC"):
            expect(row).to_contain_text(text)
        expect(looking.page.get_by_role("row", name="large")).to_contain_text("153,630,201")


def test_an_export_shows_its_downloads_which_sort_by_their_headings(look: Look, mock: httpx.Client) -> None:
    with look(mock.base_url) as looking:
        looking.go()
        looking.page.get_by_role("link", name="demo").click()
        table = looking.page.get_by_role("table", name="Downloads of demo")
        expect(table.get_by_role("row")).to_have_count(3)
        rows = table.get_by_role("columnheader", name="Rows")
        rows.get_by_role("button").click()
        expect(rows).to_have_attribute("aria-sort", "descending")
        expect(table.locator("tbody th").first.locator("xpath=..")).to_contain_text("9,770")
        rows.get_by_role("button").press("Enter")
        expect(rows).to_have_attribute("aria-sort", "ascending")
        expect(table.locator("tbody th").first.locator("xpath=..")).to_contain_text("9,014")


def test_a_count_runs_to_its_end_and_its_answer_can_be_taken_away(
    look: Look, mock: httpx.Client, tmp_path: Path
) -> None:
    with look(mock.base_url) as looking:
        page = looking.page
        looking.go()
        page.get_by_role("button", name="Count demo").click()
        expect(page.get_by_text("18,784 rows in")).to_be_visible()
        expect(page.get_by_text("mockexport count demo --source mock")).to_be_visible()
        table = page.get_by_role("table", name="Counts of demo by patient and type")
        expect(table.get_by_role("row", name="P001")).to_contain_text("3,084")
        for suffix, begins in (("JSON", b'{\n  "patients"'), ("CSV", b"patient_id,event_type,records")):
            with page.expect_download() as saved:
                page.get_by_role("button", name=suffix, exact=True).click()
            file = tmp_path / suffix
            saved.value.save_as(file)
            assert saved.value.suggested_filename == f"count-demo.{suffix.lower()}"
            assert file.read_bytes().startswith(begins)
        assert orjson.loads((tmp_path / "JSON").read_bytes())["totals"]["bp_sys"] == 9412


def test_a_run_is_watched_live_and_cancelled_by_the_keyboard(look: Look) -> None:
    held = HeldRun()
    with page_over(MemorySource({"a": csv_body(3)}), [held]) as (client, _), look(client.base_url) as looking:
        page = looking.page
        looking.go()
        page.get_by_role("button", name="Hold trial").press("Enter")
        expect(page.get_by_text("running", exact=True)).to_be_visible()
        expect(page.get_by_role("progressbar", name="Progress")).to_have_attribute("value", "0.5")
        expect(page.get_by_text("50 %", exact=True).first).to_be_visible()
        assert looking.findings() == []
        page.get_by_role("button", name="Cancel").press("Enter")
        expect(page.get_by_text("It was cancelled after 7 rows.")).to_be_visible()
        assert held.ended.wait(WAIT_SECONDS)
        assert looking.findings() == []


def test_an_answer_of_another_kind_is_shown_as_the_table_of_its_csv(look: Look) -> None:
    held = HeldRun(answer=Answer(b"{}", b'name,value\r\n"one, ""two""",10\r\nthree,9\r\n'))
    held.may_end.set()
    with page_over(MemorySource({"a": csv_body(3)}), [held]) as (client, _), look(client.base_url) as looking:
        looking.go()
        looking.page.get_by_role("button", name="Hold trial").click()
        table = looking.page.get_by_role("table", name="Hold of trial")
        expect(table.get_by_role("rowheader", name='one, "two"')).to_be_visible()
        table.get_by_role("button", name="value").click()
        expect(table.locator("tbody th").first).to_have_text('one, "two"')
        assert looking.findings() == []


def test_a_source_that_breaks_is_told_of_and_the_page_goes_on(look: Look) -> None:
    held = HeldRun(error=UnreachableError("the server is gone"))
    held.may_end.set()

    class Broken(MemorySource):
        def downloads(self, export: str) -> Any:
            raise UnreachableError(f"cannot reach {export}")

    source = Broken({"a": b""})
    with (
        page_over(source, [held]) as (client, _),
        look(client.base_url, complains="502 (Bad Gateway)") as looking,
    ):
        looking.go()
        expect(looking.page.get_by_role("row", name=EXPORT)).to_contain_text(f"cannot reach {EXPORT}")
        looking.page.get_by_role("link", name=EXPORT).click()
        expect(looking.page.get_by_role("alert")).to_have_text(f"cannot reach {EXPORT}")
        run = client.post("/page/runs", json={"kind": "held", "export": EXPORT}).json()
        looking.go(f"run/{run['id']}")
        expect(looking.page.get_by_role("alert")).to_have_text("the server is gone")
        assert looking.findings() == []


def test_the_token_is_asked_for_once_and_a_wrong_one_is_refused(look: Look, mock: httpx.Client) -> None:
    with (
        page_over(MockSource(), kinds_of_runs(MockSource(), "auto"), token="right") as (client, _),
        look(client.base_url, complains="401 (Unauthorized)") as looking,
    ):
        page = looking.page
        looking.go()
        dialog = page.get_by_role("dialog", name="Token")
        expect(dialog).to_be_visible()
        assert looking.findings() == []
        dialog.get_by_label("Token", exact=True).fill("wrong")
        dialog.get_by_role("button", name="Continue").click()
        expect(dialog).to_contain_text("The server refused this token")
        expect(page.get_by_role("row", name="demo")).to_have_count(0)
        dialog.get_by_label("Token", exact=True).fill("right")
        dialog.get_by_label("Token", exact=True).press("Enter")
        expect(page.get_by_role("row", name="demo")).to_contain_text("18,784")
        page.get_by_role("button", name="Count demo").click()
        expect(page.get_by_text("18,784 rows in")).to_be_visible()
        expect(dialog).to_be_hidden()
        assert page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])") == '[{},{},""]'
        assert "right" not in page.url
    with look(mock.base_url) as looking:  # and where no token is needed, none is asked for
        looking.go()
        expect(looking.page.get_by_role("row", name="demo")).to_contain_text("18,784")
        expect(looking.page.get_by_role("dialog")).to_be_hidden()


def test_ten_thousand_patients_are_sorted_filtered_and_scrolled(look: Look) -> None:
    source = MemorySource({"a": many_patients()}, chunk_bytes=1 << 16)
    with (
        page_over(source, kinds_of_runs(source, "auto")) as (client, _),
        look(client.base_url, viewport={"width": 1280, "height": 800}) as looking,
    ):
        page = looking.page
        looking.go()
        page.get_by_role("button", name="Count trial").click()
        table = page.get_by_role("table", name="Counts of trial by patient and type")
        expect(table).to_have_attribute("aria-rowcount", str(PATIENTS + 1))
        assert table.locator("tbody tr").count() < 100  # of all of them, only those in sight are in the document
        table.get_by_role("button", name="bp_sys").click()
        first = table.locator("tbody th").first.locator("xpath=..")
        expect(first).to_contain_text("P04999")
        expect(first.locator("[data-heat='2']")).to_have_text("10++")
        page.get_by_label("only those that stand out").check()
        expect(page.get_by_text("1 of 10,000 patients")).to_be_visible()
        page.get_by_label("only those that stand out").uncheck()
        page.get_by_label("Patients with").fill("p0999")
        expect(page.get_by_text("10 of 10,000 patients")).to_be_visible()
        page.get_by_label("Patients with").fill("")
        table.get_by_role("button", name="Patient").click()
        page.get_by_role("region", name="Counts of trial").press("End")
        expect(table.get_by_role("rowheader", name="P09999")).to_be_visible()
        assert looking.findings() == []


def test_an_id_is_text_whatever_it_looks_like(look: Look) -> None:
    class Evil(MemorySource):
        def exports(self) -> list[str]:
            return [EVIL]

        def downloads(self, export: str) -> Any:
            from dataclasses import replace

            names = (EVIL,)
            return [
                replace(download, export=export, id=EVIL, patients=names, event_types=names)
                for download in super().downloads(EXPORT)
            ]

        def open(self, download: Any, offset: int = 0, **watch: Any) -> Any:
            from dataclasses import replace

            return super().open(replace(download, id="a"), offset, **watch)

    source = Evil({"a": HEADER + f'"{EVIL}",2025-08-26T00:00:04Z,"{EVIL}",1\n'.encode()}, name=EVIL)
    with page_over(source, kinds_of_runs(source, "auto")) as (client, _), look(client.base_url) as looking:
        page = looking.page
        asked: list[Any] = []

        def took(dialog: Any) -> None:
            asked.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", took)
        looking.go()
        expect(page.get_by_role("rowheader", name=EVIL)).to_be_visible()
        page.get_by_role("link", name=EVIL).click()
        expect(page.get_by_role("heading", name=EVIL)).to_be_visible()
        expect(page.get_by_role("table").get_by_role("rowheader")).to_have_text(EVIL)
        page.get_by_role("button", name=f"Count {EVIL}").click()
        expect(page.get_by_role("table").get_by_role("rowheader", name=EVIL)).to_be_visible()
        assert page.locator("main img, main script").count() == 0
        assert asked == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_each_view_suits_the_screen_and_axe_finds_nothing(
    look: Look, mock: httpx.Client, width: int, scheme: Any
) -> None:
    with look(mock.base_url, viewport={"width": width, "height": 800}, color_scheme=scheme) as looking:
        page = looking.page
        looking.go()
        expect(page.get_by_role("row", name="large")).to_contain_text("153,630,201")
        sound(looking)
        looking.go("export/small")
        expect(page.get_by_role("table", name="Downloads of small").get_by_role("row")).to_have_count(11)
        sound(looking)
        page.get_by_role("button", name="Count small").click()
        expect(page.get_by_role("rowheader", name="S001")).to_be_visible()
        sound(looking)


def sound(looking: Any) -> None:
    """Check that axe finds nothing, and that the page is not wider than its window."""
    assert looking.findings() == []
    assert looking.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_keyboard_reaches_the_content_first_and_then_each_control(look: Look, mock: httpx.Client) -> None:
    with look(mock.base_url) as looking:
        page = looking.page
        looking.go()
        expect(page.get_by_role("row", name="large")).to_contain_text("153,630,201")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="demo", exact=True)).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Count demo")).to_be_focused()
