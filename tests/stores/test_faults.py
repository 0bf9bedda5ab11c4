"""A store that misbehaves: what is counted in it is exact, or it is an error that says what to do."""

from __future__ import annotations

import pickle
import re
import threading
from typing import TYPE_CHECKING

import pytest
from tests.sources import csv_body
from tests.stores.small_store import Handler, SmallStore

import mockexport
from mockexport import count, open_source
from mockexport.errors import (
    ChangedError,
    NotAuthorisedError,
    NotFoundError,
    UnreachableError,
    UntrustedDataError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mockexport.source import Source

ROWS = 40_000  # more than the first piece of a reading holds
KEY = "exports/trial/a.csv"


@pytest.fixture
def store() -> Iterator[SmallStore]:
    with SmallStore({KEY: csv_body(ROWS)}) as store:
        yield store


def source_in(store: SmallStore, *, retries: int = 3, url: str = "s3://bucket/exports", **options: float) -> Source:
    return open_source(url, endpoint=store.url, retries=retries, **options)  # type: ignore[arg-type]


def test_an_object_is_read_in_ranges_and_counted_exactly(store: SmallStore) -> None:
    assert count(source_in(store), "trial").rows == ROWS
    assert store.reads(KEY) > 1


def test_splits_of_one_object_come_to_its_rows(store: SmallStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mockexport.sources.data_files.STORE_SPLIT_BYTES", 1 << 18)
    assert count(source_in(store), "trial").rows == ROWS
    assert {asked for _, key, asked in store.requests if key == KEY and asked and not asked.startswith("bytes=0-")}


@pytest.mark.gate
def test_a_store_that_says_slow_down_is_asked_again(store: SmallStore) -> None:
    slow = iter([True] * 3)

    def fault(request: Handler) -> bool:
        if next(slow, False):
            request.answer(503, b"<Error><Code>SlowDown</Code></Error>")
            return True
        return False

    store.fault = fault
    assert count(source_in(store), "trial").rows == ROWS


def test_a_store_that_always_says_slow_down_is_unreachable_once_the_retries_are_used_up(store: SmallStore) -> None:
    def fault(request: Handler) -> bool:
        request.answer(503, b"<Error><Code>SlowDown</Code></Error>")
        return True

    store.fault = fault
    with pytest.raises(UnreachableError, match="answered 503 Service Unavailable; try again later"):
        count(source_in(store, retries=1), "trial")
    assert len(store.requests) == 2


@pytest.mark.gate
def test_a_connection_that_is_reset_in_mid_body_costs_one_piece_and_no_row(store: SmallStore) -> None:
    resets = iter([True] * 2)

    def fault(request: Handler) -> bool:
        return bool(request.key) and next(resets, False) and request.reset(b"patient_id,event_time")

    store.fault = fault
    assert count(source_in(store), "trial").rows == ROWS
    assert next(resets, None) is None


@pytest.mark.parametrize("matches", [True, False])
def test_an_object_that_is_replaced_between_two_ranges_is_an_error_and_never_a_mixture(
    store: SmallStore, *, matches: bool
) -> None:
    """Also where the store does not know If-Match, and sends a part of the new one."""
    store.matches = matches

    def fault(_request: Handler) -> bool:
        if store.reads(KEY) == 2:
            store.objects[KEY] = csv_body(ROWS, b"P002,2025-08-26T00:00:04.906404Z,bp_dia,7\n") + b"\n" * 10
        return False

    store.fault = fault
    with pytest.raises(ChangedError, match=r"s3://bucket/exports/trial/a\.csv has changed since it was listed"):
        count(source_in(store), "trial")


def test_an_object_of_another_version_and_the_same_size_is_an_error_too(store: SmallStore) -> None:
    store.matches = False

    def fault(_request: Handler) -> bool:
        if store.reads(KEY) == 2:
            store.objects[KEY] = csv_body(ROWS).replace(b"P001", b"P002")
        return False

    store.fault = fault
    with pytest.raises(ChangedError):
        count(source_in(store), "trial")


def test_what_was_listed_before_it_was_replaced_is_not_read(store: SmallStore) -> None:
    source = source_in(store)
    download = next(iter(source.downloads("trial")))
    store.objects[KEY] = csv_body(7)
    for reader in (source, pickle.loads(pickle.dumps(source))):
        with pytest.raises(ChangedError):
            next(reader.open(download))


def test_an_object_that_is_gone_is_not_found(store: SmallStore) -> None:
    source = source_in(store)
    download = next(iter(source.downloads("trial")))
    del store.objects[KEY]
    with pytest.raises(NotFoundError, match=r"the store has no s3://bucket/exports/trial/a\.csv"):
        next(source.open(download))


def test_refused_credentials_are_told_without_the_secret(store: SmallStore) -> None:
    def fault(request: Handler) -> bool:
        request.answer(
            403, b"<Error><Code>SignatureDoesNotMatch</Code><StringToSign>very-secret</StringToSign></Error>"
        )
        return True

    store.fault = fault
    with pytest.raises(NotAuthorisedError, match="AWS_ACCESS_KEY_ID") as caught:
        source_in(store).exports()
    assert "very-secret" not in str(caught.value)
    assert len(store.requests) == 1


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken", "TokenRefreshRequired"])
def test_a_session_that_has_expired_is_not_authorised_though_s3_says_bad_request(store: SmallStore, code: str) -> None:
    def fault(request: Handler) -> bool:
        request.answer(400, f"<Error><Code>{code}</Code><Token-0>very-secret</Token-0></Error>".encode())
        return True

    store.fault = fault
    with pytest.raises(NotAuthorisedError, match="was refused; check the credentials") as caught:
        source_in(store).exports()
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("exports/trial//b.csv", "s3://bucket/exports/trial has an object whose name is no path"),
        ("exports/trial/../b.csv", "s3://bucket/exports/trial has an object whose name is no path"),
        ("exports/trial/b\n.csv", "s3://bucket/exports/trial has an object whose name is no path"),
        ("exports/trial/b.csv/", "s3://bucket/exports/trial/b.csv is a folder within an export"),
        ("exports/trial/b.csv/c.csv", "s3://bucket/exports/trial/b.csv is a folder within an export"),
        ("exports/trial/a.csv.gz", "hold the same download; move one away"),
    ],
)
def test_an_object_that_would_not_be_counted_is_named_and_never_left_out(
    store: SmallStore, key: str, told: str
) -> None:
    store.objects[key] = csv_body(1)
    with pytest.raises(UntrustedDataError, match=re.escape(told)):
        count(source_in(store), "trial")


@pytest.mark.parametrize(
    "marks", [["exports/trial/"], ["exports/", "exports"], ["exports/trial"], ["exports/t_$folder$"]]
)
def test_what_tools_leave_in_place_of_folders_is_no_export_and_no_download(store: SmallStore, marks: list[str]) -> None:
    store.objects |= dict.fromkeys(marks, b"")
    assert source_in(store).exports() == ["trial"]
    assert count(source_in(store), "trial").rows == ROWS


@pytest.mark.parametrize("name", ["a b", "a%2Fb", "\u00e9", "a\\b", " a", "a+b", "a&b=c", "a'b\"c", "a#b?c"])
def test_names_with_odd_characters_are_counted_as_they_are(store: SmallStore, name: str) -> None:
    store.objects[f"exports/{name}/{name}.csv"] = csv_body(3)
    source = source_in(store)
    assert source.exports() == sorted([name, "trial"])
    assert [download.id for download in source.downloads(name)] == [name]
    assert count(source, name).rows == 3


def test_no_room_for_a_copy_of_parquet_is_told_and_not_blamed_on_the_store(
    store: SmallStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.objects["exports/columns/a.parquet"] = b"PAR1"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    told = (
        "cannot copy s3://bucket/exports/columns/a.parquet to a temporary file: No such file or directory; set TMPDIR"
    )
    with pytest.raises(UsageError, match=told):
        count(source_in(store), "columns")


@pytest.mark.slow
def test_ten_thousand_objects_are_listed_once_and_all_counted() -> None:
    with SmallStore({f"exports/trial/{number}.csv": csv_body(1) for number in range(10_000)}) as store:
        assert count(source_in(store), "trial").rows == 10_000
        assert sum(not key for _, key, _ in store.requests) < 10


def test_a_store_without_etags_is_refused_for_nothing_would_tell_that_an_object_changes(store: SmallStore) -> None:
    def fault(request: Handler) -> bool:
        if request.key:
            data = store.objects[KEY]
            request.answer(206, data[: 1 << 19], Content_Range=f"bytes 0-{(1 << 19) - 1}/{len(data)}",
                           Last_Modified="Mon, 02 Nov 2026 10:00:00 GMT")  # fmt: skip
        return bool(request.key)

    store.fault = fault
    with pytest.raises(UntrustedDataError):
        count(source_in(store), "trial")


def test_a_store_that_stalls_is_left_after_the_timeout(store: SmallStore) -> None:
    done = threading.Event()

    def fault(_request: Handler) -> bool:
        done.wait(30)
        return True

    store.fault = fault
    try:
        with pytest.raises(UnreachableError):
            source_in(store, retries=0, timeout=0.2).exports()
    finally:
        done.set()


@pytest.mark.parametrize("fails", ["first", "manifest"])
def test_a_fetch_that_fails_leaves_no_export_that_could_be_taken_for_whole(store: SmallStore, fails: str) -> None:
    def fault(request: Handler) -> bool:
        is_it = (fails == "manifest") == request.key.endswith("manifest.json")
        if request.command == "PUT" and is_it:
            request.answer(403)
            return True
        return False

    store.fault = fault
    target = mockexport.open_place("s3://bucket/fetched", endpoint=store.url, retries=0)
    with pytest.raises(NotAuthorisedError):
        mockexport.fetch(open_source("mock"), "demo", target)
    store.fault = lambda _request: False
    fetched = source_in(store, url="s3://bucket/fetched")
    with pytest.raises((UntrustedDataError, NotFoundError)):
        fetched.downloads("demo")
