"""What a request's headers ask for, by RFC 9110."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mockexport.server.headers import Range, choose_encoding, names_tag, read_range

OFFERED = ("zstd", "gzip")


@given(st.integers(0, 40), st.integers(0, 50), st.none() | st.integers(0, 50))
def test_a_range_is_the_slice_of_the_same_numbers(length: int, first: int, last: int | None) -> None:
    body = bytes(range(length))
    header = f"bytes={first}-{'' if last is None else last}"
    wanted = read_range(header)
    if last is not None and first > last:
        assert wanted is None
        return
    assert wanted is not None
    within = wanted.within(length)
    slice_of_it = body[first:] if last is None else body[first : last + 1]
    assert (body[slice(*within)] if within else b"") == slice_of_it


@given(st.integers(0, 40), st.integers(0, 50))
def test_a_suffix_range_is_the_end(length: int, suffix: int) -> None:
    wanted = read_range(f"bytes=-{suffix}")
    assert wanted is not None
    within = wanted.within(length)
    assert (within[1] - within[0] if within else 0) == min(length, suffix)
    assert within is None or within[1] == length


@pytest.mark.parametrize(
    "header",
    [
        "bytes=",
        "bytes=-",
        "bytes=5",
        "bytes=5-4",
        "bytes=a-b",
        "bytes=0-1,3-4",
        "bytes=0-1,",
        "bytes 0-1",
        "bytes=0 - 1",
        "bytes=+0-1",
        "bytes=--1",
        "rows=0-1",
        "",
        "bytes=0-" + "9" * 5000,
        "bytes=\u0660-\u0661",
    ],
)
def test_several_ranges_another_unit_and_bad_syntax_are_ignored(header: str) -> None:
    assert read_range(header) is None


@pytest.mark.parametrize("header", ["bytes=2-3", "BYTES=2-3", "bytes= 2-3 ", "bytes=\t2-3", "bytes=02-003"])
def test_the_unit_knows_no_case_and_space_around_the_range_is_allowed(header: str) -> None:
    assert read_range(header) == Range(2, 3)


@given(st.text())
def test_no_range_header_is_too_odd(header: str) -> None:
    read_range("bytes=" + header)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.5, gzip;q=0.8", "gzip"),
        ("gzip;q=1.0, identity;q=0.5", "gzip"),
        ("gzip, identity", None),
        ("gzip;q=0.5, identity;q=0.5", None),
        ("gzip;q=0.4, identity;q=0.5", None),
        ("*", None),
        ("*;q=0.5, gzip", "gzip"),
        ("*, identity;q=0", "zstd"),
        ("*, identity;q=0.1, zstd;q=0", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0.000", None),
        ("gzip;q=0.001", "gzip"),
        ("gzip ; Q=1", "gzip"),
        ("gzip;q=2", None),
        ("gzip;q=nan", None),
        ("gzip;level=9", None),
        ("br, deflate", None),
        ("identity;q=0", None),
        (",,gzip,", "gzip"),
    ],
)
def test_an_encoding_is_chosen_when_the_client_likes_it_better(accept: str, chosen: str | None) -> None:
    assert choose_encoding(accept, OFFERED) == chosen


@given(st.text())
def test_no_accept_encoding_header_is_too_odd(accept: str) -> None:
    assert choose_encoding(accept, OFFERED) in (None, *OFFERED)


@pytest.mark.parametrize("header", ['"a"', 'W/"a"', '"b", "a"', '"b",W/"a"', "*", " * ", '"b,c" , "a"'])
def test_a_condition_names_the_tag(header: str) -> None:
    assert names_tag(header, '"a"')
    assert names_tag(header, 'W/"a"')


@pytest.mark.parametrize("header", ["", '"b"', "a", '"a', '"b,a"', '"*"'])
def test_a_condition_names_other_tags(header: str) -> None:
    assert not names_tag(header, '"a"')


@pytest.mark.parametrize("header", ['"a"', '"b", "a"', 'W/"a", "a"', "*", " * "])
def test_a_strong_condition_names_the_strong_tag(header: str) -> None:
    assert names_tag(header, '"a"', strong=True)


@pytest.mark.parametrize("header", ["", '"b"', "a", 'W/"a"', '"b",W/"a"', '"W/"a""'])
def test_a_strong_condition_names_no_other_tag_and_no_weak_one(header: str) -> None:
    assert not names_tag(header, '"a"', strong=True)


@pytest.mark.parametrize("header", ['"a"', 'W/"a"'])
def test_a_strong_condition_never_names_a_weak_tag(header: str) -> None:
    assert not names_tag(header, 'W/"a"', strong=True)


@pytest.mark.parametrize("strong", [False, True])
def test_without_a_tag_only_a_star_matches(*, strong: bool) -> None:
    assert names_tag("*", None, strong=strong)
    assert not names_tag('"a"', None, strong=strong)
