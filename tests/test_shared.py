"""Documents that servers share: the contract, which every implementation keeps."""

from __future__ import annotations

import pytest

from mockexport.shared import Document, InMemory, NoRoomError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def documents(clock: Clock) -> InMemory:
    return InMemory(clock)


def test_a_document_is_found_by_its_kind_and_name_until_it_expires(documents: InMemory, clock: Clock) -> None:
    assert documents.add("job", "a", b"1", 1010, most=5)
    assert documents.get("job", "a") == Document(b"1", 1010)
    assert documents.get("job", "b") is documents.get("run", "a") is None
    clock.now = 1010
    assert documents.get("job", "a") is documents.extend("job", "a", 2000) is None
    assert documents.names("job") == []
    assert not documents.delete("job", "a")


def test_a_name_is_added_once_and_replaced_only_by_put(documents: InMemory, clock: Clock) -> None:
    assert documents.add("job", "a", b"1", 1010, most=5)
    assert not documents.add("job", "a", b"2", 1020, most=5)
    assert documents.get("job", "a") == Document(b"1", 1010)
    documents.put("job", "a", b"3", 1030)
    assert documents.get("job", "a") == Document(b"3", 1030)
    clock.now = 1030
    assert documents.add("job", "a", b"4", 1040, most=5)  # since the one before has expired


def test_there_are_at_most_so_many_of_a_kind_and_the_error_tells_until_when(documents: InMemory, clock: Clock) -> None:
    assert documents.add("job", "a", b"1", 1020, most=2)
    assert documents.add("job", "b", b"2", 1010, most=2)
    assert documents.add("run", "c", b"3", 1005, most=2)
    with pytest.raises(NoRoomError) as raised:
        documents.add("job", "c", b"3", 1030, most=2)
    assert raised.value.expires == 1010
    clock.now = 1010
    assert documents.add("job", "c", b"3", 1030, most=2)
    assert documents.names("job") == ["a", "c"]


def test_extending_makes_it_expire_later_and_never_earlier(documents: InMemory) -> None:
    documents.put("job", "a", b"1", 1010)
    assert documents.extend("job", "a", 1020) == Document(b"1", 1020)
    assert documents.extend("job", "a", 1015) == Document(b"1", 1020)


def test_what_is_deleted_is_gone(documents: InMemory) -> None:
    documents.put("job", "a", b"1", 1010)
    assert documents.delete("job", "a")
    assert not documents.delete("job", "a")
    assert documents.get("job", "a") is None
