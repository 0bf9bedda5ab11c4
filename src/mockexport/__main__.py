"""The command `mockexport`, and `python -m mockexport`."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

__all__ = ["main"]

OBJECTS_UNTIL_GARBAGE = 10_000  # loading the command line makes ten times as many, and none of them is garbage


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    if sys.argv[1:] == ["--version"]:  # answered without loading the whole command line
        from mockexport.cli import flush_stdout, version_text
        from mockexport.errors import MockExportError

        with contextlib.suppress(MockExportError):  # which the whole command line tells as it tells all errors
            print(version_text())  # noqa: T201
            flush_stdout()
            return
    gc.set_threshold(OBJECTS_UNTIL_GARBAGE)
    # The parser's validation would look for plugins in the metadata of all that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    from mockexport.cli import run

    run(sys.argv[1:])


if __name__ == "__main__":
    main()
