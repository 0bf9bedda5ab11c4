"""The command `mockexport verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from mockexport.cli.completion import complete_export
from mockexport.cli.documents import verdict_document
from mockexport.cli.help import CommandWithSections
from mockexport.cli.options import MaxPairsOption
from mockexport.cli.output import csv_text
from mockexport.cli.prepare import Run, with_run
from mockexport.cli.remedies import error_text
from mockexport.errors import MockExportError, NotFoundError, Remedy, UntrustedDataError, UsageError
from mockexport.pipeline import (
    Committed,
    CommittedStatistics,
    Difference,
    compare,
    compare_statistics,
    is_statistics,
    read_committed,
    read_committed_statistics,
)
from mockexport.place import read_whole
from mockexport.tally import MAX_PAIRS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockexport.cli.grid import Grid
    from mockexport.source import Source

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)

EXAMPLES = """\b
Examples:
  mockexport verify                          outputs/, against mock
  mockexport verify small.json -s exports    one file, against a folder
  mockexport verify out.json --export small  a file with a name of its own
  mockexport verify outputs/ --table
"""
DIFFERENCES_FOUND = 1


@app.command("verify", cls=CommandWithSections, epilog=EXAMPLES)
@with_run(parallel=True, counts=True, values=True, on_cluster=True)
def verify_command(
    run: Run,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            show_default=False,
            help="Files with counts or statistics, or folders of them; NAME.json has the counts of export NAME, "
            "NAME.stats.json its statistics.  [default: outputs/]",
        ),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(
            "--export",
            metavar="EXPORT",
            show_default=False,
            help="The id of the export, if the file is not named after it; only with one file.",
            autocompletion=complete_export,
        ),
    ] = None,
    max_pairs: MaxPairsOption = MAX_PAIRS,
) -> None:
    """Compare saved counts and statistics with new ones.

    The exit code is 0 if all files match and 1 if one differs, as with diff. A file that cannot be checked has the
    status "error" and determines the exit code. If malformed rows were left out of a file (count --on-malformed skip),
    they are left out of the new counts too, and how many they are is compared.
    """
    files = files_to_check(paths or [Path("outputs")])
    if export is not None and len(files) > 1:
        raise UsageError(f"--export says of which export one file is, but there are {len(files)} files; name one file")
    results, code = [], 0
    for file in files:
        differences: list[Difference] = []
        problem: MockExportError | None = None
        try:
            differences = check(run, file, export, max_pairs)
        except MockExportError as error:
            problem = error
            run.terminal.note(f"{file}: {problem_text(error)}")
        results.append((file, differences, problem))
        code = code or (problem.exit_code if problem else 0)
    differing = sum(bool(differences) for _, differences, _ in results)
    documents = [
        verdict_document(str(file), export or export_of(file), differences, problem_text(problem) if problem else None)
        for file, differences, problem in results
    ]
    found = {key for document in documents for difference in document["differences"] for key in difference}
    columns = [name for name in Difference.__slots__ if name not in ("unassigned", "figure") or name in found]
    matching = sum(document["status"] == "match" for document in documents)

    def table() -> Grid:
        from mockexport.cli.tables import verdict_table

        return verdict_table(documents, all_rows=run.all_rows)

    run.write(
        {"verified": matching, "differing": differing, "results": documents},
        table=table,
        csv=lambda: csv_text(["file", "export", "status", *columns], verdict_rows(documents, columns)),
    )
    raise typer.Exit(code or (DIFFERENCES_FOUND if differing else 0))


def problem_text(error: MockExportError) -> str:
    """Return an error's message; that rows can be skipped is of no help to a comparison."""
    return error.message if error.remedy is Remedy.SKIP_MALFORMED else error_text(error)


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


def export_of(file: Path) -> str:
    """Return the export that a file is named after: NAME of NAME.json and of NAME.stats.json."""
    return file.stem.removesuffix(".stats")


def check(run: Run, file: Path, export: str | None, max_pairs: int) -> list[Difference]:
    """Work out again what a file has of an export, the one that it is named after if None, and compare."""
    try:
        document = orjson.loads(read_whole(file))
        saved = read_committed_statistics(document) if is_statistics(document) else read_committed(document)
    except orjson.JSONDecodeError as error:
        raise UntrustedDataError(f"it is not valid JSON: {error}") from error
    except OSError as error:
        raise NotFoundError(f"it cannot be read: {error.strerror}") from error
    with run.says_variables(), run.progress(export or export_of(file)) as progress:
        shared: dict[str, Any] = {
            "skip_malformed": bool(saved.left_out), "max_pairs": max_pairs, "kernel": run.kernel, "csv": run.csv,
            "fhir": run.fhir, "start_workers": run.start_workers, "on_progress": progress.downloads,
            "on_listing": progress.listing,
        }  # fmt: skip
        try:
            return differences_of(saved, run.source, export or export_of(file), shared)
        except NotFoundError as error:
            if export is not None:
                raise
            raise NotFoundError(
                f"{error_text(error)}; --export names the export that {file.name} was counted from"
            ) from error


def differences_of(
    saved: Committed | CommittedStatistics, source: Source, export: str, shared: dict[str, Any]
) -> list[Difference]:
    """Count an export, or work out its statistics, with these arguments, and compare."""
    from mockexport.pipeline import count, statistics

    if isinstance(saved, Committed):
        return compare(saved, count(source, export, **shared))
    asked: dict[str, Any] = {
        "now": saved.now,
        "ranges": saved.ranges,
        "patients": saved.only,
        "suppress_below": saved.suppress_below,
    }
    return compare_statistics(saved, statistics(source, export, **asked, **shared))


def verdict_rows(documents: list[dict[str, Any]], columns: Sequence[str]) -> list[tuple[object, ...]]:
    """Return one row per difference, and one per file without differences."""
    rows: list[tuple[object, ...]] = []
    for document in documents:
        head = (document["file"], document["export"], document["status"])
        rows += [
            (*head, *(difference.get(column) for column in columns)) for difference in document["differences"] or [{}]
        ]
    return rows
