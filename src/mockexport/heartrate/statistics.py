"""The statistics of a heart-rate service."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Statistics"]


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of the statistics of a service. Positions are batch ids; counts are since its start."""

    journal_bytes: int = 0
    pending_readings: int = 0
    journaled_position: int = 0
    flushed_position: int = 0
    table_version: int = 0
    files: int = 0
    days: int = 0
    commits: int = 0
    last_group_size: int = 0
    largest_group_size: int = 0
    flushes: int = 0
    last_flush_seconds: float = 0.0
    compactions: int = 0
    dropped_days: int = 0
    last_error: str | None = None
