"""Retries: which failures are retried, and how long to wait between attempts. tenacity does the waiting.

Exponential backoff with full jitter: each wait is drawn from 0 to a bound that doubles with each attempt (M. Brooker,
"Exponential Backoff And Jitter", AWS Architecture Blog, 2015). A `Retry-After` of the server (RFC 9110, section 10.2.3)
takes its place.
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
    from mockexport.source import OnRetry

__all__ = ["TRANSIENT", "Retries", "RetryableError", "parse_retry_after", "schedule"]

TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504))
"""The statuses that are retried."""
LONGEST_WAIT_SECONDS = 30.0  # a Retry-After may be longer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often failures are retried: `attempts` times after the first, within `budget` seconds in all.

    `first_wait` bounds the first wait, in seconds.
    """

    attempts: int = 5
    budget: float = 300.0
    first_wait: float = 0.5


class RetryableError(Exception):
    """A failure that is worth a retry.

    `error` is what to raise when the retries are used up; `wait` is the wait that the server asked for, in seconds.
    `busy` is whether the server answered that it cannot serve now.
    """

    def __init__(self, error: MockExportError, wait: float | None = None, *, busy: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait
        self.busy = busy


def schedule(
    retries: Retries, closed: threading.Event, budget: float | None = None, on_retry: OnRetry | None = None
) -> tenacity.Retrying:
    """Return a caller that retries a function while it raises `RetryableError`; the last one is raised.

    `budget` is what is left of `retries.budget`, in seconds; None is all of it. Setting `closed` ends the waits, before
    each of which `on_retry` is called.
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(RetryableError),
        stop=tenacity.stop_after_attempt(retries.attempts + 1)
        | tenacity.stop_before_delay(retries.budget if budget is None else budget)
        | tenacity.stop_when_event_set(closed),
        wait=partial(_wait, tenacity.wait_random_exponential(retries.first_wait, LONGEST_WAIT_SECONDS)),
        sleep=tenacity.sleep_using_event(closed),
        before_sleep=partial(_report_retry, on_retry),
        reraise=True,
    )


def _wait(jittered: tenacity.wait_random_exponential, state: tenacity.RetryCallState) -> float:
    failure = state.outcome.exception() if state.outcome else None
    if isinstance(failure, RetryableError) and failure.wait is not None:
        return min(failure.wait, threading.TIMEOUT_MAX)
    return jittered(state)


def _report_retry(on_retry: OnRetry | None, state: tenacity.RetryCallState) -> None:
    failure = state.outcome.exception() if state.outcome else None
    log.info("%s; attempt %d in %.1f s", failure, state.attempt_number + 1, state.upcoming_sleep)
    if on_retry:
        on_retry(state.upcoming_sleep, isinstance(failure, RetryableError) and failure.busy)


def parse_retry_after(text: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds from now that a `Retry-After` asks for, None if it is invalid.

    It is a number of seconds or an HTTP date (RFC 9110, section 10.2.3).
    """
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
    except (ValueError, OverflowError):  # not a date, or outside the years 1 to 9999
        return None
