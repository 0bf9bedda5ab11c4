"""Takes the pictures of docs/page.md: `uv run --group dev python -m tests.browser.screenshots`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect, sync_playwright
from tests.browser.conftest import OPTIONS
from tests.server.page.serving import page_over

from mockexport.cli.page import kinds_of_runs
from mockexport.sources import MockSource

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DOCS = Path(__file__).parents[2] / "docs"
SCREENS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1120, "height": 760}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1120, "height": 760}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 760}, "color_scheme": "light"},
}


def take(browser: Browser, url: str) -> None:
    """Take a picture of a count on each screen, and one of the exports."""
    for name, screen in SCREENS.items():
        page = browser.new_context(**screen).new_page()
        page.goto(url)
        expect(page.get_by_role("row", name="large")).to_contain_text("153,630,201")
        if name == "phone":
            save(page, name)
            continue
        page.get_by_role("button", name="Count large").click()
        expect(page.get_by_role("rowheader", name="L001")).to_be_visible(timeout=600_000)
        save(page, name)


def save(page: Page, name: str) -> None:
    page.screenshot(path=DOCS / f"page-{name}.png")


def main() -> None:
    source = MockSource()
    with page_over(source, kinds_of_runs(source, "auto")) as (client, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
        take(browser, str(client.base_url))
        browser.close()


if __name__ == "__main__":
    main()
