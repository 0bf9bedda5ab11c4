"""A list of a server's downloads is written whole or not at all, wherever it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.pairing import pairs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import RunCommand
    from tests.scripted_http import ScriptedServer


FORMS = {form: form for form in ("json", "csv", "table")}
OUTPUTS: dict[str, tuple[str, ...]] = {"stdout": (), "a file": ("-o", "list"), "/dev/stdout": ("-o", "/dev/stdout")}


@pytest.mark.parametrize(("form", "output"), pairs(FORMS, OUTPUTS))
def test_a_list_that_ends_in_an_error_is_not_written_at_all(
    http_server: ScriptedServer, command: RunCommand, workplace: Path, form: str, output: tuple[str, ...]
) -> None:
    http_server.has("trial", dict.fromkeys("abc", b""))
    del http_server.answers["/api/export/trial/c"]
    (workplace / "list").write_text("before")
    ended = command("downloads", "list", "trial", "-s", http_server.url, "--format", form, *output)
    assert (ended.code, ended.stdout) == (3, "")
    assert (workplace / "list").read_text() == "before"
    assert [file.name for file in workplace.iterdir()] == ["list"]


@pytest.mark.gate
@pytest.mark.parametrize("form", ["json", "csv"])
def test_stdout_and_a_file_get_the_same_list(
    http_server: ScriptedServer, command: RunCommand, workplace: Path, form: str
) -> None:
    http_server.has("trial", dict.fromkeys([f"d{number}" for number in range(30)], b""), rows={"d7": 7})
    for listing in (("downloads", "list", "trial"), ("exports", "list")):
        shown = command(*listing, "-s", http_server.url, "--format", form)
        assert command(*listing, "-s", http_server.url, "--format", form, "-o", "list").code == shown.code == 0
        assert (workplace / "list").read_text() == shown.stdout != ""
