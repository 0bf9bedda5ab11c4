"""Reports in a real browser: offline, at any width, and for everyone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from tests.report.pages import EVIL
from tests.report.test_pages import reports_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.conftest import Look

pytestmark = pytest.mark.browser
WIDTHS = (360, 1280, 2000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_complains_of_nothing_and_is_for_everyone(look: Look, tmp_path: Path, scheme: str) -> None:
    for page in reports_of(EVIL):
        (tmp_path / "report.html").write_text(page, encoding="utf-8")
        file = (tmp_path / "report.html").as_uri()
        with look(file, color_scheme=scheme) as looking:  # under its own policy
            looking.page.goto(file)
            expect(looking.page.get_by_role("heading", name="What was run")).to_be_visible()
        with look(file, color_scheme=scheme, bypass_csp=True) as looking:  # so that axe can run
            looking.page.goto(file)
            for width in WIDTHS:
                looking.page.set_viewport_size({"width": width, "height": 900})
                assert looking.page.evaluate("document.documentElement.scrollWidth") == width
                assert looking.findings() == []
