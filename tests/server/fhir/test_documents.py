"""A job and its files are the same after they were written down as documents and read again, whatever they are."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mockexport import Download
from mockexport.server.fhir.documents import (
    JobFile,
    Request,
    read_files,
    read_request,
    write_files,
    write_request,
)

pytestmark = pytest.mark.gate

NAMES = st.text() | st.binary().map(lambda name: name.decode("utf-8", "surrogateescape"))
NUMBERS = st.integers(0, 1 << 70)
TIMES = st.datetimes(timezones=st.just(UTC))
DOWNLOADS = st.builds(
    Download,
    export=NAMES,
    id=NAMES,
    rows=st.none() | NUMBERS,
    event_types=st.none() | st.lists(NAMES).map(tuple),
    patients=st.none() | st.lists(NAMES).map(tuple),
    start_time=st.none() | TIMES,
    end_time=st.none() | TIMES,
    size=st.none() | NUMBERS,
    etag=st.none() | NAMES | NAMES.map("W/{}".format),
    split_size=st.none() | NUMBERS,
    format=st.sampled_from(["csv", "ndjson"]),
    base=st.none() | NAMES,
)
FILES = st.lists(st.builds(JobFile, NAMES, NAMES, DOWNLOADS), max_size=5, unique_by=lambda file: file.name)
NOTES = st.lists(st.dictionaries(st.text(), st.text() | st.lists(st.text()))).map(tuple)
SECONDS = st.floats(allow_nan=False)


@given(FILES)
def test_files_come_back_as_they_were_and_in_order(files: list[JobFile]) -> None:
    found = read_files(write_files({file.name: file for file in files}))
    assert list(found.items()) == [(file.name, file) for file in files]


@given(st.builds(Request, NAMES, SECONDS, SECONDS, st.booleans(), NOTES))
def test_a_request_comes_back_as_it_was(request: Request) -> None:
    assert read_request(write_request(request)) == request
