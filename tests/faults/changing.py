"""Runs of the client against a server whose downloads change: what is asked, and how each run ends.

A run is exact when each download was counted, or kept, as one of its versions. `as sent` is one that mixed two
versions where no client could know (docs/reliability.md); everywhere else that is a `WrongError`.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.runs import COMMANDS, RETRIES, TIMEOUT_SECONDS, WrongError
from tests.faults.versions import CHANGES, ETAGS, FRAMINGS, NAMES, WHENS, Behaviour, changing, versions
from tests.sources import EXPORT

from mockexport.errors import UnreachableError, UntrustedDataError
from mockexport.pipeline.counting import count
from mockexport.pipeline.fetching import fetch
from mockexport.sources.folder import FolderSource
from mockexport.sources.http import HttpSource

__all__ = ["BEHAVIOURS", "ChangingRun", "changing_runs", "some_changing_runs"]

EVERY = 65  # run that is in each run of the tests; odd, so that both commands are
SEEDS = range(100, 105)


BEHAVIOURS = {
    **{
        f"changes: {when}": tuple(
            Behaviour(change, when, etag, framing, declared)
            for change, etag, framing, declared in product(CHANGES, ETAGS, FRAMINGS, (True, False))
        )
        for when in WHENS
    },
    **{
        f"ends: {framing}": tuple(
            Behaviour(None, "between", etag, framing, declared, cut)
            for etag, declared, cut in product(("strong", "weak", "none"), (True, False), ("row", "inside"))
        )
        for framing in FRAMINGS
    },
}
"""How the server behaves, by what it is about."""


@dataclass(frozen=True, slots=True)
class ChangingRun:
    """One run of a command against a server that behaves so."""

    behaviour: Behaviour
    command: str
    seed: int

    def end(self) -> str:
        """Run, and tell how it ended. Raises WrongError."""
        with (
            changing(self.behaviour, self.seed) as url,
            closing(HttpSource(url, timeout=TIMEOUT_SECONDS, retries=RETRIES)) as source,
        ):
            try:
                of_one_version = self._counts(source) if self.command == "count" else self._fetches(source)
            except UnreachableError:
                return "exit 5"
            except UntrustedDataError:
                return "exit 6"
            except Exception as error:
                raise WrongError(f"{self} raised {error!r}") from error
        if of_one_version:
            return "exact"
        if self.behaviour.is_knowable():
            raise WrongError(f"{self} got what is not there")
        return "as sent"

    def _counts(self, source: HttpSource) -> bool:
        found = {
            (patient, event_type): records
            for patient, types in count(source, EXPORT).patients.items()
            for event_type, records in types.items()
        }
        counted = [[_counted(body) for body in versions(self.behaviour.change)[name]] for name in NAMES]
        return any(sum(chosen, Counter()) == found for chosen in product(*counted))

    def _fetches(self, source: HttpSource) -> bool:
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            fetch(source, EXPORT, Path(folder))
            kept = {name: (Path(folder) / EXPORT / f"{name}.csv").read_bytes() for name in NAMES}
            if all(kept[name] in versions(self.behaviour.change)[name] for name in NAMES):
                return True
            with closing(FolderSource(folder)) as directory:
                count(directory, EXPORT)
            return False


@cache
def _counted(body: bytes) -> Counter[tuple[str, str]]:
    return Counter((row["patient_id"], row["event_type"]) for row in csv.DictReader(io.StringIO(body.decode())))


def changing_runs(about: str) -> list[ChangingRun]:
    """All runs that are about one kind of change, or one way of ending a body; the former are many with one seed."""
    seeds = SEEDS[:1] if about.startswith("changes") else SEEDS
    return [ChangingRun(*run) for run in product(BEHAVIOURS[about], COMMANDS, seeds)]


def some_changing_runs(about: str) -> list[ChangingRun]:
    """A part of these runs, of each kind."""
    return changing_runs(about)[::EVERY]
