"""Generates parts of the docs: run `uv run --group dev python -m tests.documents`.

The help of every command goes to docs/cli.md, a picture of a terminal to docs/terminal.svg. A test checks that the help
is up to date.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
HELP_PATHS = (
    "",
    "exports",
    "exports list",
    "downloads",
    "downloads list",
    "downloads fetch",
    "count",
    "verify",
    "serve",
    "heartrate",
    "heartrate send",
    "heartrate query",
)
HELP_MARK = "<!-- help -->\n"
WIDTH = 100


def help_section() -> str:
    """The help of every command, as docs/cli.md shows it."""
    parts = []
    for path in HELP_PATHS:
        run = subprocess.run(
            [sys.executable, "-m", "mockexport", *path.split(), "--help"],
            env={"COLUMNS": str(WIDTH), "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=True,
        )
        text = run.stdout.replace("python -m mockexport", "mockexport").rstrip()
        parts.append(f"### `mockexport {path}".rstrip() + f"`\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def terminal_picture() -> str:
    """A terminal in which the main job is done, as SVG; the commands are run, their answers are real."""
    from rich.console import Console
    from rich.text import Text

    from mockexport import count, open_source
    from mockexport.cli.counts_table import counts_table

    console = Console(
        record=True, width=78, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    console.print(Text("$ mockexport --version", "bold"))
    console.print(
        subprocess.run(
            [sys.executable, "-m", "mockexport", "--version"], capture_output=True, text=True, check=True
        ).stdout.rstrip()
    )
    console.print(Text("$ mockexport count large --table", "bold"))
    console.print(counts_table("large", count(open_source(), "large")), soft_wrap=True)
    svg = console.export_svg(title="mockexport", unique_id="terminal")
    return re.sub(r"@font-face {.*?}\s*", "", svg, flags=re.DOTALL)  # a picture that fetches nothing


def main() -> None:
    """Write the generated parts of the docs."""
    page = DOCS / "cli.md"
    text, mark, _ = page.read_text(encoding="utf-8").partition(HELP_MARK)
    page.write_text(text + (mark or HELP_MARK) + "\n" + help_section(), encoding="utf-8")
    (DOCS / "terminal.svg").write_text(terminal_picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
