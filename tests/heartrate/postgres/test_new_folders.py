"""Servers that make one new folder at the same instant: one marks it, and the others find that marker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.heartrate.racing import Found, at_once, one_is_named

from mockexport.heartrate.folder import MARKER, Marker, read_marker
from mockexport.heartrate.locations import Locations
from mockexport.heartrate.service import HeartRate

if TYPE_CHECKING:
    from typing import IO

    from tests.heartrate.postgres.server import Cluster

pytestmark = pytest.mark.postgres

ROUNDS = [3, pytest.param(200, marks=pytest.mark.slow)]


def open_folder(folder: str, journal: str) -> Found:
    """Do what a server does until its journal is open."""
    locations = Locations(folder, journal)
    locks: list[IO[bytes]] = []
    try:
        locations.claim(locks, replace_journal=False)
        opened = locations.open_journal(lambda *_: None, None)
        opened.close()
        return Found(opened.id, read_marker(Path(folder)).journal or "")
    finally:
        for lock in locks:
            lock.close()


@pytest.mark.parametrize("count", ROUNDS)
def test_of_servers_that_make_a_folder_at_once_all_find_the_marker_with_their_journal(
    count: int, tmp_path: Path, url: str
) -> None:
    for found in at_once(open_folder, [[(str(tmp_path / str(number)), url)] * 4 for number in range(count)]):
        assert one_is_named(found), found
        assert not any(each.refused for each in found)


@pytest.mark.parametrize("count", ROUNDS)
def test_of_servers_with_two_databases_that_make_a_folder_at_once_those_of_one_are_refused(
    count: int, tmp_path: Path, postgres: Cluster, database: str, url: str
) -> None:
    other = f"{database}_other"
    postgres.run(f"CREATE DATABASE {other}")
    try:
        urls = [url, postgres.url(other)] * 2
        for found in at_once(
            open_folder, [[(str(tmp_path / str(number)), each) for each in urls] for number in range(count)]
        ):
            assert one_is_named(found), found
            assert sum(bool(each.refused) for each in found) == 2
    finally:
        postgres.run(f"DROP DATABASE {other} WITH (FORCE)")


def test_a_server_that_saw_no_marker_takes_the_one_that_another_server_has_made_since(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has also written the table by then."""
    data, link = tmp_path / "data", os.link
    made: list[Marker] = []

    def link_late(*names: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        with HeartRate(data, journal=url):
            made.append(read_marker(data))
        (data / MARKER).write_bytes((data / MARKER).read_bytes() + b"\n")  # so it is known if it is written again
        link(*names)

    monkeypatch.setattr(os, "link", link_late)
    with HeartRate(data, journal=url):
        assert [read_marker(data)] == made
        assert made[0].journal
        assert (data / MARKER).read_bytes().endswith(b"\n\n")
