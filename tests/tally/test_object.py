"""What a tally is as an object: its limits, its states, what it takes and refuses."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.pairing import by_default

from mockexport.tally import MAX_ROW_BYTES, Malformed

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = b"patient_id,event_time,event_type,value\n"
SOUND = b"P001,2025-08-26T00:00:04.906404Z,bp_sys,71\n"

# ---- The longest row ----


@pytest.mark.gate
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("limit", by_default([41, 63, 64, 65, 100, 128, 129], 64, 65))
def test_a_row_of_more_than_max_row_bytes_ends_the_tally(tally: Any, limit: int, skip: bool) -> None:
    before = HEADER + b"Q,,x,1\n" * 40
    fits = b"Q,%b,x,1" % (b"t" * (limit - 6))
    assert tally(before + (fits + b"\n") * 3, max_row_bytes=limit, skip=skip).patients == {"Q": {"x": 43}}
    quoted = b'"Q",%b,x,1' % (b"t" * (limit - 7))
    for row in (b"Q" + fits, fits + b"\r", quoted, b"t" * 300, b'"' * 300, b'"' + b"\n" * 300):
        for behind in (b"", b"\n", b"\n" + SOUND * 10):
            outcome = tally(before + row + behind, max_row_bytes=limit, skip=skip)
            assert outcome == ({}, {}, 40, f"line 42: row longer than {limit} bytes")


def test_a_header_of_more_than_max_row_bytes_ends_the_tally(tally: Any) -> None:
    assert tally(HEADER, max_row_bytes=38).problem is None
    assert tally(HEADER, max_row_bytes=37).problem == "line 1: row longer than 37 bytes"
    assert tally(HEADER.replace(b"\n", b"\r\n"), max_row_bytes=38).problem == "line 1: row longer than 38 bytes"


def test_blank_lines_are_within_any_limit_of_one_byte(tally: Any) -> None:
    assert tally(b"\n\r\n", max_row_bytes=1).problem == "line 1: empty body"
    assert tally(b"\n\r\n", max_row_bytes=0).problem == "line 2: row longer than 0 bytes"


@pytest.mark.parametrize("over", [0, 1])
def test_a_row_may_have_a_mebibyte_and_no_more(new_tally: Any, over: int) -> None:
    row = b"Q,t,x," + b"1" * (MAX_ROW_BYTES - 6 + over)
    tally = new_tally()
    tally.feed(HEADER + SOUND)
    for at in range(0, MAX_ROW_BYTES, 1 << 16):
        tally.feed(row[at : at + (1 << 16)])
    if over:
        with pytest.raises(Malformed, match="line 3: row longer than 1048576 bytes"):
            tally.feed(row[MAX_ROW_BYTES:] + b"\n")
    else:
        tally.feed(b"\n")
        assert tally.finish().patients == {"P001": {"bp_sys": 1}, "Q": {"x": 1}}


def test_a_body_without_line_ends_is_given_up_early(new_tally: Any) -> None:
    tally = new_tally(skip=True)
    tally.feed(HEADER)
    for _ in range(16):
        tally.feed(b"x" * (1 << 16))
    with pytest.raises(Malformed, match="line 2: row longer than 1048576 bytes"):
        tally.feed(b"x")


# ---- The most pairs ----


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("limit", by_default([1, 2, 39, 100], 1, 39))
def test_more_than_max_pairs_distinct_pairs_end_the_tally(tally: Any, limit: int, skip: bool) -> None:
    pairs = [(f"P{n // 3}", f"type-{n % 3}") for n in range(limit)]
    within = HEADER + b"".join(f"{patient},t,{kind},1\n".encode() for patient, kind in pairs) * 2
    assert tally(within, max_pairs=limit, skip=skip).problem is None
    for row in (b"Q,t,x,1", b'"Q",t,x,1', b"Q" * 40 + b",t,x,1"):
        outcome = tally(within + row + b"\n" + SOUND * 10, max_pairs=limit, skip=skip)
        problem = f"more than {limit:,} distinct pairs of patient and type"
        assert outcome == ({}, {}, 2 * limit + 1, f"line {2 * limit + 2}: {problem}")


@pytest.mark.parametrize("limit", [2, 3, 10])
def test_pairs_may_have_256_bytes_on_average_and_no_more(tally: Any, limit: int) -> None:
    most = 256 * limit
    large = HEADER + b"%b,t,bp_sys,1\n" % (b"p" * (most - 12)) * 2
    assert tally(large + b"Q,t,hours,1\n" * 9, max_pairs=limit).problem is None
    assert tally(large + b"Q,t,minutes,1\n", max_pairs=limit).problem == (
        f"line 4: more than {most:,} bytes in the distinct pairs of patient and type (256 for each pair)"
    )


def test_a_malformed_row_is_told_before_the_limit_of_pairs(tally: Any) -> None:
    for row in (b"\xff,t,x,1\n", b"Q,t,\xff,1\n", b"Q,t,x\n", b",t,x,1\n"):
        problem = tally(HEADER + SOUND + row, max_pairs=1).problem
        assert problem.startswith("line 3: "), problem
        assert "pairs" not in problem
        assert tally(HEADER + SOUND + row + SOUND, max_pairs=1, skip=True).problem is None


@pytest.mark.parametrize("pairs", [-1, 10**9 + 1])
def test_a_limit_of_pairs_beyond_what_the_table_holds_is_refused(new_native_tally: Any, pairs: int) -> None:
    with pytest.raises(ValueError, match="max_pairs must be 0 to 1000000000"):
        new_native_tally(max_pairs=pairs)


# ---- The object ----


def test_rows_are_told_as_they_are_read(new_tally: Any) -> None:
    tally = new_tally(skip=True)
    assert tally.rows == 0
    tally.feed(HEADER[:-1])
    assert tally.rows == 0
    tally.feed(b"\n" + SOUND * 100 + b"short\n\n" + SOUND[:-1])
    assert tally.rows == 101
    tally.feed(b"\n")
    assert tally.rows == 102
    tally.finish()
    assert tally.rows == 102


def test_an_error_says_where_and_what(new_tally: Any) -> None:
    tally = new_tally()
    with pytest.raises(Malformed, match="line 3: too few fields") as caught:
        tally.feed(HEADER + SOUND + b"short\n")
    assert (caught.value.line, caught.value.reason) == (3, "too few fields")


def test_empty_chunks_change_nothing(new_tally: Any) -> None:
    tally = new_tally()
    for byte in HEADER + SOUND:
        tally.feed(b"")
        tally.feed(bytes([byte]))
    tally.feed(b"")
    assert tally.finish().patients == {"P001": {"bp_sys": 1}}


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken(new_tally: Any, kind: Callable[[bytes], Any]) -> None:
    tally = new_tally()
    tally.feed(kind(HEADER + SOUND[:9]))
    tally.feed(kind(SOUND[9:] + SOUND))
    assert tally.finish().patients == {"P001": {"bp_sys": 2}}


def test_a_chunk_may_be_changed_once_it_is_fed(new_tally: Any) -> None:
    tally = new_tally()
    chunk = bytearray(HEADER + b"patient-with-a-long-name,t,type-with-a-long-name,1\n" * 3 + b"pat")
    tally.feed(chunk)
    chunk[:] = bytes(len(chunk))
    tally.feed(b"ient,t,x,1\n")
    assert tally.finish().patients == {"patient-with-a-long-name": {"type-with-a-long-name": 3}, "patient": {"x": 1}}


@pytest.mark.parametrize("chunk", ["text", None, 1.5])
def test_anything_but_bytes_is_refused(new_tally: Any, chunk: object) -> None:
    tally = new_tally()
    with pytest.raises(TypeError):
        tally.feed(chunk)
    tally.feed(HEADER + SOUND)
    assert tally.finish().patients == {"P001": {"bp_sys": 1}}


def test_a_finished_tally_is_of_no_further_use(new_tally: Any) -> None:
    tally = new_tally()
    tally.feed(HEADER)
    tally.finish()
    for call in (tally.finish, lambda: tally.feed(SOUND), lambda: tally.feed(b"")):
        with pytest.raises(ValueError, match="this tally has ended"):
            call()


def test_a_failed_tally_is_of_no_further_use(new_tally: Any) -> None:
    tally = new_tally()
    with pytest.raises(Malformed):
        tally.feed(HEADER + b"short\n")
    for call in (tally.finish, lambda: tally.feed(SOUND)):
        with pytest.raises(ValueError, match="this tally has ended"):
            call()


def test_a_tally_whose_end_failed_is_of_no_further_use(new_tally: Any) -> None:
    tally = new_tally()
    with pytest.raises(Malformed):
        tally.finish()
    with pytest.raises(ValueError, match="this tally has ended"):
        tally.finish()


def test_options_go_by_name_alone(new_tally: Any) -> None:
    with pytest.raises(TypeError):
        new_tally(True)
    with pytest.raises(TypeError):
        new_tally(unknown=1)


# ---- The native tally alone ----


def test_an_unknown_instruction_set_is_refused(new_native_tally: Any) -> None:
    with pytest.raises(ValueError, match="no instruction set 'z80'"):
        new_native_tally(instructions="z80")


@pytest.mark.parametrize("limit", [-1, 1 << 31, 1 << 62])
def test_a_limit_of_more_than_2_gib_is_refused(new_native_tally: Any, limit: int) -> None:
    with pytest.raises(ValueError, match="max_row_bytes must be 0 to 2147483647"):
        new_native_tally(max_row_bytes=limit)


def test_two_threads_in_one_tally_at_a_time_are_refused(new_native_tally: Any) -> None:
    tally = new_native_tally()
    tally.feed(HEADER)
    rows = 100_000
    chunk = SOUND * rows
    refusals: list[str] = []
    fed: list[int] = []

    def feed() -> None:
        for _ in range(500):
            if refusals:
                break
            try:
                tally.feed(chunk)
            except RuntimeError as error:
                refusals.append(str(error))
            else:
                fed.append(rows)

    workers = [threading.Thread(target=feed) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(refusals) == {"this tally is in use by another thread"}
    assert tally.finish().patients == {"P001": {"bp_sys": sum(fed)}}
