"""The files of an export of a FHIR server: how its manifest names them, and whether a renewed one has the same."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from mockexport.errors import UntrustedDataError
from mockexport.sources.fhir.job import absolute_url

if TYPE_CHECKING:
    from mockexport.bulk_manifest import BulkManifest

__all__ = ["ExportFile", "are_same", "is_deleted", "named_files"]


class ExportFile(NamedTuple):
    """A file of an export, as the manifest lists it."""

    url: str
    type: str
    rows: int | None
    with_token: bool

    @property
    def path(self) -> str:
        """The URL without its query, where signatures stand."""
        return self.url.partition("?")[0]


def named_files(manifest: BulkManifest, status_url: str) -> dict[str, ExportFile]:
    """Name each file by its type and number, as clients of bulk data do: `1.Patient`, `2.Patient`.

    Those that are not counted come last: `deleted/1.Bundle`, `error/1.OperationOutcome`.

    Raises UntrustedDataError for a file that is listed twice: what is in it would count twice.
    """
    numbers: Counter[str] = Counter()
    files: dict[str, ExportFile] = {}
    seen = {absolute_url(file.url, status_url) for file in manifest.deleted}
    for file in manifest.output:
        url = absolute_url(file.url, status_url)
        if url in seen:
            raise UntrustedDataError(f"the manifest lists {url} twice")
        seen.add(url)
        numbers[file.type] += 1
        files[f"{numbers[file.type]}.{file.type}"] = ExportFile(url, file.type, file.count, manifest.requires_token)
    for folder, usual, listed in (
        ("deleted", "Bundle", manifest.deleted), ("error", "OperationOutcome", manifest.errors)
    ):  # fmt: skip
        for file in listed:
            kind = f"{folder}/{file.type or usual}"
            numbers[kind] += 1
            name = f"{folder}/{numbers[kind]}.{file.type or usual}"
            files[name] = ExportFile(
                absolute_url(file.url, status_url), file.type or usual, None, manifest.requires_token
            )
    return files


def is_deleted(name: str) -> bool:
    """Return whether a file is one of deleted resources, by its id."""
    return name.startswith("deleted/")


def are_same(before: dict[str, ExportFile], after: dict[str, ExportFile]) -> bool:
    """Whether a manifest has the same files as before, with other links; links differ in their query, or altogether."""
    if [(name, file.rows) for name, file in before.items()] != [(name, file.rows) for name, file in after.items()]:
        return False
    names = {file.path: name for name, file in before.items()}
    return len(names) < len(before) or all(names.get(file.path, name) == name for name, file in after.items())
