"""Generates parts of the docs: run `uv run --group dev python -m tests.documents`.

The help of every command goes to docs/cli.md, a picture of a terminal to docs/terminal.svg, and the man page and the
completions, which wheels install, to src/share. Tests check that all but the picture is up to date.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from mockexport import Download, ProgressCounters, Split
    from mockexport.cli.counts_table import CountsTable
    from mockexport.cli.grid import Grid

DOCS = Path(__file__).parent.parent / "docs"
SHARE = DOCS.parent / "src" / "share"
COMPLETIONS = {  # where the packages of each shell look for them, below share/
    "bash": "bash-completion/completions/mockexport",
    "zsh": "zsh/site-functions/_mockexport",
    "fish": "fish/vendor_completions.d/mockexport.fish",
}
# zsh runs the file for the first completion, and the script of Typer would only define the function then.
ZSH_FIRST_TIME = """
if [ "$funcstack[1]" = _mockexport ]; then
  _mockexport_completion "$@"
fi
"""
HELP_PATHS = (
    "",
    "exports",
    "exports list",
    "exports start",
    "exports status",
    "exports cancel",
    "downloads",
    "downloads list",
    "downloads fetch",
    "count",
    "stats",
    "reconcile",
    "diff",
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


def shared_files() -> dict[str, str]:
    """What wheels install to share/, by the path there: the man page, and the completions for each shell."""
    from tests.man_page import man_page

    files = {"man/man1/mockexport.1": man_page((DOCS / "cli.md").read_text(encoding="utf-8"))}
    for shell, path in COMPLETIONS.items():
        run = subprocess.run(
            [Path(sysconfig.get_path("scripts")) / "mockexport"],
            env={"_MOCKEXPORT_COMPLETE": f"source_{shell}"},
            capture_output=True,
            text=True,
            check=True,
        )
        files[path] = run.stdout.strip() + "\n" + (ZSH_FIRST_TIME if shell == "zsh" else "")
    return files


def terminal_picture() -> str:
    """A terminal in which the main job is done, as SVG; the commands are run, their answers are real."""
    from rich.console import Console
    from rich.text import Text

    console = Console(
        record=True, width=92, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )

    def prompt(command: str) -> None:
        console.print(Text(f"$ {command}", "bold"))

    prompt("mockexport count large --table")
    frame, table = counting(console.width)
    console.print(*frame, table, sep="\n")
    prompt("mockexport verify outputs/ --table")
    console.print(verifying())
    svg = console.export_svg(title="mockexport", unique_id="terminal")
    svg = re.sub(r"@font-face {.*?}\s*", "", svg, flags=re.DOTALL)  # a picture that fetches nothing
    return LINE.sub(drawn, svg)


def counting(width: int) -> tuple[list[str | Text], CountsTable]:
    """How the count of `large` looks on its way, and its answer."""
    from mockexport import count, open_source
    from mockexport.cli.counts_table import counts_table
    from mockexport.cli.progress import Progress

    progress, frames = Progress("large", "rows", ""), list[list["str | Text"]]()

    def look(parts: Sequence[Download | Split], counters: ProgressCounters) -> None:
        progress.downloads(parts, counters)
        frames.append(progress.lines(width, 3))

    counts = count(open_source(), "large", on_progress=look)
    return frames[len(frames) * 2 // 3], counts_table("large", counts)


def verifying() -> Grid:
    """The answer of `verify`."""
    from mockexport.cli.tables import verdict_table

    run = subprocess.run(
        [sys.executable, "-m", "mockexport", "verify", "outputs/"],
        cwd=DOCS.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return verdict_table(json.loads(run.stdout)["results"])


LINE = re.compile(
    r'<text class="([\w-]+)" x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"[^>]*>((?:&#160;)*)(─+|━+)</text>'
)
MIDDLE = 6.5  # of a character above its base line


def drawn(text: re.Match[str]) -> str:
    """A line of characters as a line that is drawn: fonts leave gaps between the characters, or lack them."""
    style, x, y, width, spaces, characters = text.groups()
    before = spaces.count(";")
    cell = float(width) / (before + len(characters))
    height = 4 if "━" in characters else 1.5
    left, top = float(x) + before * cell, float(y) - MIDDLE - height / 2
    return (
        f'<rect class="{style}" x="{left:.1f}" y="{top:.1f}" width="{len(characters) * cell:.1f}" height="{height}"/>'
    )


def main() -> None:
    """Write the generated parts of the docs."""
    page = DOCS / "cli.md"
    text, mark, _ = page.read_text(encoding="utf-8").partition(HELP_MARK)
    page.write_text(text + (mark or HELP_MARK) + "\n" + help_section(), encoding="utf-8")
    for name, content in shared_files().items():
        (SHARE / name).parent.mkdir(parents=True, exist_ok=True)
        (SHARE / name).write_text(content, encoding="utf-8")
    (DOCS / "terminal.svg").write_text(terminal_picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
