"""The exports that clients have started: a bounded number, kept until they are deleted or expire.

They are kept as documents (`mockexport.shared`), so every server of a service knows them. A job has two: what it was
begun with, which is read for each request, so that a job that was deleted is gone everywhere; and its files, which may
be some megabytes and never change, so each server reads them once.
"""

from __future__ import annotations

import math
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mockexport.server.fhir.documents import Request, read_files, read_request, write_files, write_request
from mockexport.server.fhir.refusal import reaching
from mockexport.shared import NoRoomError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mockexport.server.fhir.documents import JobFile
    from mockexport.shared import Documents

__all__ = ["LIFETIME", "MOST_JOBS", "Job", "Jobs", "TooManyJobsError"]

MOST_JOBS = 100
LIFETIME = 24 * 3600.0  # seconds from the last request for a job
LISTING = 600.0  # seconds for which a job has its place while its files are listed
EXTEND_SECONDS = 60.0  # a job expires so much earlier than it might, so that not every request has to write
LONGEST_WAIT = 120  # seconds that a client is asked to wait
JOB, FILES = "fhir-export", "fhir-export-files"  # kinds of documents


@dataclass(frozen=True, slots=True)
class Job:
    """An export that a client has started. Times are seconds since 1970."""

    id: str
    request: Request
    files: Mapping[str, JobFile]  # by name, in order
    expires: float

    def done(self, now: float) -> float:
        """Return how much of the export is done, 0 to 1."""
        started, seconds = self.request.started, self.request.seconds
        return 1.0 if now >= started + seconds else max(0.0, (now - started) / seconds)

    def wait(self, now: float) -> int:
        """Return how long a client should wait before it asks again, in seconds."""
        left = self.request.started + self.request.seconds - now
        return min(LONGEST_WAIT, max(1, math.ceil(left)))


class TooManyJobsError(Exception):
    """There is no room for another job until `wait` seconds have passed, or one is deleted."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


class Jobs:
    """The jobs of all servers that share the documents, `most` at a time. Safe to share between threads.

    All methods may wait for a database, and raise Refusal if it can't be reached.
    """

    def __init__(self, documents: Documents, most: int) -> None:
        self.clock = documents.clock
        self._documents = documents
        self._most = most
        self._files: dict[str, Mapping[str, JobFile]] = {}  # of jobs that this server was asked for; not more than jobs
        self._lock = threading.Lock()

    def begin(self, request: Request) -> str:
        """Take a place for a job, which is found once it is started; return its id. Raises TooManyJobsError."""
        job_id, now = secrets.token_urlsafe(16), self.clock()
        try:
            with reaching():
                self._documents.add(JOB, job_id, write_request(request), now + LISTING, most=self._most)
        except NoRoomError as error:
            raise TooManyJobsError(max(1, math.ceil(error.expires - now))) from None
        return job_id

    def start(self, job_id: str, request: Request, files: Mapping[str, JobFile]) -> None:
        """Start a job with these files. Raises TooManyJobsError if it took so long that it has lost its place."""
        expires = request.started + request.seconds + LIFETIME
        with reaching():
            self._documents.put(FILES, job_id, write_files(files), expires)
            if self._documents.extend(JOB, job_id, expires) is None:
                raise TooManyJobsError(1)
        self._keep(job_id, files)

    def find(self, job_id: str) -> Job | None:
        """Return a job that has not expired, and have it expire later; None if there is none."""
        with reaching():
            document = self._documents.get(JOB, job_id)
            files = self._files_of(job_id) if document else None
            until = self.clock() + LIFETIME
            if document and files is not None and document.expires < until - EXTEND_SECONDS:
                self._documents.extend(FILES, job_id, until)  # first, as there is no job without its files
                document = self._documents.extend(JOB, job_id, until)
        if document is None or files is None:
            return None
        return Job(job_id, read_request(document.body), files, document.expires)

    def delete(self, job_id: str) -> bool:
        """Forget a job; return whether there was one."""
        with reaching():
            found = self._documents.delete(JOB, job_id)
            self._documents.delete(FILES, job_id)
        with self._lock:
            self._files.pop(job_id, None)
        return found

    def _files_of(self, job_id: str) -> Mapping[str, JobFile] | None:
        """Return the files of a job; None if it was not started, or was just deleted."""
        with self._lock:
            known = self._files.get(job_id)
        if known is None and (document := self._documents.get(FILES, job_id)):
            known = read_files(document.body)
            self._keep(job_id, known)
        return known

    def _keep(self, job_id: str, files: Mapping[str, JobFile]) -> None:
        with self._lock:
            self._files[job_id] = files
            if len(self._files) > self._most:
                del self._files[next(iter(self._files))]
