"""Two certificates of an export, one before and one after: what came, what went, and what was deleted of that."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mockexport.errors import UntrustedDataError
from mockexport.reconciliation.certificate import certificate_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

__all__ = ["Change", "ExportDiff", "diff_certificates", "read_certificate"]

NUMBERS = {"patients": int, "distinct": int, "records": dict, "downloads": list, "whole": bool, "source": str}
PATIENT = "Patient"


@dataclass(frozen=True, slots=True)
class Change:
    """How many records of a type there were, and are: of all patients, or of one; None for a type that is not there.

    `deleted` is how many of those that went are among what the server deleted; None where that cannot be told.
    """

    patient: str | None
    type: str
    before: int | None
    after: int | None
    deleted: int | None

    @property
    def difference(self) -> int:
        """How many records came; how many went, if it is negative."""
        return (self.after or 0) - (self.before or 0)


@dataclass(frozen=True, slots=True)
class ExportDiff:
    """The differences of two certificates.

    `types` has the changes of all patients, `patients` those by patient, None if a certificate does not have these.
    `totals` has the numbers of patients and of distinct records, where they differ, before and after. `came` and `went`
    are patients. `other_bytes` is how many downloads have other bytes, None if they are not the same downloads: then
    records may have changed of which the counts tell nothing. `unknown` says what cannot be told, and why.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    types: Sequence[Change]
    patients: Sequence[Change] | None
    totals: Mapping[str, tuple[int, int]]
    came: Sequence[str]
    went: Sequence[str]
    other_bytes: int | None
    unknown: Sequence[str]

    @property
    def equal(self) -> bool:
        """Whether both exports have the same numbers of records, by type, and by patient if that is known."""
        return not (self.types or self.patients or self.totals)

    def document(self) -> dict[str, Any]:
        """Return it as JSON: docs/reconcile.md, "Differences"."""
        return {
            "equal": self.equal,
            "before": _head(self.before),
            "after": _head(self.after),
            "types": [_change(change) for change in self.types],
            "patients": None if self.patients is None else [_change(change) for change in self.patients],
            "came": list(self.came),
            "went": list(self.went),
            "other_bytes": self.other_bytes,
            "unknown": list(self.unknown),
        }


def read_certificate(document: Any) -> Mapping[str, Any]:
    """Check that a document is a certificate. Raises UntrustedDataError."""
    if not isinstance(document, dict) or "mockexport" not in document:
        raise UntrustedDataError("it is not a certificate; create one with `mockexport reconcile -o FILE`")
    for name, kind in NUMBERS.items():
        if not isinstance(document.get(name), kind):
            raise UntrustedDataError(f'it is not a certificate: "{name}" is missing or of another kind')
    by_patient, deleted = document.get("by_patient", {}), document.get("deleted", [])
    if not _are_numbers(document["records"]):
        raise UntrustedDataError('it is not a certificate: "records" does not hold numbers by type')
    if not isinstance(by_patient, dict) or not all(_are_numbers(numbers) for numbers in by_patient.values()):
        raise UntrustedDataError('it is not a certificate: "by_patient" does not hold numbers by patient and type')
    if not isinstance(deleted, list) or not all(isinstance(name, str) for name in deleted):
        raise UntrustedDataError('it is not a certificate: "deleted" is not a list of ids')
    if not all(map(_is_download, document["downloads"])):
        raise UntrustedDataError('it is not a certificate: "downloads" does not hold downloads with ids')
    return document


def _is_download(value: Any) -> bool:
    return (
        isinstance(value, dict) and isinstance(value.get("id"), str) and isinstance(value.get("found", {}), dict | None)
    )


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(n, int) and not isinstance(n, bool) for n in value.values())


def diff_certificates(before: Mapping[str, Any], after: Mapping[str, Any]) -> ExportDiff:
    """Compare two certificates, as `read_certificate` returns them."""
    deleted = None if after.get("deleted") is None else set(after["deleted"])
    of_type = None if deleted is None else Counter(name.partition("/")[0] for name in deleted)
    one, other = before.get("by_patient"), after.get("by_patient")
    patients: list[Change] | None = None
    came: list[str] = []
    went: list[str] = []
    if one is not None and other is not None:
        came, went = sorted(other.keys() - one.keys()), sorted(one.keys() - other.keys())
        patients = [
            change
            for patient in sorted(one.keys() | other.keys())
            for change in _changes(patient, one.get(patient, {}), other.get(patient, {}), deleted, of_type)
        ]
    return ExportDiff(
        before=before,
        after=after,
        types=list(_changes(None, before["records"], after["records"], deleted, of_type)),
        patients=patients,
        totals={name: (before[name], after[name]) for name in ("patients", "distinct") if before[name] != after[name]},
        came=came,
        went=went,
        other_bytes=_other_bytes(before, after),
        unknown=list(_unknown(before, after)),
    )


def _changes(
    patient: str | None,
    before: Mapping[str, int],
    after: Mapping[str, int],
    deleted: Collection[str] | None,
    of_type: Mapping[str, int] | None,
) -> Iterator[Change]:
    """Yield the types whose numbers differ."""
    is_deleted = deleted is not None and patient is not None and f"{PATIENT}/{patient}" in deleted
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) == after.get(name):
            continue
        went = max(0, before.get(name, 0) - after.get(name, 0))
        explained: int | None = None
        if not went:
            explained = 0
        elif patient is None and of_type is not None:
            explained = min(went, of_type.get(name, 0))
        elif is_deleted:
            explained = went
        elif of_type is not None and (name == PATIENT or not of_type.get(name)):
            explained = 0  # else some of this type were deleted, and nobody says whose they were
        yield Change(patient, name, before.get(name), after.get(name), explained)


def _other_bytes(before: Mapping[str, Any], after: Mapping[str, Any]) -> int | None:
    one, other = (
        {download["id"]: (download.get("found") or {}).get("sha256") for download in certificate["downloads"]}
        for certificate in (before, after)
    )
    return sum(one[name] != other[name] or one[name] is None for name in one) if one.keys() == other.keys() else None


def _unknown(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    without = [name for name, known in (("before", before), ("after", after)) if known.get("by_patient") is None]
    if without:
        yield f"what changed by patient: {' and '.join(without)} has no by_patient, which a certificate can have"
    if after.get("deleted") is None:
        yield "whether it was deleted: after has no list of it, which a certificate with by_patient has"
    for name, certificate in (("before", before), ("after", after)):
        if not certificate["whole"]:
            yield f"whether these are all changes: {name} is not whole"


def _head(certificate: Mapping[str, Any]) -> dict[str, Any]:
    names = ("source", "export", "ended", "whole", "patients", "distinct")
    head = {name: certificate.get(name) for name in names}
    return {**head, "records": sum(certificate["records"].values()), "digest": certificate_digest(certificate)}


def _change(change: Change) -> dict[str, Any]:
    head = {} if change.patient is None else {"patient": change.patient}
    return {
        **head,
        "type": change.type,
        "before": change.before,
        "after": change.after,
        "difference": change.difference,
        "deleted": change.deleted,
    }
