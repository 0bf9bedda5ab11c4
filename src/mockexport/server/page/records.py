"""The records of runs: documents that all servers of a service share, so that any of them can tell of any run.

The server that does a run renews its record. If it does not, it has ended, or lost the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from mockexport.server.page.kinds import Answer
    from mockexport.shared import Documents

__all__ = ["CANCELLED", "DONE", "FAILED", "KEPT_SECONDS", "RUNNING", "Record", "Records"]

RUNNING, DONE, FAILED, CANCELLED = "running", "done", "failed", "cancelled"
KEPT_SECONDS = 3600.0
ALIVE_SECONDS = 15.0  # since a record was renewed; more than a database may take to answer, or clocks to differ
RECORDS = 1000  # more than servers keep, unless many are killed
LISTED = 100
LOST = "the server that ran it has ended, or cannot reach the others any more"

Record = dict[str, Any]
"""How a run is, as the page takes it: see `Run.record`."""


class Records:
    """The records of the runs of all servers, and their answers. Safe to share between threads.

    All methods may wait for a database, and raise UnreachableError.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def add(self, record: Record) -> None:
        """Store the record of a new run. Raises NoRoomError if there are too many."""
        self._documents.add("run", record["id"], self._body(record), self._expires(), most=RECORDS)

    def renew(self, record: Record) -> None:
        """Store how a run is now."""
        self._documents.put("run", record["id"], self._body(record), self._expires())

    def end(self, record: Record, answer: Answer | None) -> None:
        """Store how a run has ended; its answer first, since the record says that it is there."""
        if answer:
            self._documents.put("run-json", record["id"], answer.json, self._expires())
            self._documents.put("run-csv", record["id"], answer.csv, self._expires())
        self.renew(record)

    def find(self, run_id: str) -> Record | None:
        """Return how a run is, None if there is none. One that is not renewed any more has failed."""
        document = self._documents.get("run", run_id)
        if document is None:
            return None
        record: Record = orjson.loads(document.body)
        alive_until = record.pop("alive_until")
        if record["state"] == RUNNING and self._documents.clock() >= alive_until:
            record |= {"state": FAILED, "error": LOST}
        return record

    def newest(self) -> list[str]:
        """Return the ids of the newest runs, the newest first."""
        return self._documents.names("run")[: -LISTED - 1 : -1]

    def answer(self, run_id: str, suffix: str) -> bytes | None:
        """Return the answer of a run as `json` or `csv`, None if it is not kept any more."""
        document = self._documents.get(f"run-{suffix}", run_id)
        return document.body if document else None

    def delete(self, run_id: str) -> None:
        """Delete a run's record and its answer."""
        for kind in ("run", "run-json", "run-csv"):
            self._documents.delete(kind, run_id)

    def ask_to_cancel(self, run_id: str) -> None:
        """Have the server that does a run cancel it."""
        self._documents.put("run-cancel", run_id, b"", self._documents.clock() + ALIVE_SECONDS)

    def is_to_be_cancelled(self, run_id: str) -> bool:
        """Tell whether a server was asked to cancel a run."""
        return self._documents.get("run-cancel", run_id) is not None

    def _body(self, record: Record) -> bytes:
        return orjson.dumps({**record, "alive_until": self._documents.clock() + ALIVE_SECONDS})

    def _expires(self) -> float:
        return self._documents.clock() + KEPT_SECONDS
