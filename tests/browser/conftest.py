"""A real browser, and pages in it that must neither complain nor ask any other host."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from tests.sources import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
AXE = (Path(__file__).parent / "vendor/axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium. Without it the tests fail: `apt-get install chromium` brings it."""
    found = shutil.which("chromium")
    assert found, "chromium is missing: apt-get install chromium"
    expect.set_options(timeout=WAIT_SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=OPTIONS)
        yield browser
        browser.close()


@dataclass
class Looking:
    """A page in the browser, what it complained of, and whom it asked."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def go(self, view: str = "") -> None:
        self.page.goto(f"{self.url}/#/{view}")

    def findings(self) -> list[Any]:
        """Return what axe-core finds wrong with the page as it is."""
        self.page.evaluate(AXE)
        found = self.page.evaluate("rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})", RULES)
        return [
            (finding["id"], [(node["html"], node["failureSummary"]) for node in finding["nodes"]])
            for finding in found["violations"]
        ]


class Look:
    """Opens pages of a server."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    @contextmanager
    def __call__(self, url: Any, *, complains: str | None = None, **options: Any) -> Iterator[Looking]:
        """Open a page of its own; at the end, only what has `complains` in it may have been complained of."""
        context = self._browser.new_context(**options)
        context.set_default_timeout(WAIT_SECONDS * 1000)
        looking = Looking(context.new_page(), str(url).rstrip("/"))
        page = looking.page
        page.on("console", lambda said: looking.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: looking.complaints.append(str(error)))
        page.on("request", lambda request: looking.hosts.add(urlsplit(request.url).netloc))
        try:
            yield looking
            assert looking.hosts <= {urlsplit(looking.url).netloc, ""}, looking.hosts  # "": a blob of its own
            unexpected = [said for said in looking.complaints if complains is None or complains not in said]
            assert unexpected == []
        finally:
            context.close()


@pytest.fixture
def look(browser: Browser) -> Look:
    return Look(browser)
