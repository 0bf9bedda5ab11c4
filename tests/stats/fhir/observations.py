"""Observations that hypothesis makes up, and an independent reader of them."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from hypothesis import strategies as st
from tests.fhir.resources import LABELS, RESOURCES, SCALARS, as_json, label_of, patient_of

from mockexport.stats import Stats, parse_event_time, parse_number
from mockexport.stats.contract import DEFAULT_RANGES
from mockexport.stats.reference import Pairs

__all__ = ["observation_rows", "statistics"]

# ---- Observations ----

NUMBERS = st.one_of(
    st.integers(30, 220).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-1000, max_value=1000, places=2).map(str),
    st.sampled_from(["0", "-0", "0.0", "-0.0e5", "71", "71.0", "7.1e1", "710E-1", "1e308", "1.8e308", "-1e309",
                     "4e-325", "5e-324", "1e-400", "1e999999999999", "123456789012345678", "1234567890123456785",
                     "9" * 40, "1" * 19, "0." + "0" * 30 + "1", "0.1", "1.50", "1E2", "1e+2",
                     "1e-2", "9007199254740993"]),
)  # fmt: skip
TIMES = st.one_of(
    st.datetimes().map(lambda time: f"{time.isoformat()}Z"),
    st.sampled_from(["2025-08-26T00:00:04.906404Z", "2025-08-26T00:00:04Z", "2025-08-26T00:00:04.5+02:00", "2025-08-27",
                     "2025-08", "2025", "2025-08-26T25:00:00Z", "yesterday", "", "2025-08-26T00:00:04.906404"]),
)  # fmt: skip
SHARED_CODES = [{"coding": [{"system": "http://loinc.org", "code": code}]} for code in ("8867-4", "8480-6", "85354-9")]
CODES = st.one_of(st.sampled_from(SHARED_CODES), LABELS)
QUANTITY = st.fixed_dictionaries(
    {}, optional={"value": st.one_of(NUMBERS.map("@{}@".format), SCALARS), "unit": SCALARS}
)
QUANTITIES = st.one_of(QUANTITY, QUANTITY, QUANTITY, st.lists(QUANTITY, max_size=1), SCALARS)
COMPONENT = st.fixed_dictionaries({}, optional={"code": CODES, "valueQuantity": QUANTITIES, "value": SCALARS})
COMPONENTS = st.one_of(st.lists(st.one_of(COMPONENT, COMPONENT, SCALARS), max_size=3), COMPONENT, SCALARS)
WHEN = st.one_of(TIMES, TIMES, SCALARS)
PERIOD = st.one_of(st.fixed_dictionaries({}, optional={"start": WHEN, "end": WHEN}), SCALARS)
OBSERVATIONS = st.fixed_dictionaries(
    {"resourceType": st.just("Observation")},
    optional={
        "id": st.just("1"),
        "subject": st.sampled_from([{"reference": f"Patient/{name}"} for name in ("1", "2", "Zoë")] + [{}]),
        "code": CODES,
        "category": LABELS,
        "valueQuantity": QUANTITIES,
        "component": COMPONENTS,
        "effectiveDateTime": WHEN,
        "effectiveInstant": WHEN,
        "effectivePeriod": PERIOD,
    },
)
MARKED = re.compile(rb'"@([-+.0-9eE]+)@"')


@st.composite
def observation_rows(draw: st.DrawFn) -> bytes:
    """An Observation as JSON, or another resource at times; numbers are written in many ways."""
    row = as_json(draw, draw(st.one_of(OBSERVATIONS, OBSERVATIONS, OBSERVATIONS, RESOURCES)))
    return MARKED.sub(rb"\1", row)


# ---- An independent reader: plain json, a line at a time ----


class Digits(NamedTuple):
    """A number as it is written."""

    text: str


def statistics(body: bytes, now: int, base: str | None = None) -> Stats:
    """Return the statistics of a sound body."""
    pairs = Pairs(DEFAULT_RANGES, now, 1_000_000)
    for line in body.decode().removeprefix("\ufeff").split("\n"):
        resource = json.loads(line, parse_int=Digits, parse_float=Digits) if line.strip(" \t\r") else {}
        if resource.get("resourceType") != "Observation":
            continue
        components = resource.get("component")
        components = components if isinstance(components, list) else [components]
        records = [component for component in components if isinstance(component, dict)]
        if isinstance(resource.get("valueQuantity"), dict) or not records:
            records.insert(0, resource)
        period = resource.get("effectivePeriod")
        times = [resource.get("effectiveDateTime"), resource.get("effectiveInstant")]
        times += [period.get("start")] if isinstance(period, dict) else []
        time = next((time for time in times if isinstance(time, str) and time), "")
        patient, reason = patient_of("Observation", resource, base)
        for record in records:
            label = label_of(record.get("code")) or "Observation"
            quantity = record.get("valueQuantity")
            value = quantity.get("value") if isinstance(quantity, dict) else None
            number = parse_number(value.text.encode()) if isinstance(value, Digits) else None
            if patient:
                pairs.add((patient, label), number, parse_event_time(time.encode()), 0)
            else:
                pairs.add_unassigned((label, reason), 0)
    return Stats(pairs.built(), {}, dict(pairs.unassigned))
