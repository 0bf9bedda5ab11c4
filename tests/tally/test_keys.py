"""Keys of any encoding and length, as both tallies take them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from tests.pairing import by_default, pairs

HEADER = b"patient_id,event_time,event_type,value\n"
SOUND = b"P001,2025-08-26T00:00:04.906404Z,bp_sys,71\n"

NOT_UTF8 = {
    "continuation without a lead": b"\x80",
    "lead without a continuation": b"\xc3",
    "lead before another character": b"\xc3a",
    "overlong, 2 bytes": b"\xc0\x80",
    "overlong, 2 bytes, highest": b"\xc1\xbf",
    "overlong, 3 bytes": b"\xe0\x80\x80",
    "overlong, 3 bytes, highest": b"\xe0\x9f\xbf",
    "overlong, 4 bytes": b"\xf0\x80\x80\x80",
    "overlong, 4 bytes, highest": b"\xf0\x8f\xbf\xbf",
    "surrogate, lowest": b"\xed\xa0\x80",
    "surrogate, highest": b"\xed\xbf\xbf",
    "past U+10FFFF": b"\xf4\x90\x80\x80",
    "lead of far past U+10FFFF": b"\xf5\x80\x80\x80",
    "lead of 5 bytes": b"\xf8\x88\x80\x80\x80",
    "0xff": b"\xff",
    "truncated, 1 of 3": b"\xe2",
    "truncated, 2 of 3": b"\xe2\x82",
    "truncated, 3 of 4": b"\xf0\x9f\x98",
    "third of 3 no continuation": b"\xe2\x82a",
    "second of 4 no continuation": b"\xf0a\x98\x80",
    "third of 4 no continuation": b"\xf0\x9fa\x80",
    "fourth of 4 no continuation": b"\xf0\x9f\x98a",
    "fourth of 4 a lead": b"\xf0\x9f\x98\xc3",
}
BORDERS_OF_UTF8 = "\x00\x7f\x80\u07ff\u0800\ucfff\ud7ff\ue000\ufeff\uffff\U00010000\U000fffff\U0010ffff"


# ---- Encoding ----


@pytest.mark.parametrize(("padding", "wrong"), pairs({"short": b"", "long": b"0123456789abcdef"}, NOT_UTF8))
def test_bytes_that_are_not_utf8_are_malformed(tally: Any, among: Any, wrong: bytes, padding: bytes) -> None:
    for key in (padding + wrong, wrong + padding, b"a" + wrong + b"z" + padding):
        with pytest.raises(UnicodeDecodeError):
            key.decode()
        assert tally(among(key + b",t,x,1"), skip=True).left_out == {"patient_id is not UTF-8": 1}
        assert tally(among(b"Q,t," + key + b",1"), skip=True).left_out == {"event_type is not UTF-8": 1}


@pytest.mark.parametrize(
    ("cut_off", "length"),
    pairs({cut_off: cut_off for cut_off in "😀€é"}, {str(length): length for length in (8, 4, 16, 17, 40)}),
)
def test_a_character_cut_off_is_not_completed_by_what_stands_behind_the_key(
    tally: Any, among: Any, length: int, cut_off: str
) -> None:
    character = cut_off.encode()
    for kept in range(1, len(character)):
        key = b"p" * (length - kept) + character[:kept]
        whole = b"p" * (length - kept) + character + b",t,x,1\n"
        assert tally(among(whole + key + b",t," + character[kept:] + b",1"), skip=True).left_out == {
            "patient_id is not UTF-8": 1
        }
        assert tally(among(whole + b"Q,t," + key + b",1"), skip=True).left_out == {"event_type is not UTF-8": 1}


@pytest.mark.gate
def test_every_two_bytes_are_judged_as_python_decodes_them(new_tally: Any) -> None:
    special = b',"\n\r'
    keys = [bytes(pair) for pair in itertools.product(range(256), repeat=2) if not special.translate(None, special)]
    keys = [key for key in keys if not set(key) & set(special)]
    assert_judged_as_python_does(new_tally, keys)


@pytest.mark.parametrize("lead", [0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF])
def test_every_three_bytes_are_judged_as_python_decodes_them(new_tally: Any, lead: int) -> None:
    assert_judged_as_python_does(
        new_tally, [bytes((lead, a, b)) for a in range(0x7E, 0x100) for b in (0x7F, 0x80, 0xBF, 0xC0)]
    )


@pytest.mark.parametrize("lead", range(0xF0, 0xF6))
def test_every_four_bytes_are_judged_as_python_decodes_them(new_tally: Any, lead: int) -> None:
    ends = (0x7F, 0x80, 0xBF, 0xC0)
    assert_judged_as_python_does(
        new_tally, [bytes((lead, a, b, c)) for a in range(0x7E, 0x100) for b in ends for c in ends]
    )


def assert_judged_as_python_does(new_tally: Any, keys: list[bytes]) -> None:
    sound = [key for key in keys if is_utf8(key)]
    tally = new_tally(skip=True)
    tally.feed(HEADER + b"".join(key + b",t,x,1\n" for key in keys))
    counts = tally.finish()
    patients, left_out = counts.patients, counts.left_out
    assert patients == {key.decode(): {"x": 1} for key in sound}
    assert left_out.get("patient_id is not UTF-8", 0) == len(keys) - len(sound)


def is_utf8(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_keys_of_any_characters_are_counted(tally: Any, among: Any) -> None:
    for key in (BORDERS_OF_UTF8, *BORDERS_OF_UTF8, "Zoë", "患者", "😀" * 9):
        assert tally(among(f"{key},t,{key},1".encode())).patients[key] == {key: 1}


@pytest.mark.gate
def test_other_fields_may_hold_any_bytes(tally: Any, among: Any) -> None:
    for wrong in NOT_UTF8.values():
        assert tally(among(b"Q," + wrong + b",x," + wrong)).patients["Q"] == {"x": 1}


def test_all_bytes_but_separators_are_data(tally: Any) -> None:
    others = [bytes([n]) for n in range(256) if n not in b',"\n']
    body = HEADER + b"".join(b"Q,%b,x,%b%b1\n" % (each * 3, each, each) for each in others)
    assert tally(body).patients == {"Q": {"x": len(others)}}
    ascii_keys = [each.decode() for each in others if each < b"\x80"]
    body = HEADER + "".join(f"{each},,{each},{each}\n" for each in ascii_keys).encode()
    assert tally(body).patients == {each: {each: 1} for each in ascii_keys}


def test_no_byte_beside_a_separator_is_taken_for_one(tally: Any) -> None:
    others = [bytes([n]) for n in range(256) if n not in b',"\n\r']
    body = HEADER + b"".join(b"Q,%bt,x\n" % each for each in others) + SOUND * 10
    assert tally(body, skip=True) == ({"P001": {"bp_sys": 10}}, {"too few fields": 252}, 262, None)


def test_nul_bytes_are_data(tally: Any) -> None:
    rows = b"a,t,x,1\na\0,t,x,1\n\0a,t,x,1\n\0,t,x,1\na,t,x\0,1\na,\0,x,\0\n"
    expected = {"a": {"x": 20, "x\0": 10}, "a\0": {"x": 10}, "\0a": {"x": 10}, "\0": {"x": 10}}
    assert tally(HEADER + rows * 10).patients == expected


# ---- Lengths ----


@pytest.mark.parametrize("kind_length", by_default([1, 7, 8, 9, 15, 16, 17, 24, 33, 40], 1, 8, 16, 17, 40))
def test_keys_of_any_length_are_told_apart(tally: Any, kind_length: int) -> None:
    lengths = [*range(1, 41), 63, 64, 65, 127, 128, 129, 200]
    kind = "t" * kind_length
    keys = [key for length in lengths for key in ("p" * length, "p" * (length - 1) + "q")]
    body = HEADER + "".join(f"{key},2025-08-26T00:00:04Z,{kind},1\n" for key in keys * 3).encode()
    assert tally(body).patients == {key: {kind: 3} for key in keys}


@pytest.mark.gate
def test_keys_that_differ_in_one_byte_are_told_apart(tally: Any) -> None:
    for length in (8, 16, 17, 36):
        patients = ["p" * at + "q" + "p" * (length - at - 1) for at in range(length)]
        body = HEADER + "".join(f"{patient},,{kind},1\n" for kind in patients for patient in patients).encode()
        assert tally(body).patients == {patient: dict.fromkeys(patients, 1) for patient in patients}


@pytest.mark.gate
def test_many_keys_that_share_a_half_are_told_apart(tally: Any) -> None:
    half, numbers = "P-000000", [f"{n:08}" for n in range(400)]
    keys = [half + number for number in numbers] + [number + half for number in numbers]
    body = HEADER + "".join(f"{key},,{half},1\n{half},,{key},1\n" for key in keys * 2).encode()
    assert tally(body).patients == {key: {half: 2} for key in keys} | {half: dict.fromkeys(keys, 2)}


def test_keys_of_nul_bytes_differ_by_their_lengths(tally: Any) -> None:
    keys = ["\0" * length for length in range(1, 20)]
    body = HEADER + "".join(f"{patient},,{kind},1\n" for patient in keys for kind in keys * 2).encode()
    assert tally(body).patients == {patient: dict.fromkeys(keys, 2) for patient in keys}


def test_where_the_patient_ends_and_the_type_begins_matters(tally: Any) -> None:
    for whole in ("abcd", "abcdefghijklmnop", "abcdefghijklmnopqrstuvwxyzabcdefghijkl"):
        splits = [(whole[:at], whole[at:]) for at in range(1, len(whole))]
        body = HEADER + "".join(f"{patient},,{kind},1\n" for patient, kind in splits * 3).encode()
        assert tally(body).patients == {patient: {kind: 3} for patient, kind in splits}


HEADERS = ["patient_id,{},event_type", "{},patient_id,event_type", "event_type,patient_id,{}"]


@pytest.mark.parametrize(
    ("line_end", "header"), pairs({"LF": "\n", "CRLF": "\r\n"}, {header: header for header in HEADERS})
)
def test_rows_of_any_length_are_counted(tally: Any, header: str, line_end: str) -> None:
    head = header.format("event_time,value,comment") + line_end
    lengths = [*range(10, 140), *range(185, 200), *range(250, 262), 1000, 5000]
    rows = "".join(
        header.replace("patient_id", "Q").replace("event_type", "x").format(",," + "c" * (length - 6)) + line_end
        for length in lengths
    )
    assert tally((head + rows).encode()) == ({"Q": {"x": len(lengths)}}, {}, len(lengths), None)


@pytest.mark.parametrize("length", by_default(range(60, 70), 63, 64, 65))
def test_a_wrong_number_of_fields_is_noticed_in_rows_of_any_length(tally: Any, among: Any, length: int) -> None:
    for commas, reason in ((2, "too few fields"), (4, "too many fields")):
        row = b"Q," + b"t" * (length - commas - 3) + b",x" + b"," * (commas - 2)
        for padding in (b"", b"t" * 64, b"t" * 128):
            assert tally(among(row + padding)).problem == f"line 42: {reason}"


def test_fields_may_hold_thousands_of_bytes(tally: Any, among: Any) -> None:
    patient, kind = "p" * 3000, "x" * 5000
    assert tally(among(f"{patient},t,{kind},1".encode())).patients[patient] == {kind: 1}


@pytest.mark.parametrize("pattern", ["{}", "P{:07}", "patient-{:032}", "{:08}"])
def test_ten_thousand_patients_are_counted(new_tally: Any, pattern: str) -> None:
    patients = [pattern.format(n) for n in range(10_000)]
    rows = "".join(f"{patient},t,{kind},1\n" for kind in ("x", "y", "x") for patient in patients)
    tally = new_tally()
    tally.feed(HEADER + rows.encode())
    assert tally.finish().patients == {patient: {"x": 2, "y": 1} for patient in patients}
