"""From bytes to counts: the tally, in plain Python (`reference`) and in C (`_native`), after one `contract`.

The contract is that of all accumulators. No input and output here; of the rest of the package, the model alone.
"""

from mockexport.tally.contract import (
    MAX_PAIRS,
    MAX_ROW_BYTES,
    PAIR_BYTES,
    REASONS,
    Accumulator,
    AccumulatorSpec,
    AllColumns,
    Malformed,
    Result,
    Tally,
    TooManyPairs,
    pairs_too_large,
    too_many_pairs,
)
from mockexport.tally.fhir import (
    BY,
    FHIR,
    MAX_RESOURCE_BYTES,
    PATIENT_PATHS,
    FhirFormat,
    JsonObject,
    ReferenceResourceTally,
    Resource,
    ResourceReader,
    ResourceTally,
    label_of,
)
from mockexport.tally.header import CSV, DELIMITERS, CsvFormat, HeaderFirst
from mockexport.tally.kernel import (
    CountSpec,
    ResourceSpec,
    TallySpec,
    choose_resource_tally,
    choose_tally,
    tally_name,
)
from mockexport.tally.records import CsvRecords, Record, RecordReader
from mockexport.tally.reference import ReferenceTally

__all__ = [
    "BY",
    "CSV",
    "DELIMITERS",
    "FHIR",
    "MAX_PAIRS",
    "MAX_RESOURCE_BYTES",
    "MAX_ROW_BYTES",
    "PAIR_BYTES",
    "PATIENT_PATHS",
    "REASONS",
    "Accumulator",
    "AccumulatorSpec",
    "AllColumns",
    "CountSpec",
    "CsvFormat",
    "CsvRecords",
    "FhirFormat",
    "HeaderFirst",
    "JsonObject",
    "Malformed",
    "Record",
    "RecordReader",
    "ReferenceResourceTally",
    "ReferenceTally",
    "Resource",
    "ResourceReader",
    "ResourceSpec",
    "ResourceTally",
    "Result",
    "Tally",
    "TallySpec",
    "TooManyPairs",
    "choose_resource_tally",
    "choose_tally",
    "label_of",
    "pairs_too_large",
    "tally_name",
    "too_many_pairs",
]
