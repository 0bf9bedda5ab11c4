"""From bytes to counts: the tally, in plain Python (`reference`) and in C (`_native`), after one `contract`.

No input and output here, and nothing of the rest of the package.
"""

from mockexport.tally.contract import (
    MAX_PAIRS,
    MAX_ROW_BYTES,
    PAIR_BYTES,
    REASONS,
    Malformed,
    Tallied,
    Tally,
    pairs_too_large,
    too_many_pairs,
)
from mockexport.tally.kernel import choose_tally, tally_name
from mockexport.tally.reference import ReferenceTally

__all__ = [
    "MAX_PAIRS",
    "MAX_ROW_BYTES",
    "PAIR_BYTES",
    "REASONS",
    "Malformed",
    "ReferenceTally",
    "Tallied",
    "Tally",
    "choose_tally",
    "pairs_too_large",
    "tally_name",
    "too_many_pairs",
]
