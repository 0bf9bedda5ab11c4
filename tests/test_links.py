"""Links of README.md, CHANGELOG.md and the docs lead to files and headings that there are."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.import_graph import PACKAGE

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("**/*.md"))]
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`[^`\n]*`")
MENTIONED = re.compile(r"\bdocs/[\w/-]+\.(?:md|svg)\b")


def links(page: Path) -> list[str]:
    return LINK.findall(INLINE.sub("code", FENCED.sub("", page.read_text(encoding="utf-8"))))


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub, GitLab and Gitea make them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


def broken(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere."""
    found = []
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        is_there = target.is_relative_to(ROOT) and target.exists()
        if not is_there or (parts.fragment and parts.fragment not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert not broken(page)


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# The `one` heading, and more\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#the-one-heading-and-more) [c](https://example.org/x) `[d](code.md)`\n"
        "![e](missing.svg) [f](other.md#another) [g](#here) [h](../outside.md)\n",
        encoding="utf-8",
    )
    (tmp_path.parent / "outside.md").touch()
    assert broken(page) == ["missing.svg", "other.md#another", "#here", "../outside.md"]


def test_every_page_of_the_docs_is_linked_from_another_page() -> None:
    linked = {(page.parent / urlsplit(link).path).resolve() for page in PAGES for link in links(page)}
    assert [page for page in PAGES if page.parent.name == "docs" and page not in linked] == []


def test_every_page_that_messages_help_and_docstrings_name_exists() -> None:
    sources = [file for ending in ("py", "c", "h", "pyi") for file in PACKAGE.rglob(f"*.{ending}")]
    named = {name for file in [*sources, *PAGES] for name in MENTIONED.findall(file.read_text(encoding="utf-8"))}
    assert "docs/faults.md" in named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
