"""Runs as they go, and what may go wrong meanwhile: servers that die, downloads that are cut, views that are left."""

from __future__ import annotations

import re
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from tests.commands import serve_command
from tests.server.page.kinds import HeldRun
from tests.server.page.reached import Reached
from tests.server.page.serving import page_over, start
from tests.sources import EXPORT, WAIT_SECONDS, MemorySource, csv_body

from mockexport.cli.page import kinds_of_runs
from mockexport.factory import open_source
from mockexport.server import Answer
from mockexport.shared import InMemory
from mockexport.sources import MockSource

if TYPE_CHECKING:
    from tests.browser.conftest import Look

pytestmark = pytest.mark.browser
NO_REPLY = "net::ERR_CONNECTION_REFUSED"
BROKEN_OFF = "net::ERR_INCOMPLETE_CHUNKED_ENCODING"
# Keeps each text that a run shows while it goes.
RECORD = """
() => {
  window.seen = {};
  new MutationObserver(() => {
    for (const fact of document.querySelectorAll(".panel .facts > div")) {
      const [name, value] = fact.children;
      (window.seen[name.textContent] ??= new Set()).add(value.textContent);
    }
    for (const step of document.querySelectorAll(".steps .rate")) {
      (window.seen.steps ??= new Set()).add(step.textContent);
    }
  }).observe(document.getElementById("main"), {subtree: true, childList: true, characterData: true});
}
"""


def test_a_count_tells_its_pace_its_downloads_and_the_time_left_until_its_end(look: Look) -> None:
    source = MockSource("pure")  # slow enough to be watched
    with page_over(source, kinds_of_runs(source, "pure")) as (client, _), look(client.base_url) as looking:
        page = looking.page
        looking.go()
        button = page.get_by_role("button", name="Count small")
        expect(button).to_be_visible()
        page.evaluate(RECORD)
        button.click()
        expect(page.get_by_role("progressbar", name="Progress")).to_be_visible()
        expect(page.get_by_text("7,083,793 rows in")).to_be_visible(timeout=WAIT_SECONDS * 10_000)
        expect(page.get_by_role("table").get_by_role("rowheader", name="S001")).to_be_visible()
        seen = page.evaluate("Object.fromEntries(Object.entries(seen).map(([name, texts]) => [name, [...texts]]))")
    assert matching(r"[\d.,]+ [kM]", seen["Rows a second"])
    assert matching(r"\d+:\d\d:\d\d", seen["Time left"])
    assert matching(r"[1-9]\d? %", seen["Progress"])
    assert matching(r"[0-9] of 10", seen["Read"])
    assert matching(r"[\d,]+ rows, [\d.,]+ [kM]/s", seen["steps"])
    rows = [int(text.replace(",", "")) for text in seen["Rows"] if text != "—"]
    assert rows == sorted(rows)


def matching(pattern: str, texts: list[str]) -> list[str]:
    """Return the texts that are as a pattern says."""
    return [text for text in texts if re.fullmatch(pattern, text)]


def test_a_count_is_cancelled_in_the_middle_and_the_next_one_runs(look: Look) -> None:
    source = MockSource()
    with page_over(source, kinds_of_runs(source, "auto")) as (client, _), look(client.base_url) as looking:
        page = looking.page
        looking.go()
        page.get_by_role("button", name="Count large").click()
        expect(page.locator(".steps li").first).to_contain_text("rows, ")
        page.get_by_role("button", name="Cancel").click()
        cancelled = page.get_by_text(re.compile(r"It was cancelled after [\d,]{5,} rows"))
        expect(cancelled).to_be_visible()
        expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
        looking.go()
        expect(page.get_by_role("listitem").filter(has_text="Count large")).to_contain_text("cancelled")
        page.get_by_role("button", name="Count demo").click()
        expect(page.get_by_text("18,784 rows in")).to_be_visible()


def test_a_source_that_dies_in_mid_count_is_told_of_and_the_page_goes_on(look: Look) -> None:
    with (
        serve_command() as upstream,
        closing(open_source(upstream.url, retries=0, timeout=5)) as source,
        page_over(source, kinds_of_runs(source, "auto")) as (client, _),
        look(client.base_url, complains="502 (Bad Gateway)") as looking,
    ):
        page = looking.page
        looking.go()
        page.get_by_role("button", name="Count large").click()
        expect(page.locator(".steps li").first).to_contain_text("rows, ")
        upstream.kill()
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text(upstream.url)
        expect(page.get_by_text("failed", exact=True)).to_be_visible()
        assert looking.findings() == []
        page.get_by_role("link", name="← large").click()
        expect(alert).to_contain_text(upstream.url)
        with serve_command("--port", upstream.port):
            page.get_by_role("link", name="All exports").click()
            page.get_by_role("button", name="Count demo").click()
            expect(page.get_by_text("18,784 rows in")).to_be_visible()


def test_a_download_that_is_cut_is_told_of(look: Look) -> None:
    with (
        serve_command("--faults", "data:cut=0;seed=1") as upstream,
        closing(open_source(upstream.url, retries=0)) as source,
        page_over(source, kinds_of_runs(source, "auto")) as (client, _),
        look(client.base_url) as looking,
    ):
        looking.go()
        looking.page.get_by_role("button", name="Count demo").click()
        expect(looking.page.get_by_role("alert")).to_contain_text("/data")
        expect(looking.page.get_by_text("mockexport count demo")).to_be_visible()
        looking.page.get_by_role("link", name="← demo").click()
        expect(looking.page.get_by_role("row", name="9,014")).to_be_visible()


def test_the_page_waits_for_its_server_and_says_when_a_run_is_gone(look: Look) -> None:
    with serve_command() as served, look(served.url, complains="") as looking:
        page = looking.page
        looking.go()
        page.get_by_role("button", name="Count large").click()
        expect(page.locator(".steps li").first).to_contain_text("rows, ")
        served.kill()
        expect(page.get_by_text("Trying again …")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("button", name="Cancel")).to_be_enabled()  # it was not cancelled, and may be yet
        with serve_command("--port", served.port):
            expect(page.get_by_role("alert")).to_have_text("This run is not kept any more, or never was")
            page.get_by_role("link", name="All exports").click()
            expect(page.get_by_role("row", name="demo")).to_contain_text("18,784")
        assert all("ERR_" in said or "404" in said for said in looking.complaints), looking.complaints


def test_a_page_without_the_database_of_the_runs_says_so_and_goes_on_with_it(look: Look) -> None:
    held, documents = HeldRun(), InMemory()
    source, reached = MemorySource({"a": csv_body(3)}), Reached(documents)
    lost = "The database of the runs cannot be reached."
    with (
        page_over(source, [held], documents=documents) as (one, _),
        page_over(source, [held], documents=reached) as (other, _),
        look(other.base_url, complains="503 (Service Unavailable)") as looking,
    ):
        page = looking.page
        looking.go(f"run/{start(one, 'held', EXPORT)['id']}")
        expect(page.get_by_text("running", exact=True)).to_be_visible()
        reached.cut()
        expect(page.get_by_text(f"{lost} Trying again …")).to_be_visible()
        page.get_by_role("link", name="Exports").click()
        expect(page.get_by_role("row", name="trial")).to_be_visible()
        expect(page.get_by_role("alert")).to_have_text(lost)
        page.get_by_role("button", name="Hold trial").click()
        expect(page.get_by_role("row", name="trial").get_by_role("alert")).to_have_text(lost)
        reached.cut(is_cut=False)
        page.reload()
        page.get_by_role("link", name="Hold trial").click()
        held.may_end.set()
        expect(page.get_by_text("done", exact=True)).to_be_visible()


def test_a_stream_that_has_fallen_silent_is_opened_again(look: Look) -> None:
    held = HeldRun()
    with page_over(MemorySource({"a": csv_body(3)}), [held]) as (client, _), look(client.base_url) as looking:
        page = looking.page
        page.clock.install()
        opened = 0

        def hang(route: Any) -> None:
            nonlocal opened
            opened += 1
            if opened > 1:
                route.continue_()  # the first is never answered, as after a sleep of the machine

        page.route("**/events", hang)
        looking.go()
        with page.expect_request("**/events"):
            page.get_by_role("button", name="Hold trial").click()
        expect(page.get_by_text("running", exact=True)).to_be_visible()
        page.clock.fast_forward(41_000)
        expect(page.get_by_text("The connection to the server was lost. Trying again …")).to_be_visible()
        with page.expect_request("**/events"):
            page.clock.fast_forward(1_100)
        held.may_end.set()
        expect(page.get_by_text("done", exact=True)).to_be_visible()


def test_a_view_that_comes_late_does_not_replace_the_one_that_is_looked_at(look: Look) -> None:
    held = HeldRun(answer=Answer(b"{}", b"a,b\r\n"))
    held.may_end.set()
    with page_over(MemorySource({"a": csv_body(3)}), [held]) as (client, _), look(client.base_url) as looking:
        page = looking.page
        waiting: list[Any] = []
        asked = threading.Event()

        def hold(route: Any) -> None:
            waiting.append(route)
            asked.set()

        page.route("**/static/service.js", hold)
        looking.go()
        expect(page.get_by_role("link", name="trial")).to_be_visible()
        with page.expect_request("**/static/service.js"):
            page.evaluate("location.hash = '#/service'")
        page.evaluate("location.hash = '#/export/trial'")
        expect(page.get_by_role("heading", name="trial")).to_be_visible()
        with page.expect_response("**/static/service.js"):
            waiting[0].continue_()
        page.evaluate("import('/page/static/service.js').then(() => new Promise(requestAnimationFrame))")
        expect(page.get_by_role("heading", name="trial")).to_be_visible()
        expect(page.get_by_role("heading", name="Service")).to_have_count(0)


def test_a_page_that_stays_open_keeps_no_more_listeners(look: Look) -> None:
    with page_over(MemorySource({"a": csv_body(3)})) as (client, _), look(client.base_url) as looking:
        looking.go()
        left = looking.page.evaluate("""async () => {
          const { pause, events } = await import("/page/static/api.js");
          const { signal } = new AbortController();
          let listeners = 0;
          const add = signal.addEventListener.bind(signal), remove = signal.removeEventListener.bind(signal);
          signal.addEventListener = (...given) => (listeners++, add(...given));
          signal.removeEventListener = (...given) => (listeners--, remove(...given));
          for (let n = 0; n < 5; n++) await pause(1, signal);
          await events("/page/about", signal, () => {});
          return listeners;
        }""")
        assert left == 0


@pytest.mark.parametrize("wrong", ["“right”", "grün", "two words", "   "])
def test_a_token_that_no_server_has_is_refused_at_once(look: Look, wrong: str) -> None:
    source = MemorySource({"a": csv_body(3)})
    with (
        page_over(source, token="right") as (client, _),
        look(client.base_url, complains="401 (Unauthorized)") as looking,
    ):
        page = looking.page
        looking.go()
        dialog = page.get_by_role("dialog", name="Token")
        field = dialog.get_by_label("Token", exact=True)
        expect(dialog).to_be_visible()
        for _ in range(3):  # browsers close a dialog at the second Escape, whatever the page says
            page.keyboard.press("Escape")
        expect(dialog).to_be_visible()
        field.fill(wrong)
        field.press("Enter")
        expect(dialog.get_by_role("alert")).to_have_text("The server refused this token. Check it, and try again.")
        assert looking.findings() == []
        field.fill("right")
        field.press("Enter")
        expect(page.get_by_role("link", name="trial")).to_be_visible()
