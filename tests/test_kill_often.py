"""Runs over an export that changes, killed hundreds of times, and two at a time: never a wrong answer, nothing left."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from tests.commands import run_command
from tests.files import source_of
from tests.seeds import seed_of
from tests.sources import HEADER
from tests.test_kill import digests, finished_files, kept_downloads, kill_at_a_moment

from mockexport import UntrustedDataError, count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOWNLOADS = 12
ROWS = 10_000
EXPORT = "small"  # as the helpers of test_kill call it
SOURCE = "there"
PATIENCE_SECONDS = 0.02  # between a finished download and the kill, at the most: longer than a download takes
KILLS = [2, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]
COUNT = ("count", EXPORT, "-s", SOURCE, "-j", "2", "--checkpoint", "kept.checkpoint")
FETCH = ("downloads", "fetch", EXPORT, "-s", SOURCE, "-j", "2", "--dir", "kept")
SYNC_OFTEN = (
    sys.executable,
    "-c",
    "import mockexport.pipeline.partial_file as p, mockexport.__main__ as m; p.SYNC_BYTES = 1 << 16; m.main()",
)


def body(version: int) -> bytes:
    return HEADER + b"P%03d,2025-08-26T00:00:04.906404Z,bp_sys,71\n" % version * ROWS


def write_version(root: Path, version: int, downloads: int = DOWNLOADS) -> None:
    """Replace each file of the export by one of the same size and the same time, as rsync -t would."""
    folder = root / SOURCE / EXPORT
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(downloads):
        fresh = folder / f".{number}"
        fresh.write_bytes(body(version))
        os.utime(fresh, (1, 1))
        fresh.rename(folder / f"{number:02}.csv")


def counts_of(version: int, downloads: int = DOWNLOADS) -> dict[str, dict[str, int]]:
    return {f"P{version:03}": {"bp_sys": ROWS * downloads}}


def patients_in(answer: str) -> dict[str, dict[str, int]]:
    patients: dict[str, dict[str, int]] = orjson.loads(answer)["patients"]
    return patients


@pytest.fixture
def folders(tmp_path: Path) -> Callable[[], Path]:
    """New folders, one at a time: the one before goes."""
    numbers = itertools.count()

    def make() -> Path:
        for before in tmp_path.iterdir():
            shutil.rmtree(before)
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return folder

    return make


@pytest.mark.parametrize("kills", KILLS)
def test_counts_that_are_killed_and_gone_on_with_are_of_what_is_there_now(
    folders: Callable[[], Path], kills: int
) -> None:
    seen: Counter[str] = Counter()
    for seed in range(kills):
        folder = folders()
        checkpoint = folder / "kept.checkpoint"
        write_version(folder, 1)

        def progress(checkpoint: Path = checkpoint) -> int:
            return len(kept_downloads(checkpoint))

        kill_at_a_moment(seed, progress, folder, *COUNT, downloads=DOWNLOADS, patience=PATIENCE_SECONDS)
        kept = kept_downloads(checkpoint)
        version = 1 + seed % 2
        if version == 2:
            write_version(folder, 2)

        done = run_command(folder, *COUNT)

        assert done.code == 0, (seed, done.stderr)
        assert patients_in(done.stdout) == counts_of(version), seed
        ids = kept_downloads(checkpoint)
        assert ids[: len(kept)] == kept, seed
        assert len(ids) == DOWNLOADS + (len(kept) if version == 2 else 0), seed
        seen["none" if not kept else "all" if len(kept) == DOWNLOADS else "some"] += 1
    print(f"count --checkpoint: {kills} kills, seeds 0 to {kills - 1}; downloads kept by then: {dict(seen)}; 0 wrong")


@pytest.mark.parametrize("kills", KILLS)
def test_fetches_over_a_changed_export_that_are_killed_never_vouch_for_a_mixture(
    folders: Callable[[], Path], kills: int
) -> None:
    seen: Counter[str] = Counter()
    parts = 0
    for seed in range(kills):
        folder = folders()
        kept = folder / "kept" / EXPORT
        write_version(folder, 1)
        if seed % 2:
            assert run_command(folder, *FETCH).code == 0
            write_version(folder, 2)
        version = 1 + seed % 2
        before = {path.name: path.stat().st_ino for path in finished_files(kept.parent)}

        def progress(kept: Path = kept, before: dict[str, int] = before) -> int:
            return sum(before.get(path.name) != inode_of(path) for path in kept.glob("*.csv"))

        kill_at_a_moment(
            seed, progress, folder, *FETCH, downloads=DOWNLOADS, patience=PATIENCE_SECONDS, program=SYNC_OFTEN
        )
        parts += any(kept.glob(".*.part.json"))
        seen[outcome(kept, version)] += 1

        done = run_command(folder, *FETCH)

        assert done.code == 0, (seed, done.stderr)
        assert digests(folder / "kept").keys() == {f"{EXPORT}/{name}" for name in names_of_whole(DOWNLOADS)}, seed
        assert count(source_of(kept), EXPORT).patients == counts_of(version), seed
    print(f"fetch: {kills} kills, seeds 0 to {kills - 1}; the folder was then: {dict(seen)}; parts: {parts}; 0 wrong")


def inode_of(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def outcome(kept: Path, version: int) -> str:
    """What a reader of the folder finds; anything but an error, or all of one version, is wrong."""
    if not (kept / "manifest.json").exists():
        assert not list(kept.glob("*.csv"))
        return "empty"
    try:
        patients = count(source_of(kept), EXPORT).patients
    except UntrustedDataError:
        return "refused"
    assert patients in (counts_of(1), counts_of(version))
    return "new" if patients == counts_of(version) else "old"


def names_of_whole(downloads: int) -> list[str]:
    return [*(f"{number:02}.csv" for number in range(downloads)), "manifest.json"]


# ---- At each step ----

# Children that kill themselves before their first, second, ... step that changes the disk or puts something on it.
STEPS = """
import itertools, os, shutil, signal, sys
from pathlib import Path
import mockexport.pipeline.partial_file
from mockexport import UntrustedDataError, count, fetch
from mockexport.sources.folder import FolderSource
from tests.test_kill_often import EXPORT, SOURCE, counts_of, names_of_whole, write_version

mockexport.pipeline.partial_file.SYNC_BYTES = 1 << 17
DOWNLOADS = 2
root = Path(sys.argv[1])

def fetched():
    fetch(FolderSource(root / SOURCE), EXPORT, root / "kept")

def until_step(number):
    left = itertools.count(number, -1)
    def dying(call):
        def step(*arguments, **options):
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)
        return step
    for name in ("open", "fsync", "replace", "unlink", "mkdir"):
        setattr(os, name, dying(getattr(os, name)))
    fetched()

def in_a_child(work, *arguments):
    child = os.fork()
    if not child:
        work(*arguments)
        os._exit(0)
    return os.waitpid(child, 0)[1]

seen = {"empty": 0, "refused": 0, "old": 0, "new": 0}
for number in itertools.count(int(sys.argv[3]), int(sys.argv[4])):
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    write_version(root, 1, DOWNLOADS)
    if sys.argv[2] == "changed":
        assert in_a_child(fetched) == 0
        write_version(root, 2, DOWNLOADS)
    version = 2 if sys.argv[2] == "changed" else 1
    status = in_a_child(until_step, number)
    kept = root / "kept" / EXPORT
    if not (kept / "manifest.json").exists():
        assert not list(kept.glob("*.csv"))
        seen["empty"] += 1
    else:
        try:
            patients = count(FolderSource(root / "kept"), EXPORT).patients
            assert patients in (counts_of(1, DOWNLOADS), counts_of(version, DOWNLOADS)), (number, patients)
            seen["new" if patients == counts_of(version, DOWNLOADS) else "old"] += 1
        except UntrustedDataError:
            seen["refused"] += 1
    assert in_a_child(fetched) == 0, number
    assert sorted(path.name for path in kept.iterdir()) == names_of_whole(DOWNLOADS), number
    assert count(FolderSource(root / "kept"), EXPORT).patients == counts_of(version, DOWNLOADS), number
    if status == 0:
        break
print(f"killed at {sum(seen.values()) - 1} of {number} steps; the folder was then: {seen}; 0 wrong")
"""


@pytest.mark.gate
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("which", ["new", "changed"])
@pytest.mark.parametrize(("first", "every"), [(8, 17), pytest.param(0, 1, marks=pytest.mark.slow)])
def test_a_fetch_that_is_killed_at_any_step_is_completed_by_the_next_and_never_a_mixture(
    tmp_path: Path, which: str, first: int, every: int
) -> None:
    command = [sys.executable, "-W", "error", "-c", STEPS, str(tmp_path / "root"), which, str(first), str(every)]
    here = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=here)
    assert done.returncode == 0, done.stderr
    print(done.stdout)


# ---- Two at a time ----

TOGETHER = 4  # downloads
FETCHES = f"""
import random, sys, time
from pathlib import Path
import mockexport.pipeline.partial_file
from mockexport import UsageError, fetch
from mockexport.sources.folder import FolderSource
mockexport.pipeline.partial_file.SYNC_BYTES = 1 << 16
chance = random.Random(sys.argv[1])
for line in sys.stdin:
    root = Path(line[:-1])
    time.sleep(chance.choice([0, 0, chance.uniform(0, 0.02)]))
    try:
        fetch(FolderSource(root / {SOURCE!r}), {EXPORT!r}, root / "kept")
        print("kept", flush=True)
    except UsageError as error:
        print(error, flush=True)
"""


@contextmanager
def fetching(seed: int) -> Iterator[subprocess.Popen[str]]:
    """A process that fetches into the folders that it is told of."""
    command = [sys.executable, "-c", FETCHES, seed_of(seed)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.gate
@pytest.mark.parametrize("rounds", [10, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])])
def test_two_processes_that_fetch_into_one_folder_leave_it_whole(folders: Callable[[], Path], rounds: int) -> None:
    seen: Counter[int] = Counter()
    folder = folders()
    with ExitStack() as stack:
        processes = [stack.enter_context(fetching(seed)) for seed in range(2)]
        for number in range(rounds):
            if number % 5 == 0:
                folder = folders()
            version = number + 1
            write_version(folder, version, TOGETHER)
            for process in processes:
                assert process.stdin
                process.stdin.write(f"{folder}\n")
                process.stdin.flush()
            told = [process.stdout.readline().strip() for process in processes if process.stdout]
            refused = [line for line in told if line != "kept"]
            kept = folder / "kept" / EXPORT
            assert len(refused) < 2, (number, told)
            assert all(line.startswith(f"another run is fetching into {kept}") for line in refused), (number, told)
            held = digests(kept)
            assert sorted(held) == names_of_whole(TOGETHER), number
            assert {digest for name, digest in held.items() if name.endswith(".csv")} == {
                hashlib.sha256(body(version)).hexdigest()
            }, number
            assert count(source_of(kept), EXPORT).patients == counts_of(version, TOGETHER), number
            seen[len(refused)] += 1
    print(f"two fetches, {rounds} times: one refused {seen[1]}, both kept {seen[0]}; 0 wrong")
