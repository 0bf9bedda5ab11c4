"""Whatever happens in whatever order: every query is answered as ten lines of plain Python answer it."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.heartrate.synthetic import DAY, MIDNIGHT, MINUTE, Row, batch, model_points
from tests.seeds import examples

from mockexport.heartrate.readings import date_of, time_of
from mockexport.heartrate.service import HeartRate

USERS, DEVICES = ("u", "v", "Ü"), ("device_a", "device_b", "x")
DAYS = 4

readings = st.tuples(
    st.sampled_from(USERS),
    st.sampled_from(DEVICES),
    st.builds(
        lambda day, offset: MIDNIGHT + day * DAY + offset,
        st.integers(0, DAYS),
        st.sampled_from([-1, 0, 1, MINUTE - 1, MINUTE, 7 * MINUTE]),
    ),
    st.integers(60, 440).map(lambda half: half / 2),
)
steps = st.one_of(
    st.tuples(st.just("post"), st.lists(readings, min_size=1, max_size=12)),
    st.tuples(
        st.just("query"), st.tuples(st.sampled_from(USERS), st.none() | st.sampled_from(DEVICES), st.integers(0, 9))
    ),
    st.tuples(st.sampled_from(["flush", "compact", "tidy", "restart", "crash", "days"]), st.none()),
    st.tuples(st.just("retention"), st.integers(0, DAYS + 1)),
)


class Both:
    """The service and the model beside it."""

    def __init__(self, folder: Path, journal: str | None = None) -> None:
        self.folder, self.journal, self.copies = folder, journal, 0
        self.kept: list[Row] = []
        self.today = time_of(MIDNIGHT)
        self.service = self.opened()

    def opened(self) -> HeartRate:
        # The days of the model come in any order, as those of no clock do (test_clocks.py has the guard against that).
        return HeartRate(
            self.folder,
            journal=self.journal,
            flush_seconds=3600,
            retain=timedelta(days=1),
            now=lambda: self.today,
            trust_clock=True,
        )

    def take(self, what: str, argument: Any) -> None:
        getattr(self, what)(*([] if argument is None else [argument]))

    def post(self, rows: list[Row]) -> None:
        self.service.accept(batch(*rows)).result(60)
        self.kept.extend(rows)

    def query(self, asked: tuple[str, str | None, int]) -> None:
        user, device, half_days = asked
        start, end = MIDNIGHT + half_days * DAY // 2 - DAY, MIDNIGHT + half_days * DAY // 2 + MINUTE
        assert self.service.query(user, start, end, device) == model_points(self.kept, user, start, end, device)

    def flush(self) -> None:
        self.service.flush()

    def compact(self) -> None:
        self.service.compact()

    def tidy(self) -> None:
        self.service.tidy()

    def restart(self) -> None:
        self.service.close()
        self.service = self.opened()

    def crash(self) -> None:
        """Go on with what was on disk, with nothing of the process left."""
        self.copies += 1
        crashed = self.folder.with_name(f"copy{self.copies}")
        shutil.copytree(self.folder, crashed)
        self.service.close()
        self.folder = crashed
        self.service = self.opened()

    def retention(self, days: int) -> None:
        self.today = time_of(MIDNIGHT + days * DAY)
        self.service.flush()
        self.service.drop_old_days()
        oldest = (self.today - timedelta(days=1)).date()
        self.kept = [row for row in self.kept if date_of(row[2]) >= oldest]

    def days(self) -> None:
        distinct = {row[:3]: row[3] for row in self.kept}
        found = {day.date: day for day in self.service.days()}
        assert sorted(found) == sorted({date_of(time) for _, _, time in distinct})
        for date, day in found.items():
            expected = sorted((u, t, d, rate) for (u, d, t), rate in distinct.items() if date_of(t) == date)
            rows = [row for frame in self.service.rows(day) for row in frame.iter_rows()]
            assert [(u, t, d, rate) for u, d, t, rate in rows] == expected
            assert (day.rows, day.users) == (len(expected), tuple(sorted({row[0] for row in expected})))
            assert (day.first, day.last) == (min(row[1] for row in expected), max(row[1] for row in expected))

    def everything(self) -> None:
        for user in USERS:
            start, end = MIDNIGHT - DAY, MIDNIGHT + (DAYS + 1) * DAY
            assert self.service.query(user, start, end) == model_points(self.kept, user, start, end)
        self.days()


@settings(examples(15, 300), suppress_health_check=list(HealthCheck))
@given(st.lists(steps, max_size=25))
def test_any_order_of_posts_flushes_compactions_retention_and_restarts_answers_as_the_model(
    todo: list[tuple[str, Any]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        both = Both(Path(folder) / "data")
        try:
            for what, argument in todo:
                both.take(what, argument)
            both.everything()
        finally:
            both.service.close()
