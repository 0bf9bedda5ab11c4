"""The description of the API in a real browser: from this server alone, without a complaint."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from tests.server.page.serving import page_over
from tests.sources import MemorySource, csv_body

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from tests.browser.conftest import Look

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def served() -> Iterator[httpx.Client]:
    with page_over(MemorySource({"a": csv_body(3)})) as (client, _):
        yield client


def test_docs_shows_an_operation_and_tries_it_out(look: Look, served: httpx.Client) -> None:
    with look(served.base_url) as looking:
        page = looking.page
        page.goto(f"{looking.url}/docs")
        operation = page.locator(".opblock-get", has_text="All exports").first
        operation.locator(".opblock-summary").click()
        expect(operation).to_contain_text("List the ids of the exports.")
        operation.get_by_role("button", name="Try it out").click()
        operation.get_by_role("button", name="Execute").click()
        expect(operation.locator(".live-responses-table")).to_contain_text("200")


def test_redoc_shows_an_operation(look: Look, served: httpx.Client) -> None:
    with look(served.base_url) as looking:
        page = looking.page
        page.goto(f"{looking.url}/redoc")
        expect(page.get_by_role("heading", name=re.compile("All exports$"))).to_be_visible()
        expect(page.get_by_text("List the ids of the exports.").first).to_be_visible()
        expect(page.get_by_role("img", name="redocly logo")).not_to_be_visible()
