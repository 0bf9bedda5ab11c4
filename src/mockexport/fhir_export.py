"""What to ask a FHIR server to export, and what to do while it does: a value that names no way to reach it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mockexport.place import Place

__all__ = ["SCOPE", "WEEK", "FhirExport"]

WEEK = 7 * 86_400.0
SCOPE = "system/*.rs"


@dataclass(frozen=True, slots=True)
class FhirExport:
    """What to ask for: resource types; those changed since or until a time; filters of types; elements.

    `timeout` is how long the server may take to make it, in seconds. `state` is a file that keeps how far it is, from
    which another run goes on; only with `restart` is another one begun while the first may be running. Errors that the
    server tells of are errors, unless `allow_partial` takes what there is. `client_id` is by what the server knows us
    (SMART Backend Services), with a private `key` or a `client_secret`, both files; `scope` is what we ask to see.
    """

    types: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    type_filters: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    state: Place | None = None
    restart: bool = False
    timeout: float = WEEK
    allow_partial: bool = False
    client_id: str | None = None
    key: Path | None = None
    client_secret: Path | None = None
    scope: str = SCOPE

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of the kick-off. Several values have commas between: some servers refuse repeated names.

        A comma within a filter is quoted as in any URL, which a filter is a part of.
        """
        parameters = {
            "_type": ",".join(self.types),
            "_since": self.since or "",
            "_until": self.until or "",
            "_typeFilter": ",".join(query.replace(",", "%2C") for query in self.type_filters),
            "_elements": ",".join(self.elements),
        }
        return {name: value for name, value in parameters.items() if value}
