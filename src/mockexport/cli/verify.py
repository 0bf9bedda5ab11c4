"""The command `mockexport verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from mockexport.cli.documents import verdict_document
from mockexport.cli.options import MaxPairsOption, Run, with_run
from mockexport.cli.output import csv_text
from mockexport.cli.remedies import error_text
from mockexport.errors import MockExportError, NotFoundError, UntrustedDataError
from mockexport.local_file import read_whole
from mockexport.pipeline import Difference, compare, read_committed
from mockexport.tally import MAX_PAIRS

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)

EXAMPLES = """\b
Examples:
  mockexport verify                          outputs/, against mock
  mockexport verify small.json -s exports    one file, against a folder
  mockexport verify outputs/ --format table
"""
DIFFERENCES_FOUND = 1


@app.command("verify", epilog=EXAMPLES)
@with_run(parallel=True, on_cluster=True)
def verify_command(
    run: Run,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            show_default=False,
            help="Files with counts, or folders of them; NAME.json holds the counts of export NAME.  "
            "[default: outputs/]",
        ),
    ] = None,
    max_pairs: MaxPairsOption = MAX_PAIRS,
) -> None:
    """Compare saved counts with new counts.

    The exit code is 0 if all files match and 1 if one differs, as with diff. A file that cannot be checked has the
    status "error" and determines the exit code.
    """
    files = files_to_check(paths or [Path("outputs")])
    results, code = [], 0
    for file in files:
        differences: list[Difference] = []
        problem: MockExportError | None = None
        try:
            differences = check(run, file, max_pairs)
        except MockExportError as error:
            problem = error
            run.terminal.note(f"{file}: {error_text(error)}")
        results.append((file, differences, problem))
        code = code or (problem.exit_code if problem else 0)
    differing = sum(bool(differences) for _, differences, _ in results)
    documents = [
        verdict_document(str(file), file.stem, differences, error_text(problem) if problem else None)
        for file, differences, problem in results
    ]
    matching = sum(document["status"] == "match" for document in documents)

    def table() -> Table:
        from mockexport.cli.tables import verdict_table

        return verdict_table(documents)

    run.write(
        {"verified": matching, "differing": differing, "results": documents},
        table=table,
        csv=lambda: csv_text(["file", "export", "status", *Difference.__slots__], verdict_rows(documents)),
    )
    raise typer.Exit(code or (DIFFERENCES_FOUND if differing else 0))


def files_to_check(paths: list[Path]) -> list[Path]:
    """Return the files to check: each path, or the *.json files of a folder. Raises NotFoundError."""
    files = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.glob("*.json") if not file.name.startswith("."))
            if not found:
                raise NotFoundError(f"{path} contains no *.json files; create one with `mockexport count -o FILE`")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise NotFoundError(f"no such file or folder: {path}; create a file with `mockexport count -o FILE`")
    return files


def check(run: Run, file: Path, max_pairs: int) -> list[Difference]:
    """Count the export that a file is named after, and compare."""
    from mockexport.pipeline import count

    try:
        saved = read_committed(orjson.loads(read_whole(file)))
    except orjson.JSONDecodeError as error:
        raise UntrustedDataError(f"it is not valid JSON: {error}") from error
    except OSError as error:
        raise NotFoundError(f"it cannot be read: {error.strerror}") from error
    with run.progress(file.stem) as progress:
        counts = count(
            run.source, file.stem, max_pairs=max_pairs,
            kernel=run.kernel, start_workers=run.start_workers,
            on_progress=progress.downloads, on_listing=progress.listing,
        )  # fmt: skip
    return compare(saved, counts)


def verdict_rows(documents: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    """Return one row per difference, and one per file without differences."""
    rows: list[tuple[object, ...]] = []
    for document in documents:
        head = (document["file"], document["export"], document["status"])
        differences = [tuple(difference.values()) for difference in document["differences"]]
        rows += [(*head, *difference) for difference in differences or [(None,) * len(Difference.__slots__)]]
    return rows
