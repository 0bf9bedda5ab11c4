"""FHIR resources, NDJSON, to counts: a second format for the tally, in plain Python and in C, after one `contract`."""

from mockexport.tally.fhir.contract import (
    BY,
    FHIR,
    MAX_RESOURCE_BYTES,
    UNASSIGNED,
    BadResource,
    FhirFormat,
    ResourceTally,
)
from mockexport.tally.fhir.json_values import JsonObject, Problem
from mockexport.tally.fhir.paths import PATIENT_PATHS
from mockexport.tally.fhir.reference import ReferenceResourceTally
from mockexport.tally.fhir.resources import Resource, ResourceReader, label_of

__all__ = [
    "BY",
    "FHIR",
    "MAX_RESOURCE_BYTES",
    "PATIENT_PATHS",
    "UNASSIGNED",
    "BadResource",
    "FhirFormat",
    "JsonObject",
    "Problem",
    "ReferenceResourceTally",
    "Resource",
    "ResourceReader",
    "ResourceTally",
    "label_of",
]
