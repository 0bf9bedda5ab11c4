"""The command `mockexport verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from mockexport.cli.documents import verdict_document
from mockexport.cli.options import MaxPairsOption, Run, takes_run
from mockexport.cli.output import csv_text
from mockexport.cli.remedies import error_text
from mockexport.errors import MockExportError, NotFoundError, UntrustedDataError
from mockexport.local_file import read_whole
from mockexport.pipeline import Difference, compare, read_committed
from mockexport.tally import MAX_PAIRS

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["EXAMPLES", "verify_command"]

EXAMPLES = """\b
Examples:
  mockexport verify                           all of outputs/, against mock
  mockexport verify small.json -s exports     one file, against a folder
  mockexport verify outputs/ --format table
"""
DIFFERENCES_FOUND = 1


@takes_run(works=True, on_cluster=True)
def verify_command(
    run: Run,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            show_default=False,
            help="Files or folders of committed results; NAME.json is checked against export NAME.  "
            "[default: outputs/]",
        ),
    ] = None,
    max_pairs: MaxPairsOption = MAX_PAIRS,
) -> None:
    """Count again, and compare with committed results.

    Ends with 0 when all match and with 1 when one differs, as diff does; a file that can't be checked has status error,
    and the exit code of that error.
    """
    files = committed_files(paths or [Path("outputs")])
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

    run.answer(
        {"verified": matching, "differing": differing, "results": documents},
        table=table,
        csv=lambda: csv_text(["file", "export", "status", *Difference.__slots__], verdict_rows(documents)),
    )
    raise typer.Exit(code or (DIFFERENCES_FOUND if differing else 0))


def committed_files(paths: list[Path]) -> list[Path]:
    """Return the files to check: each path, or the *.json of a folder. Raises NotFoundError."""
    files = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.glob("*.json") if not file.name.startswith("."))
            if not found:
                raise NotFoundError(f"{path} holds no committed results (*.json); `mockexport count -o` makes one")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise NotFoundError(
                f"no file or folder {path}; name committed results, as `mockexport count -o` writes them"
            )
    return files


def check(run: Run, file: Path, max_pairs: int) -> list[Difference]:
    """Count the export that a committed file is named after, and compare."""
    from mockexport.pipeline import count

    try:
        committed = read_committed(orjson.loads(read_whole(file)))
    except orjson.JSONDecodeError as error:
        raise UntrustedDataError(f"it is no JSON: {error}") from error
    except OSError as error:
        raise NotFoundError(f"it can't be read: {error.strerror}") from error
    with run.terminal.progress(file.stem) as on_progress:
        counts = count(
            run.source, file.stem, max_pairs=max_pairs,
            kernel=run.kernel, start_workers=run.start_workers, on_progress=on_progress,
        )  # fmt: skip
    return compare(committed, counts)


def verdict_rows(documents: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    """Return a row a difference, and one for each file without any."""
    rows: list[tuple[object, ...]] = []
    for document in documents:
        head = (document["file"], document["export"], document["status"])
        differences = [tuple(difference.values()) for difference in document["differences"]]
        rows += [(*head, *difference) for difference in differences or [(None,) * len(Difference.__slots__)]]
    return rows
