"""A list of downloads streams: few are asked for at a time, none is kept, and the answer is whole or not there."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from contextlib import closing
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scripted_http import json

from mockexport.cli.output import csv_lines, json_list, write_output
from mockexport.encoding import json_bytes
from mockexport.errors import NotFoundError
from mockexport.sources.http import METADATA_AHEAD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.scripted_http import ScriptedServer

    from mockexport.sources.http import HttpSource

BYTES_AN_ID = 200
IDS = 100_000
MANY = 200_000

# ---- What is asked for ----


def memory_before_the_first(server: ScriptedServer, ids: int) -> int:
    """Return how many bytes a process needed, at the most, to list so many ids and get the first download."""
    names = [f"download-{number:011}" for number in range(ids)]
    server.has("trial", dict.fromkeys(names, b""))
    script = f"""
import re
from pathlib import Path
from mockexport import open_source
assert next(iter(open_source({server.url!r}).downloads("trial"))).id == {names[0]!r}
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1], flush=True)
"""
    return 1024 * int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)


@pytest.mark.gate
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's own memory is read from /proc")
def test_a_list_of_ids_takes_less_than_200_bytes_an_id(http_server: ScriptedServer) -> None:
    few, many = (memory_before_the_first(http_server, ids) for ids in (2 * METADATA_AHEAD, IDS))
    assert (many - few) / IDS < BYTES_AN_ID


def test_metadata_is_asked_for_a_little_ahead_of_what_is_taken(
    http_server: ScriptedServer, http_source: HttpSource
) -> None:
    names = [f"d{number}" for number in range(5 * METADATA_AHEAD)]
    http_server.has("trial", dict.fromkeys(names, b""))
    with closing(http_source.downloads("trial")) as downloads:  # type: ignore[type-var]
        taken = [download.id for download in islice(downloads, 10)]
    assert taken == names[:10]
    asked = [target for target in http_server.asked_for() if target.startswith("/api/export/trial/")]
    assert 10 <= len(asked) <= 10 + METADATA_AHEAD


def test_the_ids_are_asked_for_at_once(http_server: ScriptedServer, http_source: HttpSource) -> None:
    http_server.answers["/api/export"] = json({"data": {"export_ids": ["trial"]}})
    with pytest.raises(NotFoundError, match="no export 'trail'"):
        http_source.downloads("trail")


# ---- What is written ----

DOCUMENTS = st.lists(
    st.dictionaries(st.text(), st.one_of(st.none(), st.integers(-9, 9), st.text(), st.lists(st.text())), max_size=4),
    max_size=5,
)


@given(DOCUMENTS)
def test_a_list_that_is_written_piece_by_piece_is_the_same_to_the_byte(documents: list[dict[str, Any]]) -> None:
    assert b"".join(json_list(documents)) == json_bytes(documents)


def endless(taken: list[int]) -> Iterator[dict[str, int]]:
    for number in count():
        taken.append(number)
        yield {"number": number}


def test_documents_are_taken_as_they_are_written() -> None:
    taken: list[int] = []
    assert len(list(islice(json_list(endless(taken)), 10))) == 10
    assert taken == list(range(10))
    taken.clear()
    rows = ([document["number"]] for document in endless(taken))
    assert list(islice(csv_lines(["number"], rows), 10))[-1] == "8\n"
    assert taken == list(range(9))


@pytest.mark.gate
def test_an_answer_of_any_length_is_written_in_bounded_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        write_output(json_list({"id": "x" * 100} for _ in range(MANY)), tmp_path / "list.json")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    written = tmp_path / "list.json"
    assert written.stat().st_size > 100 * MANY
    assert peak < 4 << 20
    assert len(orjson.loads(written.read_bytes())) == MANY
