"""On what the figures were taken: the machine, the versions of everything, and which kernels ran."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.bench.launch import environment, installed

from mockexport import __version__
from mockexport.tally import tally_name

__all__ = ["machine_lines"]

PACKAGES = ("polars", "duckdb", "httpx", "uvicorn")


def machine_lines() -> list[str]:
    """Return it as lines of Markdown."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ", ".join(f"{package} {_package(package)}" for package in PACKAGES)
    tools = f"{_tool('curl', '--version')}, {_tool('mawk', '-W', 'version')}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return [
        f"- {cores} cores of {_processor()}, {_memory()} of memory, {platform.system()} {platform.release()}",
        f"- mockexport {__version__}, {tally_name()} kernels, {python}",
        f"- {packages}, {tools}",
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8")) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError, AttributeError):
        return "unknown size"


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _tool(name: str, *arguments: str) -> str:
    if absent := installed(name):
        return absent
    told = subprocess.run([name, *arguments], env=environment(), capture_output=True, text=True, check=False)
    return " ".join((told.stdout or told.stderr).split(maxsplit=2)[:2])
