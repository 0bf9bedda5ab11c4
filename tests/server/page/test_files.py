"""The page's own files: small, open, of known origin, and unable to load anything from elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.server.page.serving import page_over
from tests.sources import MemorySource, csv_body

from mockexport.server.page.files import page_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

STATIC = Path(__file__).parents[3] / "src/mockexport/server/page/static"
OURS = sorted(path for path in STATIC.iterdir() if path.suffix in {".js", ".html", ".css"})
BYTES_SENT = 100_000  # at most, for all files and their heads
HEAD_BYTES = 900  # of one answer, about
VENDORED = {  # uPlot 1.6.32, as `npm pack uplot@1.6.32` gives it
    "uPlot.esm.js": "5dd9b3281aa64b461b42d9945f6adb2649d346502b12281a9ae0d46599a80eba",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}


@pytest.fixture(scope="module")
def page() -> Iterator[httpx.Client]:
    with page_over(MemorySource({"a": csv_body(3)}), token="secret") as (client, _):
        yield client


def test_all_files_together_are_sent_in_less_than_100_kb(page: httpx.Client) -> None:
    sent = 0
    for path in ["/", *(f"/page/static/{name}" for name in page_files() if not name.endswith("LICENSE"))]:
        with page.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
            body = b"".join(answer.iter_raw())
            assert answer.status_code == 200
            assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(body) == page.get(path, headers={"Accept-Encoding": "identity"}).content
        sent += len(body) + HEAD_BYTES
    assert sent < BYTES_SENT


def test_the_files_need_no_token_and_let_a_browser_load_nothing_from_elsewhere(page: httpx.Client) -> None:
    for path in ["/", *(f"/page/static/{name}" for name in page_files())]:
        answer = page.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        assert {"frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} <= set(policy.split("; "))
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["../routes.py", "..%2froutes.py", "vendor", "nothing.js", "", "/etc/passwd"])
def test_no_other_file_is_sent(page: httpx.Client, name: str) -> None:
    assert page.get(f"/page/static/{name}").status_code == 404


def test_a_browser_that_has_a_file_is_not_sent_it_again(page: httpx.Client) -> None:
    tag = page.get("/").headers["etag"]
    answer = page.get("/", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert page.get("/", headers={"If-None-Match": 'W/"other"'}).status_code == 200


@pytest.mark.parametrize("name", VENDORED)
def test_what_is_vendored_is_what_its_author_published(name: str) -> None:
    assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == VENDORED[name]


def test_nothing_else_is_vendored_and_its_version_is_known() -> None:
    assert {path.name for path in (STATIC / "vendor").iterdir()} == set(VENDORED)
    assert "MIT License" in (STATIC / "vendor/uPlot.LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_no_text_can_become_markup_and_nothing_is_loaded_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    makes_markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|setHTML"
    assert not re.search(makes_markup, text)
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)
    assert len(text.splitlines()) <= 400
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", text)


def test_a_forbidden_line_would_be_found(tmp_path: Path) -> None:
    for line in ("x.innerHTML = y", "import 'https://cdn.example/x.js'"):
        (tmp_path / "bad.js").write_text(line, encoding="utf-8")
        with pytest.raises(AssertionError):
            test_no_text_can_become_markup_and_nothing_is_loaded_from_elsewhere(tmp_path / "bad.js")
