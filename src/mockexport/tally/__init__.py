"""From bytes to counts: the tally, in plain Python (`reference`) and in C (`_native`), after one `contract`.

No input and output here, and nothing of the rest of the package.
"""

from mockexport.tally.contract import MAX_PAIRS, MAX_ROW_BYTES, REASONS, Malformed, Tallied, Tally
from mockexport.tally.reference import ReferenceTally

__all__ = ["MAX_PAIRS", "MAX_ROW_BYTES", "REASONS", "Malformed", "ReferenceTally", "Tallied", "Tally"]
