"""The manifest of a job: whole, or in pages where the client allows it, as far as the export is."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from mockexport.bulk_manifest import bulk_manifest_body

if TYPE_CHECKING:
    from mockexport.server.fhir.jobs import Job

__all__ = ["ERRORS", "manifest_page"]

PAGE_FILES = 50
ERRORS = "errors.ndjson"
"""The name of the file with what was wrong with the request, which was accepted all the same."""


def manifest_page(job: Job, url: str, number: int, now: float, *, requires_token: bool) -> dict[str, Any] | None:
    """Return page `number`, from 1, of a job's manifest; None if it is not there, or not there yet.

    A page never changes but by gaining the link to the next one. `url` is that of the job.
    """
    partial, notes = job.request.partial, job.request.notes
    size = PAGE_FILES if partial else max(1, len(job.files))
    done = job.done(now)
    pages = max(1, -(-len(job.files) // size)) if done == 1 else int(done * len(job.files)) // size * partial
    if not 1 <= number <= pages:
        return None
    files = islice(job.files.values(), (number - 1) * size, number * size)
    return bulk_manifest_body(
        transaction_time=datetime.fromtimestamp(job.request.started, UTC),
        request=job.request.url,
        requires_token=requires_token,
        output=[(file.type, f"{url}/{file.name}", file.download.rows) for file in files],
        errors=[("OperationOutcome", f"{url}/{ERRORS}", len(notes))] if notes and number == 1 else (),
        next_url=f"{url}/manifests/{number + 1}" if number < pages else None,
    )
