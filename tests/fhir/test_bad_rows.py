"""Nothing wrong is accepted: each kind of bad row has its reason and line, or is left out and told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.fhir.conftest import run

from mockexport.errors import Remedy
from mockexport.tally.fhir.contract import REASONS, UNASSIGNED, BadResource

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fhir.conftest import Outcome

SOUND = b'{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/1"}}'
BAD: dict[str, tuple[bytes, str]] = {
    "cut in a string": (SOUND[:40], "not valid JSON"),
    "cut before its last bracket": (SOUND[:-1], "not valid JSON"),
    "a bracket of the other kind": (SOUND[:-1] + b"]", "not valid JSON"),
    "a bracket too many": (SOUND + b"}", "more than one value"),
    "two objects": (SOUND + SOUND, "more than one value"),
    "two objects with a comma": (SOUND + b"," + SOUND, "more than one value"),
    "garbage behind it": (SOUND + b" x", "more than one value"),
    "NUL behind it": (SOUND + b"\0", "more than one value"),
    "NUL within": (SOUND.replace(b':{"', b':\0{"'), "not valid JSON"),
    "NUL in a string": (SOUND.replace(b'"1"', b'"\0"'), "not valid JSON"),
    "a tab in a string": (SOUND.replace(b'"1"', b'"\t"'), "not valid JSON"),
    "an array": (b"[" + SOUND + b"]", "not a JSON object"),
    "a string": (b'"Observation"', "not a JSON object"),
    "a number": (b"1", "not a JSON object"),
    "garbage": (b"garbage", "not a JSON object"),
    "not UTF-8": (SOUND.replace(b'"1"', b'"\xff"'), "not UTF-8"),
    "half a surrogate pair in UTF-8": (SOUND.replace(b'"1"', b'"\xed\xa0\x80"'), "not UTF-8"),
    "half a surrogate pair as an escape": (SOUND.replace(b"Patient/1", b"Patient/\\ud800"), "a text is not Unicode"),
    "no resourceType": (b'{"id":"1","contained":[{"resourceType":"Patient"}]}', "no resourceType"),
    "an empty object": (b"{}", "no resourceType"),
    "a resourceType that is a number": (b'{"resourceType":1}', "resourceType is not a name"),
    "a resourceType that is null": (b'{"resourceType":null}', "resourceType is not a name"),
    "a resourceType in lower case": (b'{"resourceType":"patient"}', "resourceType is not a name"),
    "an empty resourceType": (b'{"resourceType":""}', "resourceType is not a name"),
    "a resourceType of 256 letters": (b'{"resourceType":"%b"}' % (b"A" * 256), "resourceType is not a name"),
    "two resourceTypes": (b'{"resourceType":"Patient","resourceType":"Patient"}', "a key stands twice"),
    "two resourceTypes, one by an escape": (
        b'{"resourceType":"Patient","resource\\u0054ype":"Group"}', "a key stands twice"),
    "two subjects": (SOUND[:-1] + b',"subject":{}}', "a key stands twice"),
    "two references": (
        b'{"resourceType":"Observation","subject":{"reference":"Patient/1","reference":"Patient/2"}}',
        "a key stands twice"),
    "1,001 levels": (b'{"resourceType":"Basic","x":' + b"[" * 1_000 + b"]" * 1_000 + b"}", "nested too deeply"),
    "10,000 levels": (b'{"resourceType":"Basic","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
    "10,000 brackets that are never closed": (b'{"a":' * 10_000, "nested too deeply"),
    "longer than the limit": (b'{"resourceType":"Binary","data":"' + b"A" * 70_000 + b'"}', "too long"),
    "white space longer than the limit": (b" " * 70_000, "too long"),
}  # fmt: skip
LIMIT = 60_000
STRICTLY_BAD: dict[str, bytes] = {
    "a number with a leading zero": b"01",
    "a number without digits behind its point": b"1.",
    "a plus sign": b"+1",
    "a literal in upper case": b"True",
    "not a number": b"NaN",
    "no value": b"",
    "a comma too many": b"[1,]",
    "no comma": b"[1 2]",
    "no colon": b'{"a" 1}',
    "a key that is a number": b"{1:2}",
    "an escape that there is not": b'"\\x"',
    "an escape that is cut": b'"\\u12"',
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_ends_the_tally_with_its_line_and_reason(new_tally: Any, kind: str, *, strict: bool) -> None:
    row, reason = BAD[kind]
    for rest in (b"\n" + SOUND, b"\n", b""):
        body = SOUND + b"\r\n\n" + row + rest
        assert run(new_tally, [body], strict=strict, max_row_bytes=LIMIT).problem == f"line 3: {reason}"


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_can_be_left_out_and_is_told(new_tally: Any, kind: str) -> None:
    row, reason = BAD[kind]
    body = b"\n".join([SOUND, row, SOUND, row])
    found = run(new_tally, [body], skip=True, max_row_bytes=LIMIT)
    assert found == ({"1": {"Observation": 2}}, {}, {reason: 2}, 4, None)


@pytest.mark.parametrize("kind", [kind for kind, (row, _) in BAD.items() if len(row) < 200])
def test_where_a_bad_row_is_cut_changes_nothing(tally: Callable[..., Outcome], kind: str) -> None:
    row, reason = BAD[kind]
    assert tally(SOUND + b"\n" + row + b"\n" + SOUND, strict=True).problem == f"line 2: {reason}"


@pytest.mark.parametrize("kind", STRICTLY_BAD)
def test_a_strict_tally_checks_values_that_are_not_read(new_tally: Any, kind: str) -> None:
    body = b'{"resourceType":"Basic","x":%b}\n' % STRICTLY_BAD[kind]
    assert run(new_tally, [body], strict=True).problem == "line 1: not valid JSON"


@pytest.mark.parametrize("kind", STRICTLY_BAD)
def test_values_that_are_read_are_always_checked(new_tally: Any, kind: str) -> None:
    body = b'{"resourceType":"Basic","subject":{"x":%b}}\n' % STRICTLY_BAD[kind]
    assert run(new_tally, [body]).problem == "line 1: not valid JSON"


def test_a_thousand_levels_are_taken(new_tally: Any) -> None:
    body = b'{"resourceType":"Basic","x":' + b"[" * 999 + b"]" * 999 + b"}"
    assert run(new_tally, [body]).unassigned == {"Basic": {"no-reference": 1}}


def test_an_attachment_of_8_mib_is_counted_in_chunks(new_tally: Any) -> None:
    row = b'{"data":"%b","subject":{"reference":"Patient/1"},"resourceType":"DocumentReference"}\n' % (
        b"QUJD" * (2 << 20)
    )
    chunks = [(row * 2)[at : at + (1 << 19)] for at in range(0, 2 * len(row), 1 << 19)]
    assert run(new_tally, chunks).patients == {"1": {"DocumentReference": 2}}


def test_blank_lines_line_ends_and_a_mark_at_the_start_are_no_data(tally: Callable[..., Outcome]) -> None:
    body = b"\xef\xbb\xbf\n" + SOUND + b"\r\n \t\r\n\n" + SOUND
    assert tally(body) == ({"1": {"Observation": 2}}, {}, {}, 2, None)
    assert tally(b"") == ({}, {}, {}, 0, None)
    assert tally(SOUND + b"\n\xef\xbb\xbf" + SOUND).problem == "line 2: not a JSON object"


def test_keys_deeper_down_mean_nothing(new_tally: Any) -> None:
    contained = b'{"resourceType":"Patient","id":"9","subject":{"reference":"Patient/9"},"subject":1}'
    body = b'{"contained":[%b],"x":{"resourceType":1,"resourceType":2},' % contained + SOUND[1:]
    assert run(new_tally, [body]).patients == {"1": {"Observation": 1}}


def test_more_pairs_than_the_limit_end_the_tally_and_unassigned_ones_count(new_tally: Any) -> None:
    rows = [b'{"resourceType":"Patient","id":"%d"}' % n for n in range(3)] + [b'{"resourceType":"Group"}']
    body = b"\n".join(rows)
    assert run(new_tally, [body], max_pairs=4).problem is None
    assert run(new_tally, [body], max_pairs=3).problem == "line 4: more than 3 distinct pairs of patient and type"


def test_a_tally_has_ended_after_its_end_and_after_an_error(new_tally: Any) -> None:
    ended, failed = new_tally(), new_tally()
    ended.finish()
    with pytest.raises(BadResource):
        failed.feed(b"x\n")
    for tally in (ended, failed):
        with pytest.raises(ValueError, match="has ended"):
            tally.feed(b"")
        with pytest.raises(ValueError, match="has ended"):
            tally.finish()


def test_a_problem_says_what_helps() -> None:
    assert BadResource(1, REASONS[0]).remedy is Remedy.MAX_ROW_BYTES
    assert {BadResource(1, reason).remedy for reason in REASONS[1:]} == {Remedy.SKIP_MALFORMED}


def test_every_reason_without_a_patient_is_told(new_tally: Any) -> None:
    rows = {
        "no-patient-path": b'{"resourceType":"Organization"}',
        "no-reference": b'{"resourceType":"Observation","subject":null}',
        "not-a-patient": b'{"resourceType":"Observation","subject":{"reference":"Group/1"}}',
        "contained": b'{"resourceType":"Observation","subject":{"reference":"#p"}}',
        "identifier-only": b'{"resourceType":"Observation","subject":{"identifier":{"value":"1"}}}',
    }
    assert set(rows) == set(UNASSIGNED)
    for reason, row in rows.items():
        (reasons,) = run(new_tally, [row]).unassigned.values()
        assert reasons == {reason: 1}
