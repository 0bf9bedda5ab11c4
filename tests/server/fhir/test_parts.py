"""Files of so many resources: parts of a download that begin and end between rows, whatever its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from tests.server.fhir.walking import FhirSource

from mockexport.server.fhir.parts import FilesOf

if TYPE_CHECKING:
    from mockexport import Download

ROWS = st.lists(st.sampled_from([b"{}", b'{"a": 1}', b"{} ", b"", b" \t", b"\r"]), max_size=12)
BODIES = st.tuples(ROWS, st.sampled_from([b"", b"\n"])).map(lambda made: b"\n".join(made[0]) + made[1])


def resources(body: bytes) -> int:
    return sum(bool(line.strip()) for line in body.split(b"\n"))


@given(BODIES, st.integers(1, 5), st.integers(1, 9), st.randoms(use_true_random=False), st.integers(0, 20))
def test_parts_are_the_download_and_each_has_its_rows_in_any_order(
    body: bytes, size: int, chunk_bytes: int, rng: object, offset: int
) -> None:
    source = FhirSource({}, groups={"g": {"all": ("Basic", body)}}, chunk_bytes=chunk_bytes)
    files = FilesOf(source, size)
    downloads = list(files.downloads("g"))
    order = downloads.copy()
    rng.shuffle(order)  # type: ignore[attr-defined]
    bodies: dict[Download, bytes] = {download: b"".join(files.open(download)) for download in order}
    assert b"".join(bodies[download] for download in downloads) == body
    for download in downloads:
        assert (download.rows or 0) == resources(bodies[download]) <= size or resources(body) == 0
        assert b"".join(files.open(download, offset)) == bodies[download][offset:]
    assert len({(download.id, download.etag) for download in downloads}) == len(downloads)


def test_a_download_that_declares_no_rows_stays_whole() -> None:
    class Silent(FhirSource):
        def downloads(self, export: str) -> list[Download]:
            from dataclasses import replace

            return [replace(download, rows=None) for download in super().downloads(export)]

    files = FilesOf(Silent({}), 1)
    assert [download.id for download in files.downloads("first")] == ["p", "o1", "o2", "org"]


def test_a_part_of_a_download_that_has_changed_is_not_that_of_the_other_version() -> None:
    source = FhirSource({}, groups={"g": {"all": ("Basic", b"{}\n{}\n")}})
    files = FilesOf(source, 1)
    old = list(files.downloads("g"))
    source.groups = {"g": {"all": ("Basic", b'{"a": 1}\n{"a": 2}\n')}}
    new = list(files.downloads("g"))
    assert not {download.etag for download in old} & {download.etag for download in new}
    assert [b"".join(files.open(download)) for download in new] == [b'{"a": 1}\n', b'{"a": 2}\n']
