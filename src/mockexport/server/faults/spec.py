"""Faults on request: a server that fails on purpose, seeded and so repeatable.

`read_faults` parses the rules, which inject.py applies. docs/faults.md describes the language.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mockexport.bulk_wire import FHIR
from mockexport.errors import UsageError, listed, suggestion
from mockexport.wire import API

if TYPE_CHECKING:
    import random

__all__ = ["AMOUNTS", "BULK_AMOUNTS", "BULK_ROUTES", "ROUTES", "FaultPlan", "Rule", "read_faults"]

API_ROUTES = {
    "exports": re.compile(re.escape(API)),
    "export": re.compile(re.escape(API) + "/[^/]+"),
    "download": re.compile(re.escape(API) + "/[^/]+/[^/]+"),
    "data": re.compile(re.escape(API) + "/[^/]+/[^/]+/data"),
    "any": re.compile(re.escape(API) + "(/.*)?"),
}
"""The routes of the export API, by their names in rules."""

BULK_ROUTES = {
    "kickoff": re.compile(re.escape(FHIR) + r"(/Patient|/Group/[^/]+)?/\$export"),
    "poll": re.compile(re.escape(FHIR) + r"/jobs/[^/]+(/manifests/\d+)?"),
    "file": re.compile(re.escape(FHIR) + r"/jobs/[^/]+/[^/]+\.ndjson"),
    "token": re.compile(re.escape(FHIR) + "/token"),
    "fhir": re.compile(re.escape(FHIR) + r"/(.*\$export|jobs/.*|token)"),
}
"""Those of the FHIR API."""

ROUTES = API_ROUTES | BULK_ROUTES

BYTES, SIGNED, NUMBER, RATE, CODE, NOTHING = "bytes", "signed", "number", "rate", "code", "nothing"
WAIT, REDIRECT, GONE, SEVERITY, REFERENCE = "wait", "redirect", "gone", "severity", "reference"
AMOUNTS = {
    "cut": BYTES,
    "end": BYTES,
    "reset": BYTES,
    "stall": BYTES,
    "slow": NUMBER,
    "latency": NUMBER,
    "status": CODE,
    "length": SIGNED,
    "rows": SIGNED,
    "no-rows": NOTHING,
    "malformed": RATE,
    "twice": RATE,
    "window": NUMBER,
    "ignore-range": NOTHING,
    "wrong-range": NOTHING,
    "etag": NOTHING,
    "weak-etag": NOTHING,
    "replica": NOTHING,
}
"""The faults, and the kind of amount that each takes."""

BULK_AMOUNTS = {
    "transient": CODE,
    "retry-after": WAIT,
    "expired": GONE,
    "redirect": REDIRECT,
    "token-expired": NOTHING,
    "error-file": SEVERITY,
    "deleted": REFERENCE,
}
"""Those for the FHIR API alone."""

PATTERNS = {
    BYTES: re.compile(r"\d{1,18}(\.\.\d{1,18})?"),
    SIGNED: re.compile(r"[+-]?\d{1,18}"),
    NUMBER: re.compile(r"\d{1,12}(\.\d{1,9})?"),
    RATE: re.compile(r"0?\.\d{1,9}|[01](\.0*)?"),
    CODE: re.compile(r"[45]\d\d"),
    NOTHING: re.compile(""),
    WAIT: re.compile(r"((date|float|epoch|epoch-ms|negative):)?\d{1,9}|garbage"),
    REDIRECT: re.compile("30[12378]"),
    GONE: re.compile("404|410"),
    SEVERITY: re.compile("fatal|error|warning|information"),
    REFERENCE: re.compile("[A-Za-z]{1,64}/[A-Za-z0-9.-]{1,64}"),
}
OPTIONS = ("p", "times", "retry-after", "where")
TOML_KEYS = {"route", "fault", "amount", *OPTIONS}
PLACES = ("inside", "between")


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault on one route. It applies with probability `p`, at most `times` times for each method and path."""

    route: str
    fault: str
    amount: str = ""
    p: float = 1.0
    times: int | None = None
    retry_after: str | None = None
    where: str = "inside"

    def draw(self, rng: random.Random) -> Rule:
        """Replace an amount that is a range, `LOW..HIGH`, by a number drawn from it."""
        low, dots, high = self.amount.partition("..")
        return replace(self, amount=str(rng.randint(int(low), int(high)))) if dots else self


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The rules, and the seed that decides which requests they apply to."""

    rules: tuple[Rule, ...] = ()
    seed: int = 0


def read_faults(text: str) -> FaultPlan:
    """Parse rules, or the TOML file of that name. Raises UsageError for an invalid rule, with its text."""
    if text.endswith(".toml"):
        try:
            document = tomllib.loads(Path(text).read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"cannot read {text}: {error.strerror}") from error
        except ValueError as error:  # of TOML, or of UTF-8
            raise UsageError(f"{text} is not valid TOML: {error}") from error
        return _read_document(document)
    plan = FaultPlan()
    for part in filter(None, (part.strip() for part in text.split(";"))):
        if found := re.fullmatch(r"seed=(\d{1,18})", part):
            plan = replace(plan, seed=int(found[1]))
            continue
        head, *options = part.split(",")
        route, colon, fault = head.partition(":")
        name, _, amount = fault.partition("=")
        if not colon:
            raise UsageError(f"faults: {part!r} has no route; a rule looks like data:cut=100000,p=0.1")
        fields = {"route": route, "fault": name, "amount": amount}
        for option in options:
            key, _, value = option.partition("=")
            if key in fields:
                raise UsageError(f"faults: {part!r} has {key} twice")
            fields[key] = value
        plan = replace(plan, rules=(*plan.rules, _rule(fields, part)))
    return plan


def _read_document(document: dict[str, Any]) -> FaultPlan:
    faults, seed = document.pop("fault", []), document.pop("seed", 0)
    tables = isinstance(faults, list) and all(isinstance(table, dict) for table in faults)
    if document or not tables or type(seed) is not int:
        raise UsageError("faults: the file may have a number `seed` and tables [[fault]], and nothing else")
    return FaultPlan(tuple(_rule({key: str(value) for key, value in table.items()}) for table in faults), seed)


def _rule(fields: dict[str, str], text: str | None = None) -> Rule:
    """Check a rule; `text` is how the user wrote it."""
    text = text or ",".join(f"{key}={value}" for key, value in fields.items())
    if unknown := sorted(set(fields) - TOML_KEYS):
        hint = suggestion(unknown[0], TOML_KEYS) or f"; there are {listed(OPTIONS)}"
        raise UsageError(f"faults: {text!r} has the unknown option {unknown[0]!r}{hint}")
    route, fault, amount = fields.get("route", ""), fields.get("fault", ""), fields.get("amount", "")
    if route not in ROUTES:
        hint = suggestion(route, ROUTES) or f"; there are {listed([*ROUTES])}"
        raise UsageError(f"faults: {text!r} has no route {route!r}{hint}")
    amounts = AMOUNTS | BULK_AMOUNTS
    if fault not in amounts:
        hint = suggestion(fault, amounts) or f"; there are {listed([*amounts])}"
        raise UsageError(f"faults: {text!r} has no fault {fault!r}{hint}")
    if fault in BULK_AMOUNTS and route not in BULK_ROUTES:
        raise UsageError(f"faults: {text!r}: {fault} is for the routes {listed([*BULK_ROUTES])}")
    checks = (
        ("amount", amount, PATTERNS[amounts[fault]]),
        ("p", fields.get("p", "1"), PATTERNS[RATE]),
        ("times", fields.get("times", "1"), re.compile(r"\d{1,9}")),
        ("retry-after", fields.get("retry-after", "1"), PATTERNS[WAIT]),
        ("where", fields.get("where", "inside"), re.compile("|".join(PLACES))),
    )
    for name, value, pattern in checks:
        if not pattern.fullmatch(value):
            hint = suggestion(value, PLACES) if name == "where" else ""
            raise UsageError(f"faults: {text!r}: {name} {value!r} is not valid for {fault} (docs/faults.md){hint}")
    low, dots, high = amount.partition("..")
    if dots and int(low) > int(high):
        raise UsageError(f"faults: {text!r}: the range {amount} is empty")
    return Rule(
        route=route,
        fault=fault,
        amount=amount,
        p=float(fields.get("p", "1")),
        times=int(fields["times"]) if "times" in fields else None,
        retry_after=fields.get("retry-after"),
        where=fields.get("where", "inside"),
    )
