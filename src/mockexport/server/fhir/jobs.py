"""The exports that clients have started: a bounded number, kept in memory until they are deleted or expire.

After a restart they are unknown, which clients are told with 404, as of any other job that is gone.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockexport.model import Download

__all__ = ["LIFETIME", "MOST_JOBS", "Job", "JobFile", "Jobs", "TooManyJobsError"]

MOST_JOBS = 100
LIFETIME = 24 * 3600.0  # seconds from the last request for a job
LONGEST_WAIT = 120  # seconds that a client is asked to wait


class JobFile(NamedTuple):
    """A file of an export: its name in URLs, the type of its resources, and the download that has its bytes."""

    name: str
    type: str
    download: Download


@dataclass
class Job:
    """An export that a client has started. Times are seconds since 1970."""

    request: str  # the URL of the kick-off
    started: float  # before the files were listed: they have what there was by then
    files: dict[str, JobFile]  # by name, in order
    partial: bool = False  # the client allows a manifest in parts
    notes: tuple[dict[str, Any], ...] = ()  # issues with the request, which was accepted all the same
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    seconds: float = 0.0  # how long it takes
    expires: float = 0.0

    def done(self, now: float) -> float:
        """Return how much of the export is done, 0 to 1."""
        return 1.0 if now >= self.started + self.seconds else max(0.0, (now - self.started) / self.seconds)

    def wait(self, now: float) -> int:
        """Return how long a client should wait before it asks again, in seconds."""
        return min(LONGEST_WAIT, max(1, math.ceil(self.started + self.seconds - now)))


class TooManyJobsError(Exception):
    """There is no room for another job until `wait` seconds have passed, or one is deleted."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


class Jobs:
    """All jobs of a server. Use it from the event loop only."""

    def __init__(self, seconds: float, most: int, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._most = most
        self._jobs: dict[str, Job] = {}
        self.clock = clock

    def check_room(self) -> None:
        """Raise TooManyJobsError if there is no room for another job."""
        now = self.clock()
        for job in [job for job in self._jobs.values() if job.expires <= now]:
            del self._jobs[job.id]
        if len(self._jobs) >= self._most:
            raise TooManyJobsError(max(1, math.ceil(min(job.expires for job in self._jobs.values()) - now)))

    def start(self, job: Job) -> None:
        """Add a job. Raises TooManyJobsError."""
        self.check_room()
        job.seconds = self._seconds
        job.expires = job.started + job.seconds + LIFETIME
        self._jobs[job.id] = job

    def find(self, job_id: str) -> Job | None:
        """Return a job that has not expired, and have it expire later; None if there is none."""
        now = self.clock()
        job = self._jobs.get(job_id)
        if job is None or job.expires <= now:
            return None
        job.expires = max(job.expires, now + LIFETIME)
        return job

    def delete(self, job_id: str) -> bool:
        """Forget a job; return whether there was one."""
        return self.find(job_id) is not None and self._jobs.pop(job_id, None) is not None
