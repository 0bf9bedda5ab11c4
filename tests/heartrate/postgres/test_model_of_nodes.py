"""Two servers share a journal and a table: whatever happens in whatever order, each answers as the model does."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.heartrate import test_model
from tests.heartrate.postgres.server import new_database
from tests.heartrate.synthetic import TEN, batch
from tests.seeds import examples

from mockexport.errors import UnreachableError
from mockexport.heartrate.journal import JournalError
from mockexport.heartrate.service import HeartRate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.heartrate.postgres.server import Cluster

pytestmark = pytest.mark.postgres

STEPS = st.tuples(
    st.integers(0, 1),
    test_model.steps.filter(lambda step: step[0] != "tidy")
    | st.tuples(st.sampled_from(["new_leader", "stop_leader", "same"]), st.none()),
)


@contextmanager
def may_have_lost_the_lead() -> Iterator[None]:
    """A server that does not know yet that another one leads is refused, by the journal or by the table."""
    try:
        yield
    except JournalError:
        pass
    except UnreachableError as error:
        if "another server writes the table" not in str(error):
            raise


class Nodes(test_model.Both):
    """Two servers and the model beside them; `service` is the one that the next step is for."""

    def __init__(self, folder: Path, cluster: Cluster, database: str) -> None:
        self.cluster, self.database = cluster, database
        super().__init__(folder, cluster.url(database))
        self.nodes = [self.service, self.opened()]

    def choose(self, number: int) -> None:
        self.service = self.nodes[number]

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def flush(self) -> None:
        with may_have_lost_the_lead():
            self.service.flush()

    def compact(self) -> None:
        with may_have_lost_the_lead():
            self.service.compact()

    def restart(self) -> None:
        self.reopen(self.service)

    def crash(self) -> None:
        """Go on with what was on disk: nothing more is written by this server."""
        self.service._flusher = self.service._maintenance = None
        self.reopen(self.service)

    def reopen(self, old: HeartRate) -> None:
        old.close()
        self.service = self.opened()
        self.nodes[self.nodes.index(old)] = self.service

    def new_leader(self) -> None:
        """End the session of the leader at the server, as a broken connection does."""
        self.cluster.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{self.database}' AND application_name LIKE '%leader%'"
        )

    def stop_leader(self) -> None:
        """Restart the leader, so that the other server takes the table over."""
        for node in list(self.nodes):
            if node.statistics().leads:
                self.reopen(node)

    def retention(self, days: int) -> None:
        for node in self.nodes:
            with may_have_lost_the_lead():
                if node._node and node._node.lead():
                    self.service = node
                    super().retention(days)
                    break
        for node in self.nodes:
            assert node._node
            node._node.refresh()

    def same(self) -> None:
        one, other = (node.days() for node in self.nodes)
        assert one == other

    def everything(self) -> None:
        for number in (0, 1):
            self.choose(number)
            super().everything()
        self.same()


@settings(examples(15, 200), suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=25))
def test_any_order_of_steps_on_two_servers_answers_as_the_model(
    postgres: Cluster, todo: list[tuple[int, tuple[str, Any]]]
) -> None:
    with (
        pytest.MonkeyPatch.context() as patched,
        tempfile.TemporaryDirectory() as folder,
        new_database(postgres) as database,
    ):
        patched.setattr("mockexport.heartrate.service.MAINTENANCE_SECONDS", 3600.0)  # days are dropped by steps alone
        nodes = Nodes(Path(folder) / "data", postgres, database)
        try:
            for number, (what, argument) in todo:
                nodes.choose(number)
                nodes.take(what, argument)
            nodes.everything()
        finally:
            nodes.close()


def test_what_was_released_before_a_server_read_it_is_found_in_the_table(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mockexport.heartrate.service.POLL_SECONDS", 3600.0)  # it reads the journal for queries alone
    options: dict[str, Any] = {"journal": url, "flush_seconds": 3600}
    with HeartRate(tmp_path / "data", **options) as one, HeartRate(tmp_path / "data", **options) as two:
        one.accept(batch(("u", "d", TEN, 60.0))).result(60)
        one.flush()
        assert [point.heart_rate for point in two.query("u", TEN, TEN)] == [60.0]
        assert two.days() == one.days()
