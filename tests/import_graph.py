"""The modules of the package and who imports whom, read from the source: imports at any depth, those for types too."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "mockexport"


@dataclass(frozen=True, slots=True)
class Import:
    """One import: the module that it is of, and whether it runs as soon as the importing module is loaded."""

    target: str
    at_start: bool


@dataclass(frozen=True)
class Graph:
    """The modules of a package, by their full names, each with what it imports."""

    imports: dict[str, frozenset[Import]]
    packages: frozenset[str]

    @property
    def modules(self) -> list[str]:
        return sorted(self.imports)

    def own(self, module: str) -> set[str]:
        """The modules of the package that a module imports."""
        return {found.target for found in self.imports[module] if found.target in self.imports} - {module}

    def foreign(self, module: str, *, at_start: bool = False) -> set[str]:
        """The packages of others that a module imports; `at_start` leaves late imports and those for types out."""
        return {
            found.target.split(".")[0]
            for found in self.imports[module]
            if found.target not in self.imports and (found.at_start or not at_start)
        }

    def reaches(self, module: str) -> set[str]:
        """All modules of the package that a module imports, and those that they import, and so on."""
        reached: set[str] = set()
        rest = [module]
        while rest:
            for target in self.own(rest.pop()) - reached:
                reached.add(target)
                rest.append(target)
        return reached

    def at_start(self, module: str) -> set[str]:
        """All modules of the package that are loaded with a module, parent packages among them."""
        loaded: set[str] = set()
        rest = [module]
        while rest:
            name = rest.pop()
            if name in loaded or name not in self.imports:
                continue
            loaded.add(name)
            rest += [found.target for found in self.imports[name] if found.at_start]
            rest.append(name.rpartition(".")[0])
        return loaded


@cache
def read_graph(package: Path = PACKAGE) -> Graph:
    """Read the imports of all modules below a package's folder."""
    root = package.parent
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(package.rglob("*.py"))
    }
    packages = frozenset(name for name, path in paths.items() if path.name == "__init__.py")
    return Graph({name: frozenset(_imports(path, paths.keys())) for name, path in paths.items()}, packages)


def _imports(path: Path, modules: object) -> set[Import]:
    assert isinstance(modules, type({}.keys()))
    found: set[Import] = set()

    def visit(node: ast.AST, *, at_start: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            at_start = False
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            at_start = False
        if isinstance(node, ast.Import):
            found.update(Import(alias.name, at_start) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(Import(name if name in modules else node.module or "", at_start))
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):  # expressions import nothing
                visit(child, at_start=at_start)

    visit(ast.parse(path.read_text(encoding="utf-8")), at_start=True)
    return found
