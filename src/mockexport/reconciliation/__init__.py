"""What makes an export complete: keys that tell records apart, and findings made of what was declared and found.

No input and output here. The accumulators are those of one `contract`; the rows are those of the tally.
"""

from mockexport.reconciliation.certificate import Certificate, certificate_digest, sorted_out
from mockexport.reconciliation.contract import (
    FIRST_PLACES,
    KEY_BYTES,
    NO_LINES,
    RECORD_BYTES,
    CsvRecordKeys,
    Lines,
    RecordFacts,
    RecordKey,
    RecordKeys,
    ResourceKeys,
)
from mockexport.reconciliation.deleted import deleted_in
from mockexport.reconciliation.differing import Change, ExportDiff, diff_certificates, read_certificate
from mockexport.reconciliation.fhir_reference import ReferenceResourceKeys
from mockexport.reconciliation.findings import CODES, WHAT_TO_DO, Finding, Findings, Place, Severity, check_codes
from mockexport.reconciliation.judging import (
    Bytes,
    declared_document,
    found_document,
    judge_download,
    judge_export,
    judge_repeats,
)
from mockexport.reconciliation.kernel import (
    CsvReading,
    Found,
    FoundRecords,
    HeaderThenRecords,
    ResourceReading,
    choose_key,
)
from mockexport.reconciliation.reference import ReferenceCsvKeys, record_key
from mockexport.reconciliation.wording import place_text, verdict_text

__all__ = [
    "CODES",
    "FIRST_PLACES",
    "KEY_BYTES",
    "NO_LINES",
    "RECORD_BYTES",
    "WHAT_TO_DO",
    "Bytes",
    "Certificate",
    "Change",
    "CsvReading",
    "CsvRecordKeys",
    "ExportDiff",
    "Finding",
    "Findings",
    "Found",
    "FoundRecords",
    "HeaderThenRecords",
    "Lines",
    "Place",
    "RecordFacts",
    "RecordKey",
    "RecordKeys",
    "ReferenceCsvKeys",
    "ReferenceResourceKeys",
    "ResourceKeys",
    "ResourceReading",
    "Severity",
    "certificate_digest",
    "check_codes",
    "choose_key",
    "declared_document",
    "deleted_in",
    "diff_certificates",
    "found_document",
    "judge_download",
    "judge_export",
    "judge_repeats",
    "place_text",
    "read_certificate",
    "record_key",
    "sorted_out",
    "verdict_text",
]
