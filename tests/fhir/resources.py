"""Resources that hypothesis makes up, written as JSON in every way there is; and an independent reader of them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import strategies as st

from mockexport.tally.fhir.paths import PATIENT_PATHS

__all__ = [
    "LABELS",
    "RESOURCES",
    "ROWS",
    "SCALARS",
    "TEXTS",
    "as_json",
    "bodies",
    "label_of",
    "patient_of",
    "records",
    "rows",
]

TYPES = ["Patient", "Observation", "Condition", "Immunization", "Coverage", "Appointment", "Account", "Organization",
         "DocumentReference", "AppointmentResponse", "ResearchSubject", "Zebra_1"]  # fmt: skip
IDS = st.sampled_from(["1", "P001", "a.b-c", "x" * 40, "Zoë", "😀", 'q"uote', "back\\slash", ""])
REFERENCES = st.one_of(
    st.builds("Patient/{}".format, IDS),
    st.builds("Patient/{}/_history/{}".format, IDS, IDS),
    st.builds("https://ehr.example/fhir/Patient/{}".format, IDS),
    st.builds("https://other.example/Patient/{}".format, IDS),
    st.sampled_from(
        ["Group/1", "#p1",
         "urn:uuid:6f9f8a3e", "urn:", "", "Patient", "Patient/", "/Patient/1", "x/Patient/1", "Patient/1/2",
         "Patient?identifier=x|1", "Patient/1/_history/", "/_history/1", "https://ehr.example/fhir/Group/1", "://Patient/1"]
    ),
)  # fmt: skip
TEXTS = st.one_of(
    IDS, st.text(max_size=12), st.sampled_from(['{"', '"}', "[[", "\\", '\\"', ":", "}\n{", "\x7f", "\0"])
)
SCALARS = st.one_of(TEXTS, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none())
REFERENCE = st.fixed_dictionaries(
    {},
    optional={
        "reference": st.one_of(REFERENCES, REFERENCES, REFERENCES, SCALARS),
        "display": TEXTS,
        "type": st.just("Patient"),
        "identifier": st.just({"value": "1", "reference": "Patient/9"}),
    },
)
PATH_VALUES = st.one_of(REFERENCE, REFERENCE, st.lists(REFERENCE, max_size=3), SCALARS)
PARTICIPANTS = st.lists(st.fixed_dictionaries({}, optional={"actor": PATH_VALUES, "x": SCALARS}), max_size=3)
CODING = st.fixed_dictionaries({}, optional={"system": TEXTS, "code": st.one_of(TEXTS, SCALARS), "display": TEXTS})
CONCEPT = st.fixed_dictionaries(
    {}, optional={"coding": st.one_of(st.lists(CODING, max_size=2), SCALARS), "text": st.one_of(TEXTS, SCALARS)}
)
LABELS = st.one_of(CONCEPT, st.lists(st.one_of(CONCEPT, TEXTS), max_size=2), SCALARS)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["resourceType", "id", "subject", "reference", "x", "", "ключ"]), inner, max_size=3
        ),
    ),
    max_leaves=8,
)
RESOURCES = st.fixed_dictionaries(
    {"resourceType": st.sampled_from(TYPES)},
    optional={
        "id": st.one_of(IDS, SCALARS),
        "meta": ANYTHING,
        "contained": st.lists(ANYTHING, max_size=2),
        "code": LABELS,
        "category": LABELS,
        "participant": PARTICIPANTS,
        "note": TEXTS,
        "valueQuantity": ANYTHING,
        **dict.fromkeys(("subject", "patient", "beneficiary", "individual", "candidate", "actor"), PATH_VALUES),
    },
)


@st.composite
def rows(draw: st.DrawFn) -> bytes:
    """A resource as JSON."""
    return as_json(draw, draw(RESOURCES))


def as_json(draw: st.DrawFn, resource: dict[str, Any]) -> bytes:
    """Write a resource: keys in any order, white space, escapes of any kind in keys and values."""
    keys = draw(st.permutations(list(resource)))
    ordered = {key: resource[key] for key in keys}
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " : ")]))
    text = json.dumps(ordered, ensure_ascii=draw(st.booleans()), separators=separators)
    if draw(st.booleans()):  # any character of ASCII may be written as an escape
        letter = draw(st.sampled_from("PTsiy/"))
        text = text.replace(letter, f"\\u{ord(letter):04x}") if _only_in_strings(text, letter) else text
    return text.encode(errors="backslashreplace")


def _only_in_strings(text: str, letter: str) -> bool:
    """Tell whether a letter stands in strings alone, and behind no backslash: not in true, say."""
    inside, escaped = False, False
    for character in text:
        if character == letter and (not inside or escaped):
            return False
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            inside = not inside
    return True


ROWS = rows()


@st.composite
def bodies(draw: st.DrawFn, some_rows: st.SearchStrategy[bytes] = ROWS) -> bytes:
    """Rows with line ends of either kind, blank lines, perhaps a byte order mark, perhaps no last line end."""
    parts = [draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"]))]
    for row in draw(st.lists(some_rows, max_size=5)):
        parts += [row, draw(st.sampled_from([b"\n", b"\n", b"\r\n", b" \n\n", b"\n \t\r\n"]))]
    return b"".join(parts).removesuffix(draw(st.sampled_from([b"", b"\n"])))


# ---- An independent reader: plain json, a line at a time ----


def records(body: bytes, by: str, base: str | None) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Count a sound body by patient and label, and by label and reason."""
    patients: Counter[tuple[str, str]] = Counter()
    unassigned: Counter[tuple[str, str]] = Counter()
    for line in body.decode().removeprefix("\ufeff").split("\n"):
        if not line.strip(" \t\r"):
            continue
        resource = json.loads(line)
        kind = resource["resourceType"]
        label = (kind if by == "type" else label_of(resource.get(by))) or kind
        patient, reason = patient_of(kind, resource, base)
        if patient:
            patients[patient, label] += 1
        else:
            unassigned[label, reason] += 1
    return _nested(patients), _nested(unassigned)


def _nested(numbers: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (one, other), n in numbers.items():
        nested.setdefault(one, {})[other] = n
    return nested


def patient_of(kind: str, resource: dict[str, Any], base: str | None) -> tuple[str, str]:
    path = PATIENT_PATHS.get(kind)
    if path is None:
        return "", "no-patient-path"
    if path == "id":
        found = resource.get("id")
        return (found, "") if isinstance(found, str) and found else ("", "no-reference")
    level: list[Any] = [resource]
    for key in path.split("."):
        values = [item.get(key) for item in level]
        level = [item for value in values for item in (value if isinstance(value, list) else [value])]
        level = [item for item in level if isinstance(item, dict)]
    named = [_named(reference, base) for reference in level]
    return next((one for one in named if one[0]), named[0] if named else ("", "no-reference"))


def _named(reference: dict[str, Any], base: str | None) -> tuple[str, str]:  # noqa: PLR0911 - one a kind
    text = reference.get("reference")
    if not isinstance(text, str) or not text:
        return "", "identifier-only" if "identifier" in reference else "no-reference"
    if text[0] == "#":
        return "", "contained"
    if text.startswith("Patient?"):
        return "", "identifier-only"
    text = text.split("/_history/")[0]
    if text.startswith("urn:"):
        return text, ""
    if base and text.startswith(base + "/"):
        text = text[len(base) + 1 :]
    parts = text.split("/")
    if len(parts) < 2 or parts[-2] != "Patient" or not parts[-1]:
        return "", "not-a-patient"
    if len(parts) == 2:
        return parts[1], ""
    return (text, "") if "://" in text else ("", "not-a-patient")


def label_of(value: Any) -> str:
    value = (value[:1] or [None])[0] if isinstance(value, list) else value
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return ""
    coding = value.get("coding")
    first = coding[0] if isinstance(coding, list) and coding else None
    if isinstance(first, dict) and isinstance(first.get("code"), str) and first["code"]:
        system = first.get("system")
        return f"{system}|{first['code']}" if isinstance(system, str) and system else first["code"]
    text = value.get("text")
    return f"text:{text}" if isinstance(text, str) and text else ""
