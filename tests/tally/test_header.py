"""The header tells the delimiter: the same however the bytes are cut, and the same for both tallies."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import KERNELS
from tests.seeds import examples

from mockexport.tally import DELIMITERS, CsvFormat, Malformed, TallySpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockexport import Counts

FORMATS = [CsvFormat("p", "t", delimiter) for delimiter in (None, *DELIMITERS)]
PIECES = st.sampled_from(
    [b"p", b"t", b"x", b",", b";", b"\t", b"|", b'"', b"\n", b"\r\n", b"p,t\n", b"t;p\n", b'"p"\tt\n']
)
BODIES = st.lists(PIECES, max_size=24).map(b"".join)


def outcome(spec: TallySpec, chunks: Sequence[bytes]) -> tuple[Counts, int] | str:
    tally = spec.new()
    try:
        for chunk in chunks:
            tally.feed(chunk)
        return tally.finish(), tally.rows
    except Malformed as wrong:
        return str(wrong)


@pytest.mark.parametrize("csv", FORMATS, ids=lambda csv: repr(csv.delimiter))
@given(body=BODIES, cuts=st.lists(st.integers(0, 60), max_size=4), limit=st.sampled_from([8, 20, 1 << 20]))
@examples(60, slow=3000)
def test_any_cut_and_either_tally_gives_the_same_answer(
    csv: CsvFormat, body: bytes, cuts: list[int], limit: int
) -> None:
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks = [body[begin:end] for begin, end in pairwise(places)]
    each_byte = [body[at : at + 1] for at in range(len(body))]
    answers = [
        outcome(TallySpec(kernel, max_row_bytes=limit, csv=csv), cut)
        for kernel in KERNELS
        for cut in ([body], chunks, each_byte)
    ]
    assert answers == [answers[0]] * len(answers)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_first_delimiter_that_gives_the_columns_is_taken(kernel: str) -> None:
    spec = TallySpec(kernel, csv=CsvFormat("p", "t"))
    for body, told in (
        (b"p;x,y;t\n1;2,3;4\n", {"1": {"4": 1}}),
        (b"p,t;x\tz|,t\n1,2,3\n", {"1": {"3": 1}}),  # the comma, as `t;x` is a name then
        (b"\n\r\n\xef;\n", None),
        (b"\xef\xbb\xbfp|t\n1|2\n", {"1": {"2": 1}}),
    ):
        found = outcome(spec, [body])
        assert isinstance(found, str) if told is None else not isinstance(found, str) and found[0].patients == told


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_header_that_was_refused_ends_the_tally(kernel: str) -> None:
    tally = TallySpec(kernel, csv=CsvFormat("p", "t")).new()
    with pytest.raises(Malformed, match="no column p in the header, which has x, y"):
        tally.feed(b"x,y\n")
    for go_on in (lambda: tally.feed(b"p,t\n"), tally.finish):
        with pytest.raises(ValueError, match="this tally has ended"):
            go_on()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_doubled_column_is_told_with_the_delimiter_that_it_is_found_with(kernel: str) -> None:
    told = outcome(TallySpec(kernel, csv=CsvFormat("p", "t")), [b"p;t;p\n"])
    assert told == "line 1: column p stands twice in the header"
