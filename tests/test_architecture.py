"""Who may import whom: one table of layers, which every import goes by (docs/design.md, "Rooms")."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest
from tests.import_graph import PACKAGE, ROOT, Graph, read_graph
from tests.pairing import by_default

import mockexport

if TYPE_CHECKING:
    from pathlib import Path

# From the top down: a room imports what stands below it, and rooms of one line never import each other. The modules of
# the last line are the base: they may import each other, and nothing else.
LAYERS = """
__main__
cli
__init__
factory
server heartrate pipeline sources report
reconciliation
stats stores
http smart sorting tally
_version bulk_manifest bulk_wire encoding errors extras fhir_export files formatting identity lazy local_file manifest \
model native outliers place settings shared source wire zstd
"""
EXTRAS = {  # the packages that only extras install, and where they may be imported
    "fastapi": ("server", "heartrate"),
    "starlette": ("server", "heartrate"),
    "uvicorn": ("server",),
    "pythonjsonlogger": ("server",),
    "anyio": ("server", "heartrate"),
    "pydantic": ("server", "heartrate"),
    "pydantic_core": ("heartrate",),
    "backports": ("zstd",),
    "deltalake": ("heartrate",),
    "polars": ("heartrate", "sources.parquet"),
    "prometheus_client": ("heartrate",),
    "limits": ("heartrate",),
    "psycopg": ("heartrate.journal.postgres",),
    "distributed": ("pipeline.dask",),
    "dask": ("pipeline.dask",),
    "tornado": ("pipeline.dask",),
    "obstore": ("stores",),
    "joserfc": ("smart",),
    "cryptography": ("smart",),
}
NEEDS_NO_EXTRA = (
    "heartrate",
    "heartrate.folder",
    "heartrate.readings",
    "heartrate.load",
    "sources.parquet",
    "stores",
    "stores.settings",
    "smart",
    "smart.tokens",
    "smart.credentials",
)  # the client's side of a room
CORE = {"typer", "rich", "httpx", "orjson", "tenacity"}
NEVER_INSTALLED = {"numpy", "pandas"}


def breaches(graph: Graph, table: str = LAYERS) -> list[str]:
    """Return each import that is against the table, and each room that the table does not name, as a sentence."""
    rows = [row.split() for row in table.strip().split("\n")]
    level = {room: number for number, row in enumerate(rows) for room in row}
    base = len(rows) - 1
    found = [f"{room} is not in the table" for room in sorted({room_of(name) for name in graph.modules} - level.keys())]
    found += [
        f"{room} is in the table and not there"
        for room in sorted(level.keys() - {room_of(name) for name in graph.modules})
    ]
    for module in graph.modules:
        ours = room_of(module)
        for imported in sorted(graph.own(module)):
            theirs = room_of(imported)
            if theirs != ours and not (
                level.get(ours, 0) < level.get(theirs, base) or level.get(ours) == level.get(theirs) == base
            ):
                found.append(f"{module} imports {imported}, which does not stand below it")
            if (face := face_of(graph, module, imported)) != imported:
                found.append(f"{module} imports {imported}, which is to be had from {face}")
        beside = [] if level.get(ours, base) == base else [room for room in rows[level[ours]] if room != ours]
        reached = {room_of(name) for name in graph.reaches(module)}
        found += [f"{module} reaches {room}, which stands beside it" for room in beside if room in reached]
    return found


def room_of(module: str) -> str:
    """Return the room of a module: the next part of its name behind the package's; the package itself is `__init__`."""
    return module.split(".")[1] if "." in module else "__init__"


def face_of(graph: Graph, module: str, imported: str) -> str:
    """Return from where a module gets what is in another: the outermost of its rooms that the module is not in."""
    parts = imported.split(".")
    for count in range(2, len(parts)):
        room = ".".join(parts[:count])
        if room in graph.packages and not f"{module}.".startswith(f"{room}."):
            return room
    return imported


def circle(graph: Graph) -> list[str] | None:
    """Return the modules of an import circle, if there is one; late imports and those for types close one too."""
    try:
        TopologicalSorter({module: graph.own(module) for module in graph.modules}).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return None


def test_every_import_goes_by_the_table_of_layers() -> None:
    assert breaches(read_graph()) == []


def test_there_is_no_import_circle() -> None:
    assert circle(read_graph()) is None


SMALL = {"cli/__init__.py": "", "cli/app.py": "from mockexport.http import get\n", "__init__.py": "", "errors.py": ""}
SMALL |= {"http/__init__.py": "from mockexport.http.body import get\n", "http/body.py": "import mockexport.errors\n"}
SMALL |= {"tally/__init__.py": "", "model.py": "import mockexport.errors\n"}
SMALL_LAYERS = "cli\n__init__\nhttp tally\nerrors model"


@pytest.mark.parametrize(
    ("file", "added", "told"),
    [
        (
            "errors.py",
            "import mockexport.http\n",
            "mockexport.errors imports mockexport.http, which does not stand below",
        ),
        ("errors.py", "def late():\n    import mockexport.cli\n", "mockexport.errors imports mockexport.cli, which"),
        ("http/body.py", "import mockexport.tally\n", "mockexport.http.body imports mockexport.tally, which does not"),
        (
            "cli/app.py",
            "import mockexport.http.body\n",
            "mockexport.cli.app imports mockexport.http.body, which is to be",
        ),
        ("web/__init__.py", "", "web is not in the table"),
        ("web.py", "", "web is not in the table"),
        (
            "model.py",
            "import mockexport.tally\n",
            "mockexport.model imports mockexport.tally, which does not stand below",
        ),
    ],
)
def test_an_import_against_the_table_is_found(tmp_path: Path, file: str, added: str, told: str) -> None:
    assert breaches(small_package(tmp_path / "sound"), SMALL_LAYERS) == []
    found = breaches(small_package(tmp_path / "unsound", {file: added}), SMALL_LAYERS)
    assert [line for line in found if line.startswith(told)], found


def test_an_import_of_a_room_beside_by_way_of_another_one_is_found(tmp_path: Path) -> None:
    graph = small_package(
        tmp_path, {"http/body.py": "import mockexport.model\n", "model.py": "import mockexport.tally\n"}
    )
    assert "mockexport.http.body reaches tally, which stands beside it" in breaches(graph, SMALL_LAYERS)


@pytest.mark.parametrize(
    "added",
    [
        "import mockexport.model\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mockexport.model import Counts\n",
        "def late():\n    from mockexport import model\n",
    ],
)
def test_a_circle_is_found_however_it_is_closed(tmp_path: Path, added: str) -> None:
    assert circle(small_package(tmp_path / "sound")) is None
    assert circle(small_package(tmp_path / "unsound", {"errors.py": added})) is not None


def small_package(root: Path, added: dict[str, str] | None = None) -> Graph:
    """Write a package like ours, with more in some of its files, and read its imports."""
    package = root / "mockexport"
    for name, text in (dict.fromkeys(added or {}, "") | SMALL).items():
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + (added or {}).get(name, ""), encoding="utf-8")
    return read_graph(package)


def test_the_tally_does_no_input_or_output_and_knows_the_model_alone() -> None:
    graph = read_graph()
    for module in graph.modules:
        if room_of(module) == "tally":
            assert {room_of(name) for name in graph.reaches(module)} <= {"tally", "model", "errors", "native"}, module
            assert not graph.foreign(module) & {"os", "io", "sys", "pathlib", "socket", "asyncio", "threading"}, module


def test_typer_and_rich_are_imported_in_the_command_line_alone() -> None:
    graph = read_graph()
    for module in graph.modules:
        assert room_of(module) == "cli" or not graph.foreign(module) & {"typer", "rich", "click"}, module


def test_the_packages_of_extras_are_imported_in_their_own_rooms_alone() -> None:
    graph = read_graph()
    for module in graph.modules:
        for package in graph.foreign(module) & EXTRAS.keys():
            assert any(is_in(module, room) for room in EXTRAS[package]), (module, package)


def test_no_module_of_the_core_loads_an_extra_by_way_of_others() -> None:
    graph = read_graph()
    for module in core_modules(graph):
        for loaded in graph.at_start(module):
            assert not graph.foreign(loaded, at_start=True) & (EXTRAS.keys() - {"anyio"}), (module, loaded)


def is_in(module: str, room: str) -> bool:
    return f"{module}.".startswith(f"mockexport.{room}.")


def core_modules(graph: Graph) -> list[str]:
    """Return the modules that work with no extra installed."""
    rooms = {room for rooms in EXTRAS.values() for room in rooms} - {"zstd"}
    free = [f"mockexport.{name}" for name in NEEDS_NO_EXTRA]
    return [
        name
        for name in graph.modules
        if not any(is_in(name, room) for room in rooms) or name in free or is_in(name, "heartrate.load")
    ]


ROOMS = sorted({*LAYERS.split()} - {"__main__"})


@pytest.mark.gate
@pytest.mark.parametrize("rooms", by_default({"all": ROOMS, **{room: [room] for room in ROOMS}}, "all"))
def test_each_module_of_a_room_can_be_imported_first(rooms: list[str]) -> None:
    """One process for all rooms shares the packages of others, so slow runs have one for each room, too."""
    names = [name for name in read_graph().modules if room_of(name) in rooms]
    script = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == "mockexport"]:
        if not loaded.endswith("_native"):
            del sys.modules[loaded]
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()


def test_the_core_works_with_no_extra_installed() -> None:
    """The core's modules are loaded with every package of the extras hidden, and an export is counted."""
    core = [name for name in core_modules(read_graph()) if not name.endswith("__main__")]
    hidden = sorted(EXTRAS.keys() - {"pydantic", "pydantic_core", "anyio"})  # typer and httpx have these, too
    script = f"""
import importlib, sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
for name in {core!r}:
    importlib.import_module(name)
import mockexport
assert mockexport.count(mockexport.open_source("mock"), "demo").rows == 18784
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()


def test_importing_the_package_loads_neither_the_terminal_nor_the_network() -> None:
    script = "import mockexport, sys; print(*sorted({n.split('.')[0] for n in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout.split()
    assert not {"typer", "rich", "httpx", "orjson"} & set(loaded)


def test_every_public_name_is_there_and_documented() -> None:
    for name in mockexport.__all__:
        value = getattr(mockexport, name)
        assert name.startswith("__") or value.__doc__, name
    assert dir(mockexport) == mockexport.__all__
    with pytest.raises(AttributeError, match="nonsense"):
        _ = mockexport.nonsense


def test_no_locked_package_is_or_needs_pandas_or_numpy() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    names = {package["name"] for package in lock["package"]}
    assert {"typer", "rich", "httpx", "orjson", "mockexport"} <= names
    assert not names & NEVER_INSTALLED


def test_no_file_of_ours_imports_pandas_or_numpy() -> None:
    for package in (PACKAGE, ROOT / "tests"):
        graph = read_graph(package)
        for module in graph.modules:
            assert not graph.foreign(module) & NEVER_INSTALLED, module


def test_the_core_depends_on_five_packages_and_no_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {name.split(">")[0] for name in project["dependencies"]} == CORE


def test_the_version_stands_in_one_place_and_the_changelog_tells_of_it() -> None:
    assert f"[{mockexport.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert (PACKAGE / "_version.py").read_text(encoding="utf-8").count(mockexport.__version__) == 1


def test_the_picture_of_the_rooms_is_current() -> None:
    from tests.draw_rooms import PICTURE, draw

    assert PICTURE.read_text(encoding="utf-8") == draw(read_graph()), (
        "run: uv run --group dev python -m tests.draw_rooms"
    )


def test_no_file_is_longer_than_400_lines() -> None:
    files = [path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".c", ".h"}]
    assert {path.name for path in files if len(path.read_text(encoding="utf-8").splitlines()) > 400} == set()
