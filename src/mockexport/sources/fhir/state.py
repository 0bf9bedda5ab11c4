"""The state of an export, kept in a file, so that another run goes on where this one ended.

A kick-off cannot be repeated safely: the protocol has nothing by which a server would know it again. So the file says
that one is about to be sent before it is sent. If it still says so later, and no status URL is known, an export may be
running that nobody can find.

The file may be an object in a store. There, nothing keeps two runs from beginning an export at the same moment.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from mockexport.encoding import json_bytes
from mockexport.errors import UntrustedDataError, UsageError
from mockexport.files import locked, remove_leftovers
from mockexport.place import Place, read_whole, remove_file, write_whole

__all__ = ["ExportState", "StateFile"]

FORMAT = 1
FIELDS = {
    "kick_off": str,
    "sent": bool,
    "status_url": str,
    "began": float,
    "manifest": str,
    "ended": bool,
}


@dataclass(frozen=True, slots=True)
class ExportState:
    """How far an export is. `kick_off` is the URL that begins it; `began` is when, in seconds since 1970.

    `sent` is set before the kick-off is sent, `status_url` once the server has accepted it, `manifest` once the export
    is complete, and `ended` once the server was told to delete it. The manifest is the text that the server sent, or
    all parts of it as one.
    """

    kick_off: str
    sent: bool = False
    status_url: str | None = None
    began: float | None = None
    manifest: str | None = field(default=None, repr=False)
    ended: bool = False


class StateFile:
    """Keeps a state in a file, or nowhere if there is none. Each `keep` is there for good when it returns."""

    def __init__(self, path: Place | None) -> None:
        self.path = path

    def load(self) -> ExportState | None:
        """Return the state that is kept; None if there is none. Removes what a killed run has left of writing it.

        Raises UntrustedDataError for a file that is not a state, and UsageError for one that cannot be read.
        """
        if self.path is None:
            return None
        if isinstance(self.path, Path):
            target = Path(os.path.realpath(self.path))
            remove_leftovers(target.parent, {target.name})
        try:
            document = orjson.loads(read_whole(self.path))
        except FileNotFoundError:
            return None
        except orjson.JSONDecodeError:
            document = None
        except OSError as error:
            raise UsageError(f"cannot read the state {self.path}: {error.strerror}") from error
        if not isinstance(document, dict) or document.pop("mockexport_export_state", None) != FORMAT:
            raise UntrustedDataError(f"{self.path} is not the state of an export of this version; choose another file")
        if not isinstance(document.get("kick_off"), str) or any(
            not isinstance(document.get(name), kind) and document.get(name) is not None for name, kind in FIELDS.items()
        ):
            raise UntrustedDataError(f"the state {self.path} is damaged; choose another file")
        return ExportState(**{name: document[name] for name in FIELDS if document.get(name) is not None})

    def held(self) -> AbstractContextManager[None]:
        """Keep other runs from beginning an export with this file during the block. Raises UsageError if one does."""
        if not isinstance(self.path, Path):
            return nullcontext()
        target = Path(os.path.realpath(self.path))
        busy = f"another run is beginning the export in the state {self.path}; wait for it"
        return locked(target.with_name(f".{target.name}.lock"), busy)

    def keep(self, state: ExportState, **changes: Any) -> ExportState:
        """Keep a state with these changes, and return it. Raises UsageError if the file cannot be written.

        In a store, other errors of ours are raised, too.
        """
        state = replace(state, **changes)
        if self.path is None:
            return state
        try:
            if not state.sent and state.status_url is None:  # nothing runs: there is nothing to keep
                remove_file(self.path)
                return state
            document = {name: getattr(state, name) for name in FIELDS if getattr(state, name) is not None}
            write_whole(self.path, json_bytes({"mockexport_export_state": FORMAT, **document}), follow_link=True)
        except OSError as error:
            raise UsageError(f"cannot write the state {self.path}: {error.strerror}") from error
        return state
