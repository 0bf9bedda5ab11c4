"""From bytes to statistics, in plain Python (`reference`) and in C (`_native`), after one `contract`.

No input and output here, as in the tally, whose rows these are.
"""

from mockexport.stats.chosen import ReferenceResourceTimes, ReferenceTimes
from mockexport.stats.contract import (
    DEFAULT_RANGES,
    MAX_STATS_PAIRS,
    Ranges,
    ResourceStatsAccumulator,
    StatsAccumulator,
    TimesReader,
)
from mockexport.stats.fhir_reference import ReferenceResourceStats
from mockexport.stats.figures import (
    FLAWS,
    Gaps,
    TimeFigures,
    badness,
    gaps_in_order,
    pair_figures,
    time_figures,
    total_figures,
)
from mockexport.stats.kernel import (
    CsvStatsSpec,
    ResourceStatsSpec,
    StatsSpec,
    choose_resource_stats,
    choose_resource_times,
    choose_stats,
    choose_times,
)
from mockexport.stats.numbers import Number, parse_number
from mockexport.stats.ranges import read_ranges
from mockexport.stats.reference import ReferenceStats
from mockexport.stats.result import Pair, PairStats, PairSum, Segment, Sketch, Stats
from mockexport.stats.times import parse_event_time, text_of_time

__all__ = [
    "DEFAULT_RANGES",
    "FLAWS",
    "MAX_STATS_PAIRS",
    "CsvStatsSpec",
    "Gaps",
    "Number",
    "Pair",
    "PairStats",
    "PairSum",
    "Ranges",
    "ReferenceResourceStats",
    "ReferenceResourceTimes",
    "ReferenceStats",
    "ReferenceTimes",
    "ResourceStatsAccumulator",
    "ResourceStatsSpec",
    "Segment",
    "Sketch",
    "Stats",
    "StatsAccumulator",
    "StatsSpec",
    "TimeFigures",
    "TimesReader",
    "badness",
    "choose_resource_stats",
    "choose_resource_times",
    "choose_stats",
    "choose_times",
    "gaps_in_order",
    "pair_figures",
    "parse_event_time",
    "parse_number",
    "read_ranges",
    "text_of_time",
    "time_figures",
    "total_figures",
]
