"""The contract of the accumulators of statistics: the same statistics, or the same error, however the bytes are cut.

Rows are read, and refused, as by the tally of their format (tally/contract.py, tally/fhir/contract.py). What a number
is says numbers.py, what a time is times.py, and what is kept of them result.py.

A record of CSV is a row. Its type is the event type.

The records of FHIR are those of the Observations; other resources give none. An Observation with `valueQuantity` is a
record, and so is each of its components; one with neither is a record without a number. The number is
`valueQuantity.value`, a JSON number; the type is the label of the code, as the tally by code has it, of a component
that of its own code. The time is `effectiveDateTime`, else `effectiveInstant`, else `effectivePeriod.start`. Components
have the time and the patient of their Observation. What is not of the kind that FHIR says, an object, a text or a
number, is as if it were not there. A record without a patient is counted in `unassigned`, by its type and the reason.

A key that is read must not stand twice: of an Observation also `valueQuantity` and `component`, those of the time up to
the first that is there, `start` of the period, `value` of a quantity; of a component its `code` and `valueQuantity`. A
resource that is wrong in several ways has the first reason in the order of these: its type, its patient, its label, the
time, `valueQuantity`, its components one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mockexport.stats.numbers import Number
from mockexport.stats.result import Pair, Stats
from mockexport.tally import MAX_RESOURCE_BYTES, MAX_ROW_BYTES, Accumulator

if TYPE_CHECKING:
    from mockexport.tally import AllColumns

__all__ = [
    "DEFAULT_RANGES",
    "MAX_STATS_PAIRS",
    "Ranges",
    "ResourceStatsAccumulator",
    "ResourceTimes",
    "StatsAccumulator",
    "Times",
    "TimesReader",
]

Ranges: TypeAlias = Mapping[str, tuple[Number | None, Number | None]]
"""The range of each type: the lowest and the highest number that is no anomaly; None for no limit."""

MAX_STATS_PAIRS = 1_000_000
"""How many distinct pairs of patient and type there may be by default: fewer than of a count, as each has values."""

_BY_TYPE: dict[str, tuple[Number, Number]] = {
    "heart_rate": ((4, 1), (18, 1)),
    "spo2": ((85, 0), (1, 2)),
    "bp_sys": ((9, 1), (2, 2)),
    "bp_dia": ((6, 1), (12, 1)),
}
_LOINC = {"heart_rate": ("8867-4",), "spo2": ("59408-5", "2708-6"), "bp_sys": ("8480-6",), "bp_dia": ("8462-4",)}

DEFAULT_RANGES: Ranges = {
    **_BY_TYPE,
    **{f"http://loinc.org|{code}": _BY_TYPE[name] for name, codes in _LOINC.items() for code in codes},
}
"""Outside of which a value is an anomaly: heart rate 40 to 180, SpO2 85 to 100, systolic pressure 90 to 200, diastolic
60 to 120; the same by LOINC code."""


class StatsAccumulator(Accumulator[Stats], Protocol):
    """Makes the statistics of one CSV body by patient and type, as its bytes arrive.

    `skip`, `max_row_bytes`, `max_pairs` and `delimiter` are those of `Tally`, and so are the errors; `columns` must all
    be there. `ranges` says what is an anomaly, `now` what is in the future, in microseconds since 1970. The segments of
    the result are all of download 0, byte 0.
    """

    def __init__(
        self,
        *,
        columns: AllColumns,
        ranges: Ranges,
        now: int,
        skip: bool = False,
        max_row_bytes: int = MAX_ROW_BYTES,
        max_pairs: int = MAX_STATS_PAIRS,
        delimiter: bytes = b",",
    ) -> None: ...


class ResourceStatsAccumulator(Accumulator[Stats], Protocol):
    """Makes the statistics of the Observations of one NDJSON body, as its bytes arrive.

    `skip`, `max_row_bytes`, `max_pairs`, `strict` and `base` are those of `ResourceTally`, and so are the errors: they
    are those of the tally by code. The other arguments are those of `StatsAccumulator`. A reason without a patient is
    a pair with the type, as in the tally.
    """

    def __init__(
        self,
        *,
        ranges: Ranges,
        now: int,
        skip: bool = False,
        max_row_bytes: int = MAX_RESOURCE_BYTES,
        max_pairs: int = MAX_STATS_PAIRS,
        strict: bool = False,
        base: str | None = None,
    ) -> None: ...


class TimesReader(Protocol):
    """Reads the times of chosen pairs in one body; but for its records it is an `Accumulator`, without a result.

    Rows are read, and refused, as by the accumulator of statistics, but there is no limit of pairs. `numbers` has the
    pairs that are wanted, each with a number of its own below 2^32.
    """

    @property
    def rows(self) -> int:
        """Rows read so far, as in `Accumulator`."""

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end where a row ends, as in `Accumulator`."""

    def feed(self, chunk: bytes, /) -> None:
        """Take in the next bytes, cut anywhere. Raises Malformed."""

    def finish(self) -> None:
        """Say that the body has ended. Raises Malformed."""

    def take_records(self) -> bytes:
        """Return the records since the last call, in the order of their rows; also after `finish`, none after an error.

        Each is that of a pair's number and one of its times (`mockexport.sorting.time_record`). Until they are taken
        they are in memory.
        """


class Times(TimesReader, Protocol):
    """That of CSV; the arguments are those of `StatsAccumulator`."""

    def __init__(
        self,
        *,
        columns: AllColumns,
        numbers: Mapping[Pair, int],
        skip: bool = False,
        max_row_bytes: int = MAX_ROW_BYTES,
        delimiter: bytes = b",",
    ) -> None: ...


class ResourceTimes(TimesReader, Protocol):
    """That of FHIR; the arguments are those of `ResourceStatsAccumulator`."""

    def __init__(
        self,
        *,
        numbers: Mapping[Pair, int],
        skip: bool = False,
        max_row_bytes: int = MAX_RESOURCE_BYTES,
        strict: bool = False,
        base: str | None = None,
    ) -> None: ...
