"""More records than memory holds, in order: records of one width, sorted in runs that are kept on disk, and folded.

A `RunWriter` sorts what it is given, and `sorted_blocks` gives all of it in order. Records compare as bytes, so numbers
in them are big-endian. What works on bytes alone is in plain Python (`reference`) and in C (`_native`), after one
`contract`; files are read and written in Python (`runs`, `blocks`).
"""

from mockexport.sorting.blocks import sorted_blocks
from mockexport.sorting.contract import (
    DISTINCT_WIDTH,
    FIRST_REPEATS,
    GAPS_WIDTH,
    MAX_WIDTH,
    Distinct,
    DistinctKeys,
    Gaps,
    PairTimes,
    Repeat,
    distinct_record,
    time_record,
)
from mockexport.sorting.kernel import choose_distinct, choose_gaps, choose_sort
from mockexport.sorting.runs import Runs, RunWriter, temporary_folder

__all__ = [
    "DISTINCT_WIDTH",
    "FIRST_REPEATS",
    "GAPS_WIDTH",
    "MAX_WIDTH",
    "Distinct",
    "DistinctKeys",
    "Gaps",
    "PairTimes",
    "Repeat",
    "RunWriter",
    "Runs",
    "choose_distinct",
    "choose_gaps",
    "choose_sort",
    "distinct_record",
    "sorted_blocks",
    "temporary_folder",
    "time_record",
]
