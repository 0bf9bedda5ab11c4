"""Faults on request: what goes wrong between a server and its clients, done on purpose, seeded and so repeatable.

Two steps: `read_faults` turns what the user wrote into rules, and `Faults`, around the application, carries them out as
the rules say. docs/faults.md describes the language.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mockexport.errors import UsageError
from mockexport.server.faults.inject import FaultyExchange
from mockexport.wire import API

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["AMOUNTS", "ROUTES", "FaultPlan", "Faults", "Rule", "read_faults"]

ROUTES = {
    "exports": re.compile(re.escape(API)),
    "export": re.compile(re.escape(API) + "/[^/]+"),
    "download": re.compile(re.escape(API) + "/[^/]+/[^/]+"),
    "data": re.compile(re.escape(API) + "/[^/]+/[^/]+/data"),
    "any": re.compile(re.escape(API) + "(/.*)?"),
}
"""The routes by the names that rules give them."""

BYTES, SIGNED, NUMBER, RATE, CODE, NOTHING = "bytes", "signed", "number", "rate", "code", "nothing"
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
    "ignore-range": NOTHING,
    "wrong-range": NOTHING,
    "etag": NOTHING,
    "weak-etag": NOTHING,
    "replica": NOTHING,
}
"""The faults, and what amount each takes."""

PATTERNS = {
    BYTES: re.compile(r"\d{1,18}(\.\.\d{1,18})?"),
    SIGNED: re.compile(r"[+-]?\d{1,18}"),
    NUMBER: re.compile(r"\d{1,12}(\.\d{1,9})?"),
    RATE: re.compile(r"0?\.\d{1,9}|[01](\.0*)?"),
    CODE: re.compile(r"[45]\d\d"),
    NOTHING: re.compile(""),
}
RETRY_AFTER = re.compile(r"\d{1,9}|date:\d{1,9}")
TOML_KEYS = {"route", "fault", "amount", "p", "times", "retry-after", "where"}


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault on one route; it strikes a request with probability `p`, at most `times` times a method and path."""

    route: str
    fault: str
    amount: str = ""
    p: float = 1.0
    times: int | None = None
    retry_after: str | None = None
    where: str = "inside"

    def draw(self, dice: random.Random) -> Rule:
        """Settle an amount that is a range, `LOW..HIGH`, on one number in it."""
        low, dots, high = self.amount.partition("..")
        return replace(self, amount=str(dice.randint(int(low), int(high)))) if dots else self


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The rules, and the seed that decides which requests they strike."""

    rules: tuple[Rule, ...] = ()
    seed: int = 0


def read_faults(text: str) -> FaultPlan:
    """Read rules as written on the command line, or the TOML file of that name. Raises UsageError."""
    if text.endswith(".toml"):
        try:
            document = tomllib.loads(Path(text).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"faults {text} can't be read: {error}") from error
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
            raise UsageError(f"faults: {part!r} names no route; a rule looks like data:cut=100000,p=0.1")
        fields = {"route": route, "fault": name, "amount": amount}
        for option in options:
            key, _, value = option.partition("=")
            if key in fields:
                raise UsageError(f"faults: {part!r} says {key} twice")
            fields[key] = value
        plan = replace(plan, rules=(*plan.rules, _rule(fields)))
    return plan


def _read_document(document: dict[str, Any]) -> FaultPlan:
    listed, seed = document.pop("fault", []), document.pop("seed", 0)
    tables = isinstance(listed, list) and all(isinstance(table, dict) for table in listed)
    if document or not tables or type(seed) is not int:
        raise UsageError("faults: the file holds a number seed and tables [[fault]], and nothing else")
    return FaultPlan(tuple(_rule({key: str(value) for key, value in table.items()}) for table in listed), seed)


def _rule(fields: dict[str, str]) -> Rule:
    told = ",".join(f"{key}={value}" for key, value in fields.items())
    if unknown := sorted(set(fields) - TOML_KEYS):
        raise UsageError(
            f"faults: {told!r} has an unknown option {unknown[0]!r}; there are p, times, retry-after, where"
        )
    route, fault, amount = fields.get("route", ""), fields.get("fault", ""), fields.get("amount", "")
    if route not in ROUTES:
        raise UsageError(f"faults: {told!r} has no route {route!r}; there are {', '.join(ROUTES)}")
    if fault not in AMOUNTS:
        raise UsageError(f"faults: {told!r} has no fault {fault!r}; there are {', '.join(AMOUNTS)}")
    checks = (
        ("amount", amount, PATTERNS[AMOUNTS[fault]]),
        ("p", fields.get("p", "1"), PATTERNS[RATE]),
        ("times", fields.get("times", "1"), re.compile(r"\d{1,9}")),
        ("retry-after", fields.get("retry-after", "1"), RETRY_AFTER),
        ("where", fields.get("where", "inside"), re.compile("inside|between")),
    )
    for name, value, pattern in checks:
        if not pattern.fullmatch(value):
            raise UsageError(f"faults: {told!r}: {name} {value!r} is not what {fault} takes (docs/faults.md)")
    low, dots, high = amount.partition("..")
    if dots and int(low) > int(high):
        raise UsageError(f"faults: {told!r}: the range {amount} is empty")
    return Rule(
        route=route,
        fault=fault,
        amount=amount,
        p=float(fields.get("p", "1")),
        times=int(fields["times"]) if "times" in fields else None,
        retry_after=fields.get("retry-after"),
        where=fields.get("where", "inside"),
    )


@dataclass
class Faults:
    """An application that does what another one does, but for the faults.

    What strikes a request depends on the seed, the rule, the method and path, and how many requests of these came
    before it; not on time, nor on other paths. So clients that ask for the same meet the same, however many work side
    by side, and whether or not they ask with HEAD first.
    """

    application: ASGIApp
    plan: FaultPlan
    _requests: Counter[str] = field(default_factory=Counter)
    _strikes: Counter[tuple[int, str]] = field(default_factory=Counter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as an ASGI application."""
        striking = self._striking(scope["method"], scope["path"]) if scope["type"] == "http" else []
        if striking:
            await FaultyExchange(striking).run(self.application, scope, receive, send)
        else:
            await self.application(scope, receive, send)

    def _striking(self, method: str, path: str) -> list[tuple[Rule, random.Random]]:
        asked = f"{method} {path}"
        self._requests[asked] += 1
        striking = []
        for number, rule in enumerate(self.plan.rules):
            if not ROUTES[rule.route].fullmatch(path):
                continue
            dice = random.Random(f"{self.plan.seed}/{number}/{asked}/{self._requests[asked]}")
            spent = rule.times is not None and self._strikes[number, asked] >= rule.times
            if dice.random() < rule.p and not spent:
                self._strikes[number, asked] += 1
                striking.append((rule.draw(dice), dice))
        return striking
