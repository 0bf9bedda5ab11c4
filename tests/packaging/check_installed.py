"""Checks an installed mockexport, with nothing but Python: python tests/packaging/check_installed.py [OPTION] OUTPUTS.

It must run its native parts, or with --pure their twins; count `demo`; and agree with the committed results in OUTPUTS.
With --library, only the library counts, which needs none of the dependencies; and the GIL must stay off if it can.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

COMMAND = Path(sysconfig.get_path("scripts")) / "mockexport"


def main(outputs: Path, kernel: str) -> None:
    version = run("--version").strip()
    assert f" {kernel}" in version, version
    assert json.loads(run("count", "demo")) == json.loads((outputs / "demo.json").read_text(encoding="utf-8"))
    start = time.perf_counter()
    names = ("demo", "small", "large") if kernel == "native" else ("demo",)  # the pure twins take long
    files = [outputs / f"{name}.json" for name in names]
    verified = json.loads(run("verify", *map(str, files)))
    assert (verified["verified"], verified["differing"]) == (len(files), 0), verified
    print(f"{version}: count and verify agree, in {time.perf_counter() - start:.1f} s")


def check_library(outputs: Path) -> None:
    import mockexport

    start = time.perf_counter()
    for name in ("demo", "large"):
        counts = mockexport.count(mockexport.open_source(kernel="native"), name, kernel="native")
        expected = json.loads((outputs / f"{name}.json").read_text(encoding="utf-8"))
        assert {"patients": counts.patients, "totals": counts.totals} == expected
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    assert gil is not bool(sysconfig.get_config_var("Py_GIL_DISABLED")), "a native part has switched the GIL on"
    took = f"{time.perf_counter() - start:.1f} s"
    print(f"Python {sys.version.split()[0]}, GIL {'on' if gil else 'off'}: the library agrees, in {took}")


def run(*arguments: str) -> str:
    return subprocess.check_output([COMMAND, *arguments], text=True, encoding="utf-8")


if __name__ == "__main__":
    if "--library" in sys.argv:
        check_library(Path(sys.argv[-1]))
    else:
        main(Path(sys.argv[-1]), "pure" if "--pure" in sys.argv else "native")
