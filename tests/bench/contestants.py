"""Who takes part: our own command, and what a user would pick instead."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from tests.bench.contest import Contestant
from tests.bench.launch import CHILD, OURS, installed, launch, launch_timed_inside

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "curl",
    "curl_mawk",
    "dict_reader",
    "duckdb",
    "httpx_csv",
    "in_memory",
    "instruction_sets",
    "mawk",
    "ndjson_duckdb",
    "ndjson_orjson",
    "ndjson_polars",
    "needs",
    "ours",
    "polars",
    "reader_counter",
    "stats_duckdb",
    "stats_polars",
    "warm_up",
]

PEERS = Path(__file__).parent / "peers"
PYTHON = CHILD[0]


def needs(module: str) -> str:
    """Return why a peer can't take part: nothing when it can."""
    return "" if find_spec(module) else f"{module} is not installed: uv run --group bench"


def instruction_sets(tally: str = "") -> tuple[str, ...]:
    """The ways of a native tally on this machine, the chosen one first; none where it was not built."""
    try:
        from mockexport.tally import _native
        from mockexport.tally.fhir import _native as _native_fhir
    except ImportError:
        return ()
    return _native_fhir.INSTRUCTION_SETS if tally == "fhir" else _native.INSTRUCTION_SETS


def warm_up() -> None:
    """Import once whatever will be imported, so that its byte code is there, and in the page cache."""
    launch(*OURS, "count", "demo")
    launch(PYTHON, "-c", f"import {', '.join(['httpx', *filter(find_spec, ('polars', 'duckdb'))])}")


def ours(*arguments: object, name: str = "mockexport", rounds: int | None = None, **changes: str) -> Contestant:
    """Our command, as a user runs it."""
    return Contestant(name, partial(launch, *OURS, *arguments, **changes), rounds)


def in_memory(
    name: str, way: str, file: Path, rounds: int | None = None, *, absent: str = "", times: int = 1
) -> Contestant:
    """One that counts the bytes of a file in memory; no start-up in its time."""
    work = partial(launch_timed_inside, *CHILD, "tests.bench.in_memory", way, file, times)
    return Contestant(name, work, rounds, absent)


def script(
    name: str, file: str, inputs: Sequence[object], rounds: int | None, absent: str = "", **changes: str
) -> Contestant:
    return Contestant(name, partial(launch, PYTHON, PEERS / file, *inputs, **changes), rounds, absent)


def dict_reader(inputs: Sequence[object], rounds: int | None = None) -> Contestant:
    return script("csv.DictReader", "csv_dictreader.py", inputs, rounds)


def reader_counter(inputs: Sequence[object], rounds: int | None = None) -> Contestant:
    return script("csv.reader, Counter", "csv_counter.py", inputs, rounds)


def polars(inputs: Sequence[object], rounds: int | None = None, **changes: str) -> Contestant:
    return script("Polars", "polars_streaming.py", inputs, rounds, needs("polars"), **changes)


def duckdb(inputs: Sequence[object], rounds: int | None = None) -> Contestant:
    return script("DuckDB", "duckdb_sql.py", inputs, rounds, needs("duckdb"))


def ndjson_polars(inputs: Sequence[object], rounds: int | None = None) -> Contestant:
    return script("Polars", "ndjson_polars.py", inputs, rounds, needs("polars"))


def ndjson_duckdb(inputs: Sequence[object], rounds: int | None = None) -> Contestant:
    return script("DuckDB", "ndjson_duckdb.py", inputs, rounds, needs("duckdb"))


def ndjson_orjson(inputs: Sequence[object], rounds: int | None = None) -> Contestant:
    return script("orjson a line", "ndjson_orjson.py", inputs, rounds)


def httpx_csv(urls: Sequence[str], rounds: int | None = None) -> Contestant:
    return script("httpx, csv.reader, Counter", "httpx_csv.py", urls, rounds)


def stats_duckdb(inputs: Sequence[object], rounds: int | None = None) -> Contestant:
    return script("DuckDB", "stats_duckdb.py", inputs, rounds, needs("duckdb"))


def stats_polars(inputs: Sequence[object], rounds: int | None = None) -> Contestant:
    return script("Polars", "stats_polars.py", inputs, rounds, needs("polars"))


def mawk(inputs: Sequence[object], rounds: int | None = None) -> Contestant:
    work = partial(launch, "mawk", "-F,", "-f", PEERS / "count.awk", *inputs)
    return Contestant("mawk", work, rounds, installed("mawk"))


def curl_mawk(urls: Sequence[str], rounds: int | None = None) -> Contestant:
    line = f"curl -sSf {' '.join(map(quote, urls))} | mawk -F, -f {quote(str(PEERS / 'count.awk'))}"
    absent = installed("curl") or installed("mawk")
    return Contestant("curl, mawk", partial(launch, "sh", "-c", line), rounds, absent)


def curl(urls: Sequence[str], rounds: int | None = None) -> Contestant:
    """Who fetches and counts nothing: a bound for one connection after the other."""
    line = f"curl -sSf {' '.join(map(quote, urls))} >/dev/null"
    work = partial(launch, "sh", "-c", line)
    return Contestant("curl to /dev/null, counting nothing", work, rounds, installed("curl"), answers=False)
