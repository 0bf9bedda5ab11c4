"""When to try again: what is worth it is said here, how long to wait is tenacity's business.

Waits grow exponentially with full jitter: each is drawn from 0 to twice the bound of the one before. A server that
names its own wait (`Retry-After`) gets it.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING

import tenacity

if TYPE_CHECKING:
    from mockexport.errors import MockExportError

__all__ = ["TRANSIENT", "Retries", "RetryableError", "parse_retry_after", "schedule"]

TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504))
"""The statuses that another try may mend."""
LONGEST_WAIT_SECONDS = 30.0  # of those that we choose ourselves

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retries:
    """How much trouble a source may be: `attempts` tries after the first one, `budget` seconds for all of them.

    `first_wait` bounds the first wait, in seconds.
    """

    attempts: int = 5
    budget: float = 300.0
    first_wait: float = 0.5


class RetryableError(Exception):
    """A failure that is worth another try; `error` is what it is when the tries are used up."""

    def __init__(self, error: MockExportError, wait: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait


def schedule(retries: Retries, closed: threading.Event, budget: float | None = None) -> tenacity.Retrying:
    """Return what calls a function until it raises no `RetryableError`; the last `RetryableError` gets through.

    `budget` is what is left of the budget, in seconds. `closed` ends the waits.
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(RetryableError),
        stop=tenacity.stop_after_attempt(retries.attempts + 1)
        | tenacity.stop_before_delay(retries.budget if budget is None else budget)
        | tenacity.stop_when_event_set(closed),
        wait=partial(_wait, tenacity.wait_random_exponential(retries.first_wait, LONGEST_WAIT_SECONDS)),
        sleep=tenacity.sleep_using_event(closed),
        before_sleep=_tell,
        reraise=True,
    )


def _wait(jittered: tenacity.wait_random_exponential, state: tenacity.RetryCallState) -> float:
    failure = state.outcome.exception() if state.outcome else None
    if isinstance(failure, RetryableError) and failure.wait is not None:
        return min(failure.wait, threading.TIMEOUT_MAX)  # the longest that a thread can wait
    return jittered(state)


def _tell(state: tenacity.RetryCallState) -> None:
    failure = state.outcome.exception() if state.outcome else None
    log.info("%s; try %d in %.1f s", failure, state.attempt_number + 1, state.upcoming_sleep)


def parse_retry_after(text: str | None, now: datetime | None = None) -> float | None:
    """Read a `Retry-After`, seconds or an HTTP date, as seconds from now; None where it makes no sense (RFC 9110)."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, OverflowError):  # no date, or none of the years 1 to 9999
        return None
