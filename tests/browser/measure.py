"""Measures the page; run it with nothing else to do: `uv run --group dev python -m tests.browser.measure`.

How smoothly 10,000 patients scroll, and what ten open pages cost the server beside none, in turn, round after round.
The figures are in docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from playwright.sync_api import expect, sync_playwright
from tests.browser.conftest import OPTIONS
from tests.browser.test_exports import many_patients
from tests.commands import run_command, serve_command
from tests.server.page.serving import page_over
from tests.sources import MemorySource

from mockexport.cli.page import kinds_of_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, CDPSession

PAGES = 10
SEND_SECONDS = 6
COUNTED = "small"
# Scrolls the table from top to bottom, a screen and a half in each frame, and notes when each frame began.
SCROLL = """
async box => {
  const long = [];
  new PerformanceObserver(list => long.push(...list.getEntries())).observe({type: "longtask"});
  const frames = [];
  const step = (box.scrollHeight - box.clientHeight) / 600;
  let last = await new Promise(requestAnimationFrame);
  for (let at = 1; at <= 600; at++) {
    box.scrollTop = at * step;
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
  }
  return {frames, long};
}
"""


def scrolling(browser: Browser) -> None:
    """Print how long frames take while 10,000 patients are scrolled through in 600 frames."""
    source = MemorySource({"a": many_patients()}, chunk_bytes=1 << 16)
    with page_over(source, kinds_of_runs(source, "auto")) as (client, _):
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(str(client.base_url))
        page.get_by_role("button", name="Count trial").click()
        box = page.get_by_role("region", name="Counts of trial")
        expect(box).to_be_visible()
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        for _ in range(3):
            before = busy(devtools)
            found: Any = box.evaluate(SCROLL)
            frames = sorted(found["frames"])
            late = sum(frame > 1.5 * 1000 / 60 for frame in frames)
            print(
                f"scrolling: median {statistics.median(frames):.1f} ms a frame, p99 {frames[-6]:.1f} ms, "
                f"largest {frames[-1]:.1f} ms, {late} of {len(frames)} late, {len(found['long'])} tasks over 50 ms; "
                f"the page's thread worked {(busy(devtools) - before) / len(frames) * 1000:.1f} ms a frame"
            )
        page.close()


def busy(devtools: CDPSession) -> float:
    """Return the processor time of the page's main thread in its tasks, in seconds."""
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return next(float(metric["value"]) for metric in metrics if metric["name"] == "TaskDuration")


@contextmanager
def looked_at(browser: Browser | None, url: str) -> Iterator[None]:
    """Have ten pages open meanwhile: seven on heart rates that arrive, two on the service, one on the exports."""
    with ExitStack() as stack:
        for number in range(PAGES if browser else 0):
            assert browser
            page = stack.enter_context(browser.new_context()).new_page()
            day = datetime.now(UTC).date().isoformat()
            views = [f"heart-rate/user_{number:03}%2F{day}"] * 7 + ["service"] * 2 + [""]
            page.goto(f"{url}/#/{views[number]}")
            expect(page.get_by_role("heading").first).to_be_visible()
        yield


def throughput(browser: Browser, rounds: int) -> None:
    """Print what the server takes in and gives out, with no page open and with ten."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serve_command("--data", f"{folder}/readings", "--accept-ahead", "3650d") as served,
    ):
        # Sent as fast as they are acknowledged, the readings of a minute are soon those of the coming weeks.
        begun = datetime.now(UTC).replace(second=0, microsecond=0).isoformat()
        for number in range(rounds):
            for pages in (None, browser):
                with looked_at(pages, served.url):
                    sending = ("--seconds", SEND_SECONDS, "--seed", number, "--start", begun, "--quiet")
                    sent = orjson.loads(
                        run_command(Path(folder), "heartrate", "send", "-s", served.url, *sending).stdout
                    )
                    started = time.monotonic()
                    counted = orjson.loads(run_command(Path(folder), "count", COUNTED, "-s", served.url).stdout)
                    seconds = time.monotonic() - started
                rows = sum(counted["totals"].values())
                print(
                    f"{PAGES if pages else 0:2} pages: {sent['readings_per_second']:8,.0f} readings/s, acknowledged in "
                    f"{sent['ack_p50_ms']:.0f} ms (p99 {sent['ack_p99_ms']:.0f}); "
                    f"count {COUNTED}: {rows / seconds / 1e6:.1f} M rows/s"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # loopback is not reached through a proxy
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
        scrolling(browser)
        throughput(browser, rounds)
        browser.close()


if __name__ == "__main__":
    main()
