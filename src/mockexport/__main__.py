"""The command `mockexport`, and `python -m mockexport`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    if sys.argv[1:] == ["--version"]:  # answered without loading the command line
        from mockexport.cli.version import version_text

        print(version_text())  # noqa: T201
        return
    from mockexport.cli.app import run

    run(sys.argv[1:])


if __name__ == "__main__":
    main()
