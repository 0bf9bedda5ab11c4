"""Any life of an export: a server and a client that fail at any moment, run after run on one state.

A count is exact or an error, and after a kick-off that may have begun an export no other one is sent, but by `restart`.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests import seeds
from tests.fhir_client.conftest import counted
from tests.fhir_client.scripted_fhir import (
    LOST,
    Answer,
    Asked,
    ScriptedFhir,
    busy,
    cut,
    document,
    manifest,
    outcome,
    patients,
)

from mockexport import (
    FhirExport,
    MockExportError,
    NotAuthorisedError,
    NotFoundError,
    UnreachableError,
)
from mockexport.http import ClientSettings, Retries
from mockexport.place import write_whole
from mockexport.sources import FhirSource
from mockexport.sources.fhir import state

FILES = [patients(1, 4), patients(5, 5), patients(6, 9)]
PATIENTS = 9
TOKEN = "secret"
REFUSED, BEGUN_UNHEARD, UNHEARD, FAILED = "refused", "begun unheard", "unheard", "failed"
KICK_OFFS = [REFUSED, BEGUN_UNHEARD, UNHEARD, FAILED]
WAITS = [busy(), busy(429), outcome(500, {"severity": "error", "code": "transient"}, Retry_After="0")]
FAILURES = [LOST, Answer(500), Answer(502), outcome(500, {"severity": "fatal", "code": "exception"})]


class Crash(BaseException):
    """The client is no more: no handler of errors sees this."""


class Server(ScriptedFhir):
    """A server of one kind of export, with faults that pass."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[int, bool] = {}  # whether each export is still there
        self.number = 0
        self.running = False  # a kick-off that may have begun an export was sent, and nobody asked for another one
        self.second_kick_offs = 0
        self.kick_off_faults: list[str] = []
        self.status_faults: list[Answer] = []
        self.file_faults: list[str] = []
        self.token_is_good = True
        self.link = 1  # only links with this number are good
        self.on("GET /fhir/$export", self.kick_off)

    def kick_off(self, _: Asked) -> Answer:
        if not self.token_is_good:
            return Answer(401)
        fault = self.kick_off_faults.pop(0) if self.kick_off_faults else ""
        if self.running:
            self.second_kick_offs += 1
        if fault == REFUSED:
            return busy(429)
        self.running = True
        if fault == UNHEARD:
            return LOST
        if fault == FAILED:
            return Answer(500)
        job = self.number = self.number + 1
        self.jobs[job] = True
        path = f"/fhir/jobs/{job}"
        self.on(f"GET {path}", partial(self.status, job))
        self.on(f"DELETE {path}", partial(self.delete, job))
        for number in range(len(FILES)):
            self.on(f"GET {path}/{number}", partial(self.file, job, number))
        return LOST if fault == BEGUN_UNHEARD else Answer(202, headers={"Content-Location": self.origin + path})

    def status(self, job: int, _: Asked) -> Answer:
        if not self.token_is_good:
            return Answer(401)
        if not self.jobs[job]:
            return Answer(404)
        if self.status_faults:
            return self.status_faults.pop(0)
        output = [
            {"type": "Patient", "url": f"{self.url}/jobs/{job}/{n}?link={self.link}", "count": body.count(b"\n")}
            for n, body in enumerate(FILES)
        ]
        return document(manifest(*output))

    def file(self, job: int, number: int, asked: Asked) -> Answer:
        if not self.token_is_good:
            return Answer(401)
        if not self.jobs[job]:
            return Answer(404)
        if asked.query["link"] != str(self.link):
            return Answer(410)
        fault = self.file_faults.pop(0) if self.file_faults else ""
        whole = Answer(body=FILES[number])
        faults = {"cut": cut(whole, 17), "row": Answer(body=FILES[number][:-12]), "busy": Answer(503), "lost": LOST}
        return faults.get(fault, whole)

    def delete(self, job: int, _: Asked) -> Answer:
        there, self.jobs[job] = self.jobs[job], False
        return Answer(202 if there else 404)

    def calm(self) -> None:
        """Let all faults pass."""
        self.kick_off_faults.clear()
        self.status_faults.clear()
        self.file_faults.clear()
        self.token_is_good = True


class Lives(RuleBasedStateMachine):
    """Each run is a new client on the same state, as each run of the command is."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "job"
        self.server = Server()
        self.server.__enter__()
        self.writes_left: int | None = None  # until the client crashes
        self.crash_before_write = False
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(state, "write_whole", self.write)

    def teardown(self) -> None:
        self.patch.undo()
        self.server.__exit__()
        shutil.rmtree(self.folder)

    def write(self, path: Path, content: bytes, **options: Any) -> None:
        if self.writes_left is not None:
            self.writes_left -= 1
        crashes = self.writes_left is not None and self.writes_left < 0
        if not (crashes and self.crash_before_write):
            write_whole(path, content, **options)
        if crashes:
            self.writes_left = None
            raise Crash

    def source(self, *, restart: bool = False) -> FhirSource:
        retries = Retries(2, 30.0, 0.0001)
        return FhirSource(
            ClientSettings(self.server.url, token=TOKEN, retries=retries), FhirExport(state=self.path, restart=restart)
        )

    def run(self, source: FhirSource) -> type[MockExportError | Crash] | int:
        """Count as the command does; return the number of patients, or what went wrong."""
        with closing(source):
            try:
                number = counted(source)
                source.end()
            except MockExportError as error:
                return type(error)
            except Crash:
                return Crash
        assert number == PATIENTS
        return number

    # ---- The server's faults ----

    @initialize(faults=st.lists(st.sampled_from(KICK_OFFS), max_size=2))
    def the_first_kick_offs_go_wrong(self, faults: list[str]) -> None:
        """Or most faults would come when the export has begun."""
        self.server.kick_off_faults = faults

    @rule(faults=st.lists(st.sampled_from(KICK_OFFS), min_size=1, max_size=3))
    def kick_offs_go_wrong(self, faults: list[str]) -> None:
        self.server.kick_off_faults = faults

    @rule(number=st.integers(1, 4), answer=st.sampled_from(WAITS))
    def the_export_takes_its_time(self, number: int, answer: Answer) -> None:
        self.server.status_faults += [answer] * number

    @rule(
        answer=st.sampled_from(
            [LOST, Answer(500), Answer(502), outcome(500, {"severity": "fatal", "code": "exception"})]
        )
    )
    def the_status_fails(self, answer: Answer) -> None:
        self.server.status_faults.append(answer)

    @rule(faults=st.lists(st.sampled_from(["", "cut", "row", "busy", "lost"]), min_size=1, max_size=6))
    def files_go_wrong(self, faults: list[str]) -> None:
        self.server.file_faults = faults

    @rule()
    def links_expire(self) -> None:
        self.server.link += 1

    @rule()
    def the_token_expires(self) -> None:
        self.server.token_is_good = False

    @rule()
    def the_token_is_renewed(self) -> None:
        self.server.token_is_good = True

    @precondition(lambda self: any(self.server.jobs.values()))
    @rule()
    def the_server_forgets_all_exports(self) -> None:
        self.server.jobs = dict.fromkeys(self.server.jobs, False)

    # ---- The client's runs ----

    @rule()
    def it_is_counted(self) -> None:
        good = self.server.token_is_good
        ended = self.run(self.source())
        assert good or ended in (NotAuthorisedError, NotFoundError, UnreachableError)

    @rule(writes=st.integers(0, 6), before=st.booleans())
    def it_crashes_around_a_note(self, writes: int, before: bool) -> None:
        self.writes_left, self.crash_before_write = writes, before
        self.run(self.source())
        self.writes_left = None

    @rule()
    def it_crashes_as_it_waits(self) -> None:
        source = self.source()

        def crash(_: str) -> None:
            raise Crash

        source.on_status = crash
        self.run(source)

    @rule()
    def it_is_begun_and_left(self) -> None:
        with closing(self.source()) as source:
            try:
                source.start("system")
            except (NotAuthorisedError, NotFoundError, UnreachableError):
                return

    @rule()
    def it_is_cancelled(self) -> None:
        with closing(self.source()) as source:
            try:
                source.cancel("system")
            except (NotFoundError, UnreachableError):
                return
        assert not any(self.server.jobs.values()) or self.server.number > 1

    @rule()
    def another_one_is_begun(self) -> None:
        self.server.running = False
        self.run(self.source(restart=True))

    @rule()
    def all_is_well_again(self) -> None:
        """Without faults a run ends as the state says: nothing else stands in its way."""
        self.server.calm()
        kept = orjson.loads(self.path.read_bytes()) if self.path.exists() else {}
        job = int(kept.get("status_url", "0").rpartition("/")[2])
        forgotten = job > 0 and not self.server.jobs[job]
        ended = self.run(self.source())
        if kept.get("ended"):
            assert ended is NotFoundError
        elif kept.get("sent") and "status_url" not in kept:
            assert ended is UnreachableError
        elif forgotten:
            assert ended is NotFoundError
        else:
            assert ended == PATIENTS

    @invariant()
    def no_second_kick_off_was_sent(self) -> None:
        assert self.server.second_kick_offs == 0


TestLives = Lives.TestCase
TestLives.settings = settings(seeds.examples(20, 400), stateful_step_count=12)
