"""CSV bodies of every kind that docs/wire.md tells of ("Bad data"), for each way in which bytes come in."""

from __future__ import annotations

from typing import NamedTuple

from tests.sources import HEADER

ROW = b"P001,2025-08-26T00:00:04Z,bp_sys,71\n"
OTHER = b"P002,2025-08-26T00:00:05Z,bp_dia,80\n"
COUNTS_OF_SOUND = {"P001": {"bp_sys": 2}, "P002": {"bp_dia": 1}}
PLAIN = HEADER + ROW + ROW + OTHER

SOUND: dict[str, bytes] = {
    "plain": PLAIN,
    "columns in another order": b"value,event_type,event_time,patient_id\n"
    + b"1,bp_sys,t,P001\n" * 2
    + b"2,bp_dia,t,P002",
    "extra columns": b"x,patient_id,event_time,y,event_type,value\n"
    + b",P001,t,,bp_sys,1\n" * 2
    + b"9,P002,t,9,bp_dia,1\n",
    "every field quoted": b"".join(b'"' + line.replace(b",", b'","') + b'"\n' for line in PLAIN.splitlines()),
    "quotes, commas and line ends within quotes": HEADER
    + b'P001,"say ""when"", then",bp_sys,"7\n1"\n"P001","\r\n\n,",bp_sys,""\n'
    + OTHER,
    "CRLF": PLAIN.replace(b"\n", b"\r\n"),
    "a byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "no newline at the end": PLAIN.removesuffix(b"\n"),
    "blank lines": b"\n" + PLAIN.replace(b"\n", b"\n\r\n\n"),
    "any bytes in the other fields": HEADER + b"P001,\xff\x00\xfe,bp_sys,\x80\n" * 2 + OTHER,
}


class Malformed(NamedTuple):
    """A body with one thing wrong: on which line, and what; and how many sound rows `skip` counts, None for none."""

    body: bytes
    line: int
    reason: str
    skipping: int | None = None
    header: str = ""  # what is told of it


def among(row: bytes) -> bytes:
    """A body with this row on line 3, between sound ones."""
    return HEADER + ROW + row + OTHER


MALFORMED: dict[str, Malformed] = {
    "too few fields": Malformed(among(b"P001,t,bp_sys\n"), 3, "too few fields", 2),
    "too many fields": Malformed(among(b"P001,t,bp_sys,1,2\n"), 3, "too many fields", 2),
    "text behind a quote": Malformed(among(b'P001,"t"x,bp_sys,1\n'), 3, "bad quote", 2),
    "a quote within a field": Malformed(among(b'P0"01,t,bp_sys,1\n'), 3, "bad quote", 2),
    "a quote that is never closed": Malformed(among(b'P001,"t,bp_sys,1\n'), 3, "bad quote", 1),
    "an empty patient": Malformed(among(b",t,bp_sys,1\n"), 3, "empty patient_id", 2),
    "an empty type": Malformed(among(b"P001,t,,1\n"), 3, "empty event_type", 2),
    "a patient that is not UTF-8": Malformed(among(b"P\xff,t,bp_sys,1\n"), 3, "patient_id is not UTF-8", 2),
    "a type that is not UTF-8": Malformed(among(b"P001,t,\xc3(,1\n"), 3, "event_type is not UTF-8", 2),
    "behind rows of several lines": Malformed(among(b'P001,"\n\n",bp_sys,1\nP001\n'), 6, "too few fields", 3),
    "a row that never ends": Malformed(among(b"x" * ((1 << 20) + 1)), 3, "row longer than 1048576 bytes"),
    "a missing column": Malformed(
        b"patient_id,event_time,event_type\nP001,t,x\n",
        1,
        "no column value in the header",
        header=", which has patient_id, event_time, event_type; patient_column and type_column name the columns",
    ),
    "a doubled column": Malformed(b"value," + HEADER, 1, "column value stands twice in the header"),
    "no header": Malformed(
        ROW + ROW,
        1,
        "no column patient_id in the header",
        header="; the first line looks like data; patient_column and type_column name the columns",
    ),
    "another kind of file": Malformed(
        b"<html><body>Oops</body></html>\n",
        1,
        "no column patient_id in the header",
        header=", which has <html><body>Oops</body></html>; patient_column and type_column name the columns",
    ),
    "an empty body": Malformed(b"", 1, "empty body"),
    "nothing but blank lines": Malformed(b"\n\r\n", 1, "empty body"),
}
