"""The native parts: which pyproject.toml declares, and how they are compiled."""

from __future__ import annotations

import sysconfig
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from setuptools.command.build_ext import build_ext

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from setuptools import Extension

__all__ = ["FREE_THREADED", "BuildNative", "NativePart", "absent_parts", "declared_parts"]

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
BUILT = (".so", ".pyd")
FOR_MSVC = {"-std=c11": "/std:c11", "-O3": "/O2", "-ffp-contract=off": "/fp:precise"}


@dataclass(frozen=True)
class NativePart:
    """An extension module, and the C files that it is compiled from, relative to the project."""

    name: str
    files: tuple[str, ...]


def declared_parts(root: Path) -> list[NativePart]:
    """Return the native parts that the project's pyproject.toml declares, in its order."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return [
        NativePart(module["name"], (*module["sources"], *module.get("depends", ())))
        for module in project["tool"]["setuptools"]["ext-modules"]
    ]


def absent_parts(parts: Iterable[NativePart], files: Iterable[str]) -> list[str]:
    """Return the names of the parts for which no compiled file is among the files of a wheel."""
    built = {file.split(".")[0] for file in files if file.endswith(BUILT)}
    return [part.name for part in parts if part.name.replace(".", "/") not in built]


class BuildNative(build_ext):
    """The command of setuptools that compiles, with what depends on the compiler and on the build of Python."""

    def finalize_options(self) -> None:
        """Set up the extensions; called before their files are named."""
        for extension in self.distribution.ext_modules or ():
            if FREE_THREADED:  # it has no limited API, and from 3.15 on a suffix .abi3t, which promises one
                extension.py_limited_api = False  # type: ignore[attr-defined]
        super().finalize_options()

    def build_extension(self, ext: Extension) -> None:
        """Compile one extension."""
        if self.compiler.compiler_type == "msvc":
            ext.extra_compile_args = [FOR_MSVC.get(argument, argument) for argument in ext.extra_compile_args]
        else:
            ext.extra_compile_args = [*ext.extra_compile_args, "-g0"]  # debug information names the folder
        super().build_extension(ext)
