"""`/docs` and `/redoc`: files of known origin, and no others."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.server.page.serving import page_over
from tests.sources import MemorySource

from mockexport.server.page.description import api_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

FILES = Path(__file__).parents[3] / "src/mockexport/server/page/openapi"
OURS = sorted(path for path in FILES.iterdir() if path.is_file())
# swagger-ui-dist 5.35.0 (Apache-2.0) and redoc 2.5.4 (MIT), as `npm pack` gives them; the large ones compressed by us
VENDORED = {
    "redoc.LICENSE": "d3026d549cf68ab7355bcfa85877bf8f845b3334a7efbfdc63936432fb34ff0e",
    "redoc.standalone.js.LICENSE.txt": "eed602ec32e00b2b9df1984fbcc26a687b1b3193ec01961389c4b8439e6edf73",
    "redoc.standalone.js.gz": "dcaf76612bc4a3fbcc923a8966dee2f6146a5f32e5ce1b6f02dd60cbbf89500b",
    "swagger-ui-bundle.js.LICENSE.txt": "37eb6e7e59aed57b2c1acf076574b818ea07b74265717e0bd67b59e0baf9abbb",
    "swagger-ui-bundle.js.gz": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    "swagger-ui.NOTICE": "0d20d1adef18aee3f40dd258172155521ce702ac445cb5f7b7d60ed32dad2fb2",
    "swagger-ui.css.gz": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
PACKAGE_BYTES = 900_000  # at most, of all these files in the package
PAGES = ("/docs", "/redoc")


@pytest.fixture(scope="module")
def server() -> Iterator[httpx.Client]:
    with page_over(MemorySource({}), token="secret") as (client, _):
        yield client


def test_what_is_vendored_is_what_its_authors_published_and_nothing_else_is() -> None:
    found = {path.name: path.read_bytes() for path in (FILES / "vendor").iterdir()}
    plain = {name: gzip.decompress(data) if name.endswith(".gz") else data for name, data in found.items()}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in plain.items()} == VENDORED
    assert sum(map(len, found.values())) < PACKAGE_BYTES
    assert b"Apache License" in plain["swagger-ui.LICENSE"]
    assert b"MIT License" in plain["redoc.LICENSE"]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_and_all_it_loads_need_no_token_and_come_from_this_server(server: httpx.Client, path: str) -> None:
    page = server.get(path)
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert "openapi.json" in loaded
    for url in loaded:
        assert url == "data:," or server.get(f"/{url}").status_code == 200
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert "script-src" not in policy
    assert [name for name, allowed in policy.items() if "unsafe" in allowed] == ["style-src"] * (path == "/redoc")
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors", "object-src")} == {"'none'"}


@pytest.mark.parametrize("path", PAGES)
def test_head_answers_as_get_does(server: httpx.Client, path: str) -> None:
    head, get = server.head(path), server.get(path)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", get.headers["etag"])


@pytest.mark.parametrize("name", ["../static/index.html", "nothing.js", "vendor", "vendor/swagger-ui.NOTICE", ""])
def test_no_other_file_is_sent(server: httpx.Client, name: str) -> None:
    assert server.get(f"/docs/static/{name}").status_code == 404


def test_a_large_file_is_sent_as_it_is_kept_or_plain(server: httpx.Client) -> None:
    name = "vendor/swagger-ui-bundle.js"
    assert api_files()[name].compressed == (FILES / f"{name}.gz").read_bytes()
    answer = server.get(f"/docs/static/{name}", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    plain = server.get(f"/docs/static/{name}", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert answer.content == plain.content


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_our_own_files_have_no_inline_script_and_name_no_other_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|\binnerHTML\b|\beval\b", text)
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", text)
