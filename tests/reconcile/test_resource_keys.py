"""The keys of resources: the twins tell the same ones apart, however the bytes are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import KERNELS
from tests.csv_strategies import CUTS, cut
from tests.fhir.resources import RESOURCES, SCALARS, as_json
from tests.fhir.test_twins import TOKENS, broken_rows
from tests.seeds import examples

from mockexport.reconciliation.kernel import choose_key, choose_resource_keys

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY = bytes(range(16))
BEGIN = 1_735_689_600_000_000  # 2025-01-01
TIMES = st.sampled_from(["2024-12-31T23:59:59.999999Z", "2025-01-01T00:00:00Z", "2025-01-01T00:00:00.000001Z", "now"])
TAG = st.fixed_dictionaries({}, optional={"code": st.one_of(st.just("SUBSETTED"), SCALARS)})
META = st.fixed_dictionaries(
    {},
    optional={
        "versionId": st.one_of(st.sampled_from(["1", "2", "é"]), SCALARS),
        "lastUpdated": st.one_of(TIMES, TIMES, SCALARS),
        "tag": st.one_of(st.lists(TAG, max_size=3), TAG, SCALARS),
    },
)


@st.composite
def resource_rows(draw: st.DrawFn) -> bytes:
    """A resource as JSON, with what tells it apart."""
    identity = {
        "id": draw(st.sampled_from(["1", "2", "a.b", "Zoë", "", None])),
        "meta": draw(st.one_of(META, META, SCALARS)),
    }
    return as_json(draw, draw(RESOURCES) | identity)


ROWS = broken_rows(resource_rows())
BODIES = st.one_of(st.lists(ROWS, max_size=6).map(b"\n".join), st.lists(TOKENS, max_size=20).map(b"".join))


def folded(kernel: str, chunks: Iterable[bytes], **options: Any) -> list[Any]:
    """Return the facts, and of each record and id its place and a number for its key, by first appearance."""
    keys = choose_resource_keys(kernel)(key=KEY, download=70_000, begin=BEGIN, end=BEGIN, **options)
    records, ids = b"", b""
    for chunk in chunks:
        keys.feed(chunk)
        records += keys.take_records()
        ids += keys.take_ids()
    facts = keys.finish()
    everything = records + keys.take_records() + ids + keys.take_ids()
    numbers: dict[bytes, int] = {}
    split = [everything[at : at + 24] for at in range(0, len(everything), 24)]
    return [facts, keys.rows, [(numbers.setdefault(record[:16], len(numbers)), record[16:]) for record in split]]


@pytest.mark.gate
@examples(150, 20_000)
@given(body=BODIES, cuts=CUTS, ids=st.booleans(), limit=st.sampled_from([1 << 24, 1 << 24, 300, 64]))
def test_the_twins_give_the_same_facts_and_places_however_the_bytes_are_cut(
    *, body: bytes, cuts: list[int], ids: bool, limit: int
) -> None:
    whole = folded("pure", [body], ids=ids, max_row_bytes=limit)
    for kernel in KERNELS:
        assert folded(kernel, cut(body, cuts), ids=ids, max_row_bytes=limit) == whole


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_key_is_made_of_type_id_and_version(kernel: str) -> None:
    rows = {
        b'{"resourceType":"Group","id":"1"}': b"Group/1",
        b'{"resourceType":"Group","id":"\\u0031","meta":{"versionId":"2"}}': b"Group/1/_history/2",
        b'{"resourceType":"Group","id":"1","id":"2"}': b'{"resourceType":"Group","id":"1","id":"2"}',
        b' {"resourceType":"Group","meta":{"versionId":"2"}}\t\r': b'{"resourceType":"Group","meta":{"versionId":"2"}}',
    }
    keys = choose_resource_keys(kernel)(key=KEY)
    keys.feed(b"\n".join(rows))
    keys.finish()
    records = keys.take_records()
    expected = [choose_key(kernel)(KEY, made_of) for made_of in rows.values()]
    assert [records[at : at + 16] for at in range(0, len(records), 24)] == expected
