"""Heart rates in a real browser, as they arrive, and the service's own figures."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.sync_api import expect
from tests.commands import serve_command
from tests.server.page.serving import page_over
from tests.sources import WAIT_SECONDS, MemorySource, csv_body

from mockexport.heartrate.export import HeartRateSource
from mockexport.heartrate.ingest.routes import HeartRateRoutes
from mockexport.heartrate.service import HeartRate
from mockexport.sources.union import UnionSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.browser.conftest import Look

pytestmark = pytest.mark.browser
RATE_AND_TOTAL = ("Readings a second", "Readings accepted")
EVIL = "<script>alert(1)</script>"


@contextmanager
def service_page(folder: Path) -> Iterator[httpx.Client]:
    """Serve a folder of readings, with the page."""
    with HeartRate(folder) as service:
        routes = HeartRateRoutes(service)
        source = UnionSource(MemorySource({"a": csv_body(1)}), HeartRateSource(folder, service))
        with page_over(source, fresh=routes, routes=routes.router, health=routes.health) as (client, _):
            yield client


def send(client: httpx.Client, rate: float, device: str = "device_a", user: str = "anna", **given: str) -> None:
    """Send a reading of this moment."""
    reading = {"user_id": user, "device_id": device, "heart_rate": rate}
    timestamp = given.get("timestamp") or datetime.now(UTC).isoformat()
    assert client.post("/metrics/heart-rate", json=reading | {"timestamp": timestamp}).status_code == 202


def test_a_fresh_heart_rate_shows_while_one_looks(look: Look, tmp_path: Path) -> None:
    with service_page(tmp_path / "data") as client, look(client.base_url) as looking:
        send(client, 61)
        page = looking.page
        looking.go("heart-rate")
        expect(page.get_by_label("User")).to_have_value("anna")
        expect(page.get_by_role("img", name="Heart rate of anna")).to_be_visible()
        expect(page.get_by_text("61 beats a minute", exact=True)).to_be_visible()
        asked = count(1)
        with page.expect_response(lambda answer: "/page/minutes" in answer.url and next(asked) == 2):
            page.reload()  # the page asks a second time once its stream is open
        for rate, device in ((172, "device_a"), (45, "device_b"), (118, "device_c")):
            send(client, rate, device)
            expect(page.get_by_text(f"{rate} beats a minute", exact=True)).to_be_visible()
            expect(page.locator(".now")).to_contain_text(device)
        assert looking.findings() == []


def test_a_day_is_drawn_minute_by_minute_with_its_devices_told_apart(look: Look, tmp_path: Path) -> None:
    with service_page(tmp_path / "data") as client, look(client.base_url) as looking:
        for minute, device in ((1, "device_a"), (2, "device_b"), (3, "strap")):
            send(client, 60 + minute, device, timestamp=f"2025-08-26T10:0{minute}:00Z")
        send(client, 99, timestamp="2025-08-27T12:00:00Z")
        page = looking.page
        looking.go("heart-rate/anna%2F2025-08-26")
        told = "3 minutes, 61 to 63 beats a minute, from device_a, device_b, strap"
        expect(page.get_by_role("img", name=told)).to_be_visible()
        expect(page.locator("canvas")).to_be_visible()
        page.get_by_text("The minutes as a table").click()
        expect(page.get_by_role("row", name="10:02")).to_contain_text("device_b")
        assert looking.findings() == []
        page.get_by_role("button", name="The day after").press("Enter")
        expect(page.get_by_role("img", name="1 minute, 99 to 99")).to_be_visible()
        page.get_by_role("button", name="The day after").click()
        expect(page.get_by_role("img", name="No readings on this day.")).to_be_visible()


def test_a_reading_that_is_stored_before_the_stream_is_open_shows(look: Look, tmp_path: Path) -> None:
    with service_page(tmp_path / "data") as client, look(client.base_url) as looking:
        send(client, 61, timestamp="2025-08-26T10:01:00Z")

        def send_first(route: Any) -> None:
            send(client, 99, timestamp="2025-08-26T10:02:00Z")
            route.continue_()

        looking.page.route("**/page/heart-rate?**", send_first)
        looking.go("heart-rate/anna%2F2025-08-26")
        expect(looking.page.get_by_role("img", name="2 minutes, 61 to 99")).to_be_visible()
        expect(looking.page.get_by_text("99 beats a minute", exact=True)).to_be_visible()


def test_a_server_that_began_anew_is_followed(look: Look, tmp_path: Path) -> None:
    data = ("--data", tmp_path / "data")
    with serve_command(*data) as served, look(served.url, complains="net::ERR_") as looking:
        page = looking.page
        with httpx.Client(base_url=served.url, timeout=WAIT_SECONDS) as client:
            send(client, 61)
        looking.go("heart-rate/anna%2F" + datetime.now(UTC).date().isoformat())
        expect(page.get_by_text("61 beats a minute", exact=True)).to_be_visible()
        served.kill()
        expect(page.get_by_role("alert")).to_have_text("The server does not answer. Is it still running?")
        with (
            serve_command(*data, "--port", served.port),
            httpx.Client(base_url=served.url, timeout=WAIT_SECONDS) as client,
        ):
            expect(page.get_by_role("alert")).to_have_count(0)
            send(client, 99)
            expect(page.get_by_text("99 beats a minute", exact=True)).to_be_visible()


def test_rates_are_not_negative_after_the_counters_began_anew(look: Look, tmp_path: Path) -> None:
    with service_page(tmp_path / "data") as client, look(client.base_url) as looking:
        page = looking.page
        posts = 500

        def tell(route: Any) -> None:
            lines = [f'readings_total{{outcome="accepted"}} {posts}', f'post_seconds_bucket{{le="+Inf"}} {posts}']
            route.fulfill(body="".join(f"mockexport_heartrate_{line}\n" for line in lines))

        page.route("**/metrics", tell)
        page.clock.install()
        looking.go("service")
        rate, total = (page.get_by_text(name, exact=True).locator("xpath=../dd") for name in RATE_AND_TOTAL)
        expect(total).to_have_text("500")
        page.clock.pause_at(page.evaluate("Date.now()") + 2100)  # else a slow machine would ask more often
        expect(rate).to_have_text("0")
        posts = 3
        page.clock.run_for(2100)
        expect(total).to_have_text("3")
        expect(rate).to_have_text("—")
        page.clock.run_for(2100)
        expect(rate).to_have_text("0")


def test_a_day_that_is_none_is_told_of(look: Look, tmp_path: Path) -> None:
    with service_page(tmp_path / "data") as client, look(client.base_url) as looking:
        for day in ("nonsense", "2025-13-01", "12025-01-01"):
            looking.go(f"heart-rate/anna%2F{day}")
            expect(looking.page.get_by_role("alert")).to_contain_text(f"{day} is not a day, such as 20")


def test_no_view_complains_or_asks_another_host(look: Look, tmp_path: Path) -> None:
    with service_page(tmp_path / "data") as client, look(client.base_url) as looking:
        page = looking.page
        looking.go("heart-rate")  # without a single reading
        expect(page.get_by_text("No readings yet. Enter a user to watch for them.")).to_be_visible()
        send(client, 61, user="a/b%2Fc?#")
        views = {"": "trial", "export/trial": "Downloads", "service": "Readings accepted", "heart-rate": "61 beats a"}
        for view, shown in views.items():
            looking.go(view)
            expect(page.get_by_text(shown).first).to_be_visible()
        page.get_by_role("button", name="The day before").click()
        expect(page.get_by_role("img", name="No readings on this day.")).to_be_visible()
        expect(page.get_by_label("User")).to_have_value("a/b%2Fc?#")
        assert looking.complaints == []


def test_the_ids_of_users_and_devices_are_text(look: Look, tmp_path: Path) -> None:
    with service_page(tmp_path / "data") as client, look(client.base_url) as looking:
        send(client, 77, device=EVIL, user=EVIL)
        looking.go("heart-rate")
        expect(looking.page.get_by_label("User")).to_have_value(EVIL)
        expect(looking.page.locator(".now")).to_contain_text(EVIL)
        assert looking.page.locator("main script").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 2000])
def test_the_service_tells_its_figures_on_any_screen(look: Look, tmp_path: Path, width: int, scheme: Any) -> None:
    size = {"width": width, "height": 800}
    with (
        service_page(tmp_path / "data") as client,
        look(client.base_url, viewport=size, color_scheme=scheme) as looking,
    ):
        send(client, 61)
        page = looking.page
        for view, shown in (("service", "Readings accepted"), ("heart-rate", "61 beats a minute")):
            looking.go(view)
            expect(page.get_by_text(shown, exact=True)).to_be_visible()
            assert looking.findings() == []
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        looking.go("service")
        accepted = page.get_by_text("Readings accepted").locator("xpath=..")
        expect(accepted).to_contain_text("1")
        for _ in range(4):
            send(client, 62)
        expect(accepted).to_contain_text("5")
        expect(page.get_by_text("Files", exact=True)).to_be_visible()
