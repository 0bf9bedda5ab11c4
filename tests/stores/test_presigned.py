"""A presigned URL of a store as a source: signed for GET alone, and its query is a secret."""

from __future__ import annotations

import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import COMMAND, environment
from tests.sources import csv_body
from tests.stores.small_store import Handler, SmallStore

from mockexport import count, open_source
from mockexport.errors import ChangedError, NotAuthorisedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockexport.source import Source

ROWS = 5_000
QUERY = "X-Amz-Signature=very-secret"


@pytest.fixture
def store() -> Iterator[SmallStore]:
    with SmallStore({"a b.csv": csv_body(ROWS)}) as store:
        yield store


@pytest.fixture
def source(store: SmallStore) -> Iterator[Source]:
    with closing(open_source(f"{store.url}/bucket/a%20b.csv?{QUERY}", retries=0)) as source:
        yield source


def test_a_presigned_url_is_counted_without_a_request_for_its_head(store: SmallStore, source: Source) -> None:
    assert source.exports() == ["a b"]
    assert count(source, "a b").rows == ROWS
    assert [method for method, _, _ in store.requests] == ["GET", "GET"]
    assert source.name == f"{store.url}/bucket/a%20b.csv"


def test_its_file_is_read_in_splits(store: SmallStore, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mockexport.sources.http_file.SPLIT_BYTES", 1 << 16)
    assert count(source, "a b").rows == ROWS
    assert len(store.requests) > 3


def test_a_file_that_was_replaced_is_an_error(store: SmallStore, source: Source) -> None:
    download = next(iter(source.downloads("a b")))
    store.objects["a b.csv"] = csv_body(ROWS + 1)
    with pytest.raises(ChangedError):
        list(source.open(download))


def test_a_refusal_says_to_ask_for_a_new_url_and_does_not_tell_the_signature(store: SmallStore, source: Source) -> None:
    def fault(request: Handler) -> bool:
        request.answer(403)
        return True

    store.fault = fault
    with pytest.raises(NotAuthorisedError) as caught:
        source.downloads("a b")
    assert "very-secret" not in str(caught.value)
    told = "a%20b.csv answered 403 Forbidden; if it is a signed URL, it may have expired: ask for a new one"
    assert told in str(caught.value)


def test_a_url_that_expires_while_its_file_is_read_is_exit_code_4(store: SmallStore) -> None:
    """The first request is the one for the size; from the second on the store refuses it."""

    def fault(request: Handler) -> bool:
        if len(store.requests) > 1:
            request.answer(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
        return len(store.requests) > 1

    store.fault = fault
    command = [COMMAND, "count", "-s", f"{store.url}/bucket/a%20b.csv?{QUERY}"]
    done = subprocess.run(
        command, env=environment(NO_PROXY="127.0.0.1"), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.endswith("it may have expired: ask for a new one, and quote it whole in the shell\n")
    assert "very-secret" not in done.stderr
    assert "--token-file" not in done.stderr
