"""The house keeps its shape: who may know of whom (docs/design.md, "Nevers")."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mockexport

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "mockexport"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for path in PACKAGE.rglob("*.py")
)
EXTRAS = {  # each package with the rooms that may know it
    "fastapi": ["server", "heartrate"],
    "starlette": ["server", "heartrate"],
    "uvicorn": ["server"],
    "anyio": ["server", "heartrate"],
    "pydantic": ["server", "heartrate"],
    "pydantic_core": ["heartrate"],
    "backports": ["server", "zstd"],
    "deltalake": ["heartrate"],
    "polars": ["heartrate"],
    "prometheus_client": ["heartrate"],
    "distributed": ["cluster"],
    "dask": ["cluster"],
    "tornado": ["cluster"],
}
NEEDS_NO_EXTRA = {  # the part of the heart-rate room that a client has
    f"mockexport.heartrate{name}" for name in ("", ".client", ".extra", ".folder", ".making", ".readings", ".sending")
}
PIPELINE = ("counts", "tally", "workers", "checkpoint", "fetching", "verify", "client", "directory", "mock", "manifest")
NEVER_INSTALLED = {"numpy", "pandas"}


def path_of(module: str) -> Path:
    path = SOURCE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def imports(module: str, *, late: bool = True) -> frozenset[str]:
    """What a module imports, by full name; `late` includes imports within functions, those for types never count."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not late:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            name = node.module or ""
            found.update(f"{name}.{alias.name}" if f"{name}.{alias.name}" in MODULES else name for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path_of(module).read_text(encoding="utf-8")))
    return frozenset(found)


def own_imports(module: str, *, late: bool = True) -> set[str]:
    return {name for name in imports(module, late=late) if name in MODULES}


def in_room(module: str, room: str) -> bool:
    return module == f"mockexport.{room}" or module.startswith(f"mockexport.{room}.")


def test_there_are_modules_to_look_at() -> None:
    assert {"mockexport", "mockexport.counts", "mockexport.cli.app", "mockexport.server.app"} <= set(MODULES)
    assert "mockexport.tally" in own_imports("mockexport.counts")


@pytest.mark.parametrize("module", MODULES)
def test_only_the_entry_point_imports_the_command_line(module: str) -> None:
    if not in_room(module, "cli") and module != "mockexport.__main__":
        assert not [name for name in own_imports(module) if in_room(name, "cli")]


@pytest.mark.parametrize("module", MODULES)
def test_typer_is_imported_in_cli_alone_and_rich_in_cli_and_output_alone(module: str) -> None:
    roots = {name.split(".")[0] for name in imports(module)}
    assert "typer" not in roots or in_room(module, "cli")
    assert "rich" not in roots or in_room(module, "cli") or module == "mockexport.output"


def test_counts_takes_any_source_and_knows_none() -> None:
    for room in ("client", "directory", "mock", "server"):
        assert not [name for name in own_imports("mockexport.counts") if in_room(name, room)]


@pytest.mark.parametrize(("one", "other"), [("server", "client"), ("client", "server")])
def test_server_and_client_meet_in_wire_alone(one: str, other: str) -> None:
    for module in MODULES:
        if in_room(module, one):
            assert not [name for name in own_imports(module) if in_room(name, other)]


def test_the_tally_imports_nothing_of_ours_and_does_no_input_or_output() -> None:
    for module in MODULES:
        if in_room(module, "tally"):
            assert all(in_room(name, "tally") for name in own_imports(module))
            assert not imports(module) & {"os", "io", "sys", "pathlib", "socket", "asyncio", "threading"}


def test_extras_are_imported_in_their_own_rooms_alone() -> None:
    for module in MODULES:
        known = {name.split(".")[0] for name in imports(module)} & EXTRAS.keys()
        assert not known or module not in NEEDS_NO_EXTRA, module
        for name in known:
            assert any(in_room(module, room) for room in EXTRAS[name]), (module, name)


def test_heart_rates_and_the_counting_pipeline_meet_in_source_and_catalog_alone() -> None:
    for module in MODULES:
        if in_room(module, "heartrate"):
            assert not [name for name in own_imports(module) if any(in_room(name, room) for room in PIPELINE)], module
        if any(in_room(module, room) for room in PIPELINE):
            assert not [name for name in own_imports(module) if in_room(name, "heartrate")], module


def test_the_server_knows_nothing_of_heart_rates() -> None:
    for module in MODULES:
        if in_room(module, "server"):
            assert not [name for name in own_imports(module) if in_room(name, "heartrate")]


def test_a_cluster_knows_no_particular_source_and_counts_knows_no_cluster() -> None:
    for module in [module for module in MODULES if in_room(module, "cluster")]:
        for room in ("client", "directory", "mock", "server"):
            assert not [name for name in own_imports(module) if in_room(name, room)]
    assert not [name for name in own_imports("mockexport.counts") if in_room(name, "cluster")]


def test_there_is_no_import_circle() -> None:
    graph = {module: own_imports(module, late=False) - {module} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(f"import circle: {circle.args[1]}")


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_each_module_can_be_imported_alone(module: str) -> None:
    run = subprocess.run([sys.executable, "-W", "error", "-c", f"import {module}"], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()


def test_the_core_works_with_no_extra_installed() -> None:
    """The core's modules are loaded with every package of the extras hidden, and an export is counted."""
    extra_rooms = {room for rooms in EXTRAS.values() for room in rooms} - {"zstd"}
    core = [
        name
        for name in MODULES
        if name in NEEDS_NO_EXTRA or not (any(in_room(name, room) for room in extra_rooms) or name.endswith("__main__"))
    ]
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
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & NEVER_INSTALLED, path


def test_the_core_depends_on_five_packages_and_no_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {name.split(">")[0] for name in project["dependencies"]} == {"typer", "rich", "httpx", "orjson", "tenacity"}


def test_the_version_stands_in_one_place_and_the_changelog_tells_of_it() -> None:
    assert f"[{mockexport.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert (PACKAGE / "_version.py").read_text(encoding="utf-8").count(mockexport.__version__) == 1
