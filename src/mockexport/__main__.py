"""The entry point of the command `mockexport`, and of `python -m mockexport`."""

from __future__ import annotations

import contextlib
import gc
import sys

__all__ = ["main"]

GC_THRESHOLD = 10_000  # imports allocate about 100,000 objects, none of which is garbage


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):  # a fast path, which does not load Typer
        from mockexport.cli import flush_stdout, version_text
        from mockexport.errors import MockExportError

        with contextlib.suppress(MockExportError):  # `run` raises it again, and reports it
            print(version_text())  # noqa: T201
            flush_stdout()
            return
    gc.set_threshold(GC_THRESHOLD)
    from mockexport.cli import run

    run(sys.argv[1:])


if __name__ == "__main__":
    main()
