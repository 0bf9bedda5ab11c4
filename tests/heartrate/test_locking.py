"""Two processes on one folder: the second one is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.heartrate.synthetic import TEN, batch

from mockexport.errors import UsageError
from mockexport.heartrate.service import HeartRate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


@contextmanager
def driven(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Callable[..., Any]]:
    """Start a process that uses the folder; give what tells it to do something and returns its answer."""
    command = [sys.executable, "-m", "tests.heartrate.driver", str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers, questions = process.stdout, process.stdin

        def ask(*what: Any) -> Any:
            questions.write(json.dumps(what) + "\n")
            questions.flush()
            return json.loads(answers.readline())

        try:
            assert json.loads(answers.readline()) == {"ok": "ready"}
            yield ask
        finally:
            process.kill()


def test_a_second_process_is_refused_by_the_folders_name_and_let_in_after_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with driven(folder) as ask:
        with pytest.raises(
            UsageError, match=rf"^{folder} is in use by another process; stop that one, or choose another"
        ):
            HeartRate(folder)
        assert ask("post", ["u"], ["device_a"], [TEN], [70.0]) == {"ok": None}
    with HeartRate(folder) as service:
        assert [day.rows for day in service.days()] == [1]


def test_a_second_service_in_one_process_is_refused_too(tmp_path: Path) -> None:
    with HeartRate(tmp_path), pytest.raises(UsageError, match="in use"):
        HeartRate(tmp_path)
    HeartRate(tmp_path).close()


@pytest.mark.gate
def test_a_reader_sees_all_that_another_process_has_acknowledged_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with driven(folder) as ask:
        reader = HeartRate(folder, read_only=True)
        for number in range(3):
            ask("post", ["u"], ["device_a"], [TEN + number], [70.0])
            assert [day.rows for day in reader.days()] == [number + 1]
            ask("flush")
            assert [day.rows for day in reader.days()] == [number + 1]
        ask("compact")
        assert [day.rows for day in reader.days()] == [3]
        with pytest.raises(UsageError, match="read-only"):
            reader.accept(batch(("u", "device_a", TEN, 70.0)))
        reader.close()


def test_a_reader_of_a_closed_folder_leaves_it_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with HeartRate(folder) as service:
        service.accept(batch(("u", "device_a", TEN, 70.0))).result(60)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with HeartRate(folder, read_only=True) as reader:
        assert len(reader.query("u", TEN, TEN)) == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
