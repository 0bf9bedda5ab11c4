"""Records of any width come out in order, however many of them spill to disk, and no more memory is taken than said."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import KERNELS
from tests.seeds import examples, rng

from mockexport import MockExportError, UsageError
from mockexport.sorting import (
    MAX_WIDTH,
    Runs,
    RunWriter,
    choose_distinct,
    choose_gaps,
    choose_sort,
    sorted_blocks,
    temporary_folder,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

WIDTHS = st.integers(1, MAX_WIDTH)
KINDS = [b"\0", b"\0\1", b"ab\xff", bytes(range(256))]
"""The bytes that records are made of: with few, many are equal, and begin alike."""


def some_records(seed: object, width: int, number: int, kind: bytes) -> bytes:
    """Make records up; some of them begin alike."""
    draw = rng(seed)
    heads = [bytes(draw.choices(kind, k=draw.randrange(width))) for _ in range(3)] + [b""]
    records = []
    for _ in range(number):
        head = draw.choice(heads)
        records.append(head + bytes(draw.choices(kind, k=width - len(head))))
    return b"".join(records)


def in_order(records: bytes, width: int) -> bytes:
    return b"".join(sorted(records[at : at + width] for at in range(0, len(records), width)))


# ---- Sorting in memory ----


@given(st.integers(), WIDTHS, st.integers(0, 2000), st.sampled_from(KINDS))
@examples(100, 2000)
def test_records_are_sorted_as_bytes(kernel: str, seed: int, width: int, number: int, kind: bytes) -> None:
    records = some_records(seed, width, number, kind)
    buffer = bytearray(records)
    choose_sort(kernel)(buffer, width)
    assert buffer == in_order(records, width)


@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 12, 24, MAX_WIDTH])
def test_records_that_differ_in_their_last_byte_alone_are_sorted(kernel: str, width: int) -> None:
    numbers = list(range(256)) * 3
    rng(width).shuffle(numbers)
    buffer = bytearray(b"".join(bytes(width - 1) + bytes([number]) for number in numbers))
    choose_sort(kernel)(buffer, width)
    assert bytes(buffer[width - 1 :: width]) == bytes(sorted(numbers))


def test_few_records_that_differ_in_their_last_two_bytes_alone_are_sorted(kernel: str) -> None:
    draw = rng("last two bytes")
    for width in range(2, MAX_WIDTH + 1):
        numbers = [draw.randrange(1 << 16) for _ in range(40)]
        buffer = bytearray(b"".join(number.to_bytes(width, "big") for number in numbers))
        choose_sort(kernel)(buffer, width)
        assert buffer == b"".join(number.to_bytes(width, "big") for number in sorted(numbers))


@pytest.mark.parametrize("width", [-1, 0, MAX_WIDTH + 1])
def test_a_width_that_is_not_sorted_is_refused(kernel: str, width: int) -> None:
    with pytest.raises(ValueError, match="width must be 1 to 32"):
        choose_sort(kernel)(bytearray(64), width)
    with pytest.raises(ValueError, match="width must be 1 to 32"):
        RunWriter(width, folder=None, memory=100, kernel=kernel)


def test_half_a_record_is_refused(kernel: str) -> None:
    with pytest.raises(ValueError, match="whole number of records"):
        choose_sort(kernel)(bytearray(25), 24)
    with (
        RunWriter(24, folder=None, memory=100, kernel=kernel) as writer,
        pytest.raises(ValueError, match="whole number"),
    ):
        writer.add(bytes(25))


def test_the_kernel_that_is_asked_for_is_taken(kernel: str) -> None:
    module = {"native": "mockexport.sorting._native", "pure": "mockexport.sorting.reference"}[kernel]
    for choose in (choose_sort, choose_gaps, choose_distinct):
        assert choose(kernel).__module__ == module
        with pytest.raises(UsageError, match="there is no kernel 'fast'"):
            choose("fast")


# ---- Sorting in runs ----


def write(width: int, batches: Iterable[bytes], folder: Path | None, memory: int, kernel: str) -> Runs:
    with RunWriter(width, folder=folder, memory=memory, kernel=kernel) as writer:
        for batch in batches:
            writer.add(batch)
        return writer.finish()


# Of each writer: whether it has a folder, its memory, the number of its records, and what they are made of.
@pytest.mark.gate
@given(
    st.integers(),
    WIDTHS,
    st.lists(st.tuples(st.booleans(), st.integers(1, 10_000), st.integers(0, 100), st.sampled_from(KINDS)), max_size=4),
    st.integers(1, 20_000),
)
@examples(60, 1000)
def test_blocks_have_all_records_in_order_whatever_the_memory(
    kernel: str, seed: int, width: int, writers: list[tuple[bool, int, int, bytes]], memory: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        given_records, runs = b"", Runs(width)
        for number, (on_disk, memory_there, records, kind) in enumerate(writers):
            batch = some_records((seed, number), width, records, kind)
            runs += write(width, [batch, batch[:width]], Path(folder) if on_disk else None, memory_there, kernel)
            given_records += batch + batch[:width]
        assert runs.records * width == len(given_records)
        blocks = list(sorted_blocks(runs, memory=memory, kernel=kernel))
        assert b"".join(blocks) == in_order(given_records, width)
        assert all(block and len(block) % width == 0 for block in blocks)
        assert max(map(len, blocks), default=0) <= max(width, memory // 3)


@pytest.mark.parametrize("kernel", KERNELS)
def test_any_number_of_equal_records_are_given_in_blocks_that_fit(tmp_path: Path, kernel: str) -> None:
    equal, memory = b"same" * 6, 10_000
    batches = [equal * 20_000, b"a" * 24, b"z" * 24, equal * 20_000]
    runs = write(24, batches, tmp_path, memory, kernel)
    blocks = list(sorted_blocks(runs, memory=memory, kernel=kernel))
    assert b"".join(blocks) == b"a" * 24 + equal * 40_000 + b"z" * 24
    assert max(map(len, blocks)) <= memory // 3


def test_runs_that_are_alike_are_cut_into_blocks_of_about_the_same_size(kernel: str) -> None:
    """Were samples evenly spaced, each would be the first record of a run: as many as samples, of one length."""
    samples, records = 64 * 5, 50  # of so many, 4,800 at a time make five parts
    memory = 3 * 4800 * {"native": 10, "pure": 154}[kernel]  # bytes a record
    runs = Runs(8)
    for number in range(samples):
        values = [1000 * value + number for value in range(records)]
        runs += Runs(8, (b"".join(value.to_bytes(8, "big") for value in values),), records)
    blocks = list(sorted_blocks(runs, memory=memory, kernel=kernel))
    assert b"".join(blocks) == in_order(b"".join(bytes(run) for run in runs.runs), 8)
    assert min(len(block) for block in blocks if len(block) > 8) > 8 * 1000  # the others equal a cut


def test_runs_are_files_of_the_folder_when_they_are_more_than_memory_holds(tmp_path: Path) -> None:
    runs = write(8, [os.urandom(8000)] * 10, tmp_path, 10_000, "auto")
    assert len(runs.runs) > 7
    assert {run for run in runs.runs if isinstance(run, Path)} == set(tmp_path.iterdir()) == set(runs.runs)
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000


def test_few_records_need_no_disk(tmp_path: Path) -> None:
    runs = write(8, [os.urandom(800)], tmp_path / "missing", 10_000, "auto")
    assert [type(run) for run in runs.runs] == [bytes]


def test_without_a_folder_all_stays_in_memory_and_can_be_sent(kernel: str) -> None:
    records = os.urandom(80_000)
    runs = pickle.loads(pickle.dumps(write(8, [records], None, 20_000, kernel)))
    assert b"".join(sorted_blocks(runs, memory=10_000, kernel=kernel)) == in_order(records, 8)


def test_the_runs_of_many_writers_become_few_and_take_no_more_memory_than_one(tmp_path: Path) -> None:
    records = [os.urandom(800) for _ in range(100)]
    with RunWriter(8, folder=tmp_path, memory=10_000) as writer:
        for batch in records:
            writer.add_runs(write(8, [batch], None, 10_000, "auto"))
        writer.add_runs(write(8, [records[0] * 50], tmp_path, 10_000, "auto"))
        runs = writer.finish()
    assert all(isinstance(run, Path) for run in runs.runs)
    assert len(runs.runs) < 20
    found = b"".join(sorted_blocks(runs, memory=10_000))
    assert found == in_order(b"".join(records) + records[0] * 50, 8)


def test_runs_of_two_widths_are_no_sum() -> None:
    with pytest.raises(ValueError, match="8 and of 12 bytes"):
        Runs(8) + Runs(12)


def test_no_records_give_no_blocks() -> None:
    assert list(sorted_blocks(write(8, [], None, 100, "auto"), memory=100)) == []


MEMORY = """
import os, re, sys
from pathlib import Path
from mockexport.sorting import RunWriter, choose_sort, sorted_blocks
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
folder, kernel, size, memory = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
choose_sort(kernel)
before = peak()
with RunWriter(24, folder=folder, memory=memory, kernel=kernel) as writer:
    for _ in range(size // 24_000):
        writer.add(os.urandom(24_000))
    runs = writer.finish()
last, given = b"", 0
for block in sorted_blocks(runs, memory=memory, kernel=kernel):
    assert last <= block[:24]
    last, given = block[-24:], given + len(block)
assert given == size // 24_000 * 24_000
print(peak() - before)
"""


@pytest.mark.gate
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's own memory is read from /proc")
@pytest.mark.parametrize(
    ("kernel", "size"),
    [
        pytest.param("native", 100_000_000, marks=pytest.mark.skipif("native" not in KERNELS, reason="not built")),
        ("pure", 20_000_000),
        pytest.param("pure", 100_000_000, marks=pytest.mark.slow),
    ],
)
def test_no_more_memory_is_taken_than_was_allowed(tmp_path: Path, kernel: str, size: int) -> None:
    memory = 10_000_000
    command = [sys.executable, "-c", MEMORY, str(tmp_path), kernel, str(size), str(memory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=250)
    assert int(done.stdout) < memory * 1.1


# ---- What can go wrong ----

LIMITED = """
import resource, sys
from pathlib import Path
from mockexport import MockExportError
from mockexport.sorting import RunWriter
folder = Path(sys.argv[1])
try:
    with RunWriter(8, folder=folder, memory=4_000) as writer:
        writer.add(bytes(8_000))
        assert len(list(folder.iterdir())) == 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000))
        writer.add(bytes(8_000))
except MockExportError as error:
    print(error)
"""


def test_a_full_disk_is_a_clear_error_and_leaves_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == (
        f"cannot write temporary files in {tmp_path}: File too large; "
        "set TMPDIR to a folder with more room, or allow more memory\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "problem"), [("missing", "No such file or directory"), ("file", "Not a directory")], ids=str
)
def test_a_folder_that_cannot_be_written_to_is_a_clear_error(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / name
    with (
        RunWriter(8, folder=folder, memory=1000) as writer,
        pytest.raises(
            UsageError, match=f"cannot write temporary files in {re.escape(str(folder))}: {problem}; set TMPDIR"
        ),
    ):
        writer.add(bytes(8000))


def test_without_a_place_for_a_folder_there_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    said = "cannot make a folder for temporary files: No such file or directory; set TMPDIR to a folder with room"
    with pytest.raises(UsageError, match=said), temporary_folder():
        pass


def test_a_temporary_folder_is_removed_with_all_that_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder() as folder:
        (folder / "run").touch()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_finished_is_removed(tmp_path: Path) -> None:
    def interrupted() -> None:
        with RunWriter(8, folder=tmp_path, memory=1000) as writer:
            writer.add(bytes(8000))
            assert list(tmp_path.iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_is_finished_stays(tmp_path: Path) -> None:
    runs = write(8, [bytes(8000)], tmp_path, 1000, "auto")
    assert set(tmp_path.iterdir()) == set(runs.runs)


def test_a_writer_that_has_ended_is_of_no_more_use() -> None:
    writer = RunWriter(8, folder=None, memory=1000)
    writer.finish()
    writer.close()
    for use in (writer.finish, lambda: writer.add(b""), lambda: writer.add_runs(Runs(8))):
        with pytest.raises(ValueError, match="has ended"):
            use()


@pytest.mark.skipif(sys.platform != "linux", reason="open files are read from /proc")
def test_no_file_is_open_between_two_blocks(tmp_path: Path) -> None:
    runs = write(8, [os.urandom(80_000)], tmp_path, 1000, "auto")
    before = set(Path("/proc/self/fd").iterdir())
    blocks = iter(sorted_blocks(runs, memory=10_000))
    next(blocks)
    assert set(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: path.unlink(), "cannot read the temporary file .*: No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "changed meanwhile"),
    ],
    ids=["missing", "cut short"],
)
def test_a_run_that_is_not_as_it_was_written_is_an_error(tmp_path: Path, damage: object, told: str) -> None:
    runs = write(8, [os.urandom(8000)], tmp_path, 1000, "auto")
    assert callable(damage)
    damage(next(tmp_path.iterdir()))
    with pytest.raises(MockExportError, match=told):
        list(sorted_blocks(runs, memory=1000))
