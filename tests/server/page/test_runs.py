"""Runs over HTTP: started, watched, cancelled, bounded in number; and what the page shows beside them."""

from __future__ import annotations

import gzip
import logging
import re
import threading
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest
from tests.server.page.kinds import HeldRun
from tests.server.page.serving import ended, events_of, page_over, start
from tests.sources import EXPORT, HEADER, WAIT_SECONDS, MemorySource, StallingSource, csv_body

from mockexport.cli.page import kinds_of_runs
from mockexport.errors import UnreachableError
from mockexport.server import Answer
from mockexport.server.page import runs as runs_module
from mockexport.sources import MockSource, UnionSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = {"a": csv_body(3), "b": csv_body(2)}
DATA_ROUTES = ["/page/about", "/page/exports", f"/page/export?export={EXPORT}", f"/page/downloads?export={EXPORT}"]
RUN_ROUTES = ["/page/runs", *(f"/page/runs/x{rest}" for rest in ("", "/events", "/result.json", "/result.csv"))]


def test_the_data_needs_the_token_and_only_the_data() -> None:
    with page_over(MemorySource(SMALL), [HeldRun()], token="secret") as (client, _):
        for route in DATA_ROUTES + RUN_ROUTES:
            assert client.get(route).status_code == 401, route
        assert client.post("/page/runs", json={"kind": "held", "export": EXPORT}).status_code == 401
        assert client.delete("/page/runs/x").status_code == 401
        right = {"Authorization": "Bearer secret"}
        for route in DATA_ROUTES:
            answer = client.get(route, headers=right)
            assert answer.status_code == 200, route
            assert answer.headers["cache-control"] == "no-store"
        assert client.get("/page/runs/x/events", headers=right).status_code == 404


def test_the_exports_and_downloads_are_what_the_source_declares() -> None:
    with page_over(MockSource()) as (client, _):
        assert client.get("/page/exports").json() == ["demo", "small", "large"]
        demo = client.get("/page/export?export=demo").json()
        assert (demo["rows"], demo["patients"], demo["downloads"]) == (18784, 4, 2)
        assert demo["types"] == {"all": 2, "first": ["bp_sys", "bp_dia"]}
        assert demo["start_time"] == "2025-08-26T00:00:00Z"
        listed = client.get("/page/downloads?export=demo").json()
        assert [download["rows"] for download in listed["downloads"]] == [9014, 9770]
        assert client.get("/page/export?export=nothing").status_code == 404


@pytest.mark.gate
@pytest.mark.parametrize("kind", ["count", "stats", "reconcile"])
def test_a_run_gives_the_bytes_that_the_command_writes(tmp_path: Path, kind: str) -> None:
    from tests.commands import run_command

    with page_over(MockSource(), kinds_of_runs(MockSource(), "auto")) as (client, _):
        run = start(client, kind, "demo")
        last = ended(client, run)
        assert (last["state"], last["rows"], last["finished"], last["parts"]) == ("done", 18784, 2, 2)
        assert last["command"] == f"mockexport {kind} demo --source mock"
        command = last["command"].split()[1:]
        for suffix in ("json", "csv"):
            answer = client.get(f"/page/runs/{run['id']}/result.{suffix}")
            written = run_command(tmp_path, *command, "--format", suffix).stdout
            assert timeless(answer.text) == timeless(written)
            assert answer.headers["content-disposition"] == f'attachment; filename="{kind}-demo.{suffix}"'


def timeless(text: str) -> str:
    """Leave out when a certificate was made."""
    return re.sub(r'"(begun|ended)": "[^"]*"', "", text)


@pytest.mark.gate
def test_large_answers_are_compressed_and_streams_are_not() -> None:
    held = HeldRun(answer=Answer(b'{"a": "' + b"a" * 5000 + b'"}', b"a\r\n"))
    with page_over(MemorySource(SMALL), [held]) as (client, _):
        run = start(client, "held", EXPORT)
        events = f"/page/runs/{run['id']}/events"
        with client.stream("GET", events, headers={"Accept-Encoding": "gzip"}) as answer:
            assert "content-encoding" not in answer.headers
            lines = answer.iter_lines()
            assert next(lines) == ": open"  # at once, while the run goes on
            held.may_end.set()
            assert list(lines)
        path = f"/page/runs/{run['id']}/result.json"
        plain = client.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
            sent = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
        assert int(answer.headers["content-length"]) == len(sent) < 200
        assert gzip.decompress(sent) == plain.content
        assert "content-encoding" not in client.get(f"/page/runs/{run['id']}/result.csv").headers  # it is small


def test_a_run_is_watched_as_it_goes() -> None:
    held = HeldRun()
    with page_over(MemorySource(SMALL), [held]) as (client, _):
        run = start(client, "held", EXPORT)
        assert held.begun.wait(WAIT_SECONDS)
        told = events_of(client, f"/page/runs/{run['id']}/events")
        first = next(told)
        assert (first["state"], first["rows"], first["total"]) == ("running", 7, 14)
        held.may_end.set()
        assert [*told][-1]["state"] == "done"
        assert [run["state"] for run in client.get("/page/runs").json()] == ["done"]


@pytest.mark.gate
def test_two_runs_that_wait_for_one_server_are_told_of_apart() -> None:
    source = SlowlyMade({"a": csv_body(3)})
    with page_over(source, kinds_of_runs(source, "auto")) as (client, _):
        one, other = (start(client, "count", EXPORT) for _ in range(2))
        source.both.wait(WAIT_SECONDS)  # both wait for the server
        client.delete(f"/page/runs/{other['id']}")
        source.goes_on.wait(WAIT_SECONDS)
        assert ended(client, other)["state"] == "cancelled"
        assert ended(client, one)["state"] == "done"


@pytest.mark.parametrize("combined", [False, True])
def test_to_look_at_an_export_does_not_have_it_made(combined: bool) -> None:
    slow = SlowlyMade({"a": csv_body(3)})
    source = UnionSource(slow, MockSource()) if combined else slow
    with page_over(source) as (client, _):
        assert client.get(f"/page/export?export={EXPORT}").json()["rows"] is None
        assert client.get(f"/page/downloads?export={EXPORT}").status_code == 409
    assert slow.listed == 0


class SlowlyMade(MemorySource):
    """An export that has to be made first; it is, once two have asked for it, and been told that they wait."""

    def __init__(self, bodies: dict[str, bytes]) -> None:
        super().__init__(bodies)
        self.on_status: Callable[[str], None] | None = None
        self.both, self.goes_on = threading.Barrier(3), threading.Barrier(3)
        self.listed = 0

    keeps_state = False

    def made(self, _export: str) -> Any:
        return None

    def start(self, _export: str) -> str:
        return ""

    def cancel(self, _export: str) -> None:
        pass

    def is_current(self, _download: Any) -> bool:
        return True

    def finish(self, _export: str) -> None:
        pass

    def end(self) -> None:
        pass

    def downloads(self, export: str) -> Any:
        self.listed += 1
        assert self.on_status
        self.on_status("10 %")
        self.both.wait(WAIT_SECONDS)
        self.goes_on.wait(WAIT_SECONDS)
        self.on_status("100 %")
        return super().downloads(export)


@pytest.mark.gate
def test_a_cancelled_run_ends_and_so_does_a_count_whose_source_stalls() -> None:
    source = StallingSource({"a": csv_body(3)})
    held = HeldRun()
    with page_over(source, [held, *kinds_of_runs(source, "auto")]) as (client, _):
        for kind, begun in (("held", held.begun), ("count", source.stalled)):
            run = start(client, kind, EXPORT)
            assert begun.wait(WAIT_SECONDS)
            assert client.delete(f"/page/runs/{run['id']}").status_code == 202
            assert ended(client, run)["state"] == "cancelled"
            assert client.get(f"/page/runs/{run['id']}/result.json").status_code == 409
        assert source.ended.wait(WAIT_SECONDS)


@pytest.mark.gate
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UnreachableError("the server does not answer"), "the server does not answer"),
        (ValueError("/secret/path"), "an internal error ended the run; the server's log tells more"),
    ],
)
def test_a_run_that_fails_gives_a_message_and_never_a_trace(
    error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    held = HeldRun(error=error)
    held.may_end.set()
    with caplog.at_level(logging.CRITICAL + 1), page_over(MemorySource(SMALL), [held]) as (client, _):
        last = ended(client, start(client, "held", EXPORT))
        assert (last["state"], last["error"]) == ("failed", told)
        assert "Traceback" not in orjson.dumps(last).decode()
        assert "/secret" not in orjson.dumps(last).decode()


def test_a_count_of_bad_data_fails_with_the_messages_of_the_command() -> None:
    source = MemorySource({"a": HEADER + b"P001,2025-08-26T00:00:00Z\n"})
    with page_over(source, kinds_of_runs(source, "auto")) as (client, _):
        last = ended(client, start(client, "count", EXPORT))
        assert last["state"] == "failed"
        assert "line 2" in last["error"]


@pytest.mark.gate
def test_the_runs_at_a_time_are_bounded_and_old_ones_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "KEPT", 2)
    held = HeldRun()
    with page_over(MemorySource(SMALL), [held]) as (client, _):
        body = {"kind": "held", "export": EXPORT}
        under_way = [start(client, "held", EXPORT) for _ in range(runs_module.RUNNING_AT_ONCE)]
        refused = client.post("/page/runs", json=body)
        assert refused.status_code == 503
        assert "under way" in refused.json()["detail"]
        held.may_end.set()
        for run in under_way:
            ended(client, run)
        for _ in range(3):
            ended(client, start(client, "held", EXPORT))
        assert len(client.get("/page/runs").json()) == 2
        assert client.get(f"/page/runs/{under_way[0]['id']}").status_code == 404


@pytest.mark.gate
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"kind": "nothing", "export": EXPORT}, 404),
        ({"kind": "held", "export": "nothing"}, 404),
        ({"kind": "held"}, 422),
    ],
)
def test_what_cannot_be_run_is_refused(body: dict[str, str], status: int) -> None:
    with page_over(MemorySource(SMALL), [HeldRun()]) as (client, _):
        assert client.post("/page/runs", json=body).status_code == status


def test_another_site_cannot_start_a_run_by_a_plain_form() -> None:
    with page_over(MemorySource(SMALL), [HeldRun()]) as (client, _):
        body = orjson.dumps({"kind": "held", "export": EXPORT})
        for kind in ("text/plain", "application/x-www-form-urlencoded"):  # what a form can send without being asked for
            assert client.post("/page/runs", content=body, headers={"Content-Type": kind}).status_code == 422
        assert client.get("/page/runs").json() == []


def test_a_server_that_stops_cancels_its_runs_and_ends_its_streams() -> None:
    held = HeldRun()
    told: list[Any] = []
    with page_over(MemorySource(SMALL), [held]) as (client, _):
        run = start(client, "held", EXPORT)
        assert held.begun.wait(WAIT_SECONDS)
        watching = threading.Event()

        def watch() -> None:
            with httpx.Client(base_url=client.base_url, timeout=WAIT_SECONDS) as other:
                for event in events_of(other, f"/page/runs/{run['id']}/events"):
                    told.append(event)
                    watching.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert watching.wait(WAIT_SECONDS)
    assert held.ended.wait(WAIT_SECONDS)
    watcher.join(WAIT_SECONDS)
    assert not watcher.is_alive()


def test_a_stream_that_nobody_reads_any_more_is_let_go(eventually: Callable[[Callable[[], object]], None]) -> None:
    held = HeldRun()
    with page_over(MemorySource(SMALL), [held]) as (client, page):
        run = start(client, "held", EXPORT)
        told = events_of(client, f"/page/runs/{run['id']}/events")
        next(told)
        assert page.streams == 1
        told.close()  # type: ignore[attr-defined]
        eventually(lambda: page.streams == 0)


def test_without_a_page_there_is_none() -> None:
    from tests.server.serving import serving

    with serving(MemorySource(SMALL)) as url:
        assert httpx.get(f"{url}/").status_code == 404
        assert httpx.get(f"{url}/page/about").status_code == 404
