"""Metrics for Prometheus, in a registry of their own: only numbers, never ids of users or devices."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PREFIX = "mockexport_heartrate"
ONLY_GROWS = frozenset(("commits", "compactions", "dropped_days", "flushes"))


class Metrics:
    """Counters of readings and responses, and the `statistics` at the time of each scrape."""

    def __init__(self, statistics: Callable[[], Any]) -> None:
        self._registry = CollectorRegistry()
        readings = Counter(f"{PREFIX}_readings", "Readings judged.", ["outcome"], registry=self._registry)
        self.accepted = readings.labels("accepted")
        self.rejected = readings.labels("rejected")
        self._answers = Counter(f"{PREFIX}_answers", "Answers given.", ["route", "status"], registry=self._registry)
        self._limited = Counter(f"{PREFIX}_limited", "Requests beyond a rate limit.", ["by"], registry=self._registry)
        for by in ("client", "user"):
            self._limited.labels(by)
        self.post_seconds = Histogram(
            f"{PREFIX}_post_seconds", "From a body that is read to its 202.", buckets=SECONDS, registry=self._registry
        )
        self.query_seconds = Histogram(
            f"{PREFIX}_query_seconds", "From a query to its points.", buckets=SECONDS, registry=self._registry
        )
        self._registry.register(_Statistics(statistics))

    def answered(self, route: str, status: int) -> None:
        """Count a response."""
        self._answers.labels(route, str(status)).inc()

    def limited(self, by: str) -> None:
        """Count a request that was beyond the limit of a client or of a user."""
        self._limited.labels(by).inc()

    def text(self) -> bytes:
        """Return all metrics, in the text format of Prometheus."""
        return generate_latest(self._registry)


class _Statistics(Collector):
    """The statistics of the journal and the table, at the time of the scrape."""

    def __init__(self, statistics: Callable[[], Any]) -> None:
        self._statistics = statistics

    def describe(self) -> list[Metric]:
        """Return nothing: the names are known only with the values."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield each statistic that is a number."""
        found = self._statistics()
        for name, value in (asdict(found) if is_dataclass(found) and not isinstance(found, type) else found).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            family = CounterMetricFamily if name in ONLY_GROWS else GaugeMetricFamily
            yield family(f"{PREFIX}_{name}", f"{name.replace('_', ' ').capitalize()}.", value=value)
