"""Runs that are killed at any moment: the next one ends as if nothing had happened."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from tests import seeds
from tests.cli.conftest import COMMAND, write_export
from tests.commands import Ended, Serving, run_command, serve_command, started, wait_while_running
from tests.sources import ROW, csv_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.gate


DOWNLOADS = 10
ROWS = 70_000  # of each
BYTES = len(csv_body(ROWS))  # 3 MB
BYTES_A_SECOND = 12_000_000  # of each body: a download takes a quarter of a second, whatever the machine
MOMENTS = [pytest.param(seed, marks=() if seed == 1 else pytest.mark.slow) for seed in range(54)]
PATIENCE_SECONDS = 0.3  # between a finished download and the kill, at the most: longer than a download takes
SYNC_OFTEN = (
    sys.executable,
    "-c",
    "import mockexport.pipeline.partial_file as p, mockexport.__main__ as m; p.SYNC_BYTES = 1 << 18; m.main()",
)
COUNT = ("count", "small", "-j", "2", "--checkpoint", "kept")
FETCH = ("downloads", "fetch", "small", "--dir", "kept")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """The options of a server whose bodies take their time."""
    folder = tmp_path_factory.mktemp("served")
    write_export(
        folder, "small", **{f"d{n}": csv_body(ROWS, ROW.replace(b"P001", b"P%03d" % n)) for n in range(DOWNLOADS)}
    )
    yield "-s", str(folder), "--faults", f"data:slow={BYTES_A_SECOND}"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(served: tuple[str, ...]) -> Iterator[Serving]:
    with serve_command(*served, "--verbose") as server:
        yield server


@pytest.fixture(scope="module")
def url(server: Serving) -> str:
    return server.url


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory, url: str) -> str:
    """The answer of a count that nobody disturbs."""
    done = run_command(tmp_path_factory.mktemp("undisturbed"), "count", "small", "-s", url)
    assert done.code == 0
    return done.stdout


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory, url: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The answer of a fetch that nobody disturbs, and the digests of its files."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run_command(folder, *FETCH, "-s", url)
    assert done.code == 0
    yield done.stdout, digests(folder / "kept")
    shutil.rmtree(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for 30 MB, which doesn't outlive its test."""
    folder = tmp_path / "run"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def digests(root: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, by its SHA-256."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[str(path.relative_to(root))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def kept_downloads(checkpoint: Path) -> list[str]:
    """The ids of the downloads in a checkpoint, as often as they are in it."""
    if not checkpoint.exists():
        return []
    whole = checkpoint.read_bytes().split(b"\n")[1:-1]
    return [orjson.loads(line[9:])["id"] for line in whole]


def finished_files(root: Path) -> list[Path]:
    return list(root.glob("small/*.csv"))


def kill_at_a_moment(
    seed: int,
    progress: Callable[[], int],
    folder: Path,
    *arguments: object,
    program: tuple[str, ...] = (COMMAND,),
    downloads: int = DOWNLOADS,
    patience: float = PATIENCE_SECONDS,
    ready: Callable[[], object] = lambda: True,
) -> None:
    """Kill a run when so much is finished, and a little later, once it is ready; the seed says how much and little."""
    chance = seeds.rng(seed)
    wanted = [0, 1, 5, downloads - 1][seed] if seed < 4 else chance.randrange(downloads + 1)
    with started(folder, *arguments, program=program) as process:
        began = time.monotonic()
        if not wanted:  # anywhere from the start of the interpreter to the first bytes
            wait_while_running(process, lambda: time.monotonic() - began > chance.uniform(0, 0.6))
        wait_while_running(process, lambda: progress() >= wanted)
        moment = time.monotonic() + chance.uniform(0, patience)
        wait_while_running(process, lambda: time.monotonic() > moment and ready())
        process.kill()


@pytest.mark.parametrize("seed", MOMENTS)
def test_a_count_that_is_killed_goes_on_from_its_checkpoint_to_the_same_bytes(
    seed: int, folder: Path, url: str, counted: str
) -> None:
    checkpoint = folder / "kept"
    kill_at_a_moment(seed, lambda: len(kept_downloads(checkpoint)), folder, *COUNT, "-s", url)
    kept = kept_downloads(checkpoint)

    done = run_command(folder, *COUNT, "-s", url)

    assert (done.code, done.stdout) == (0, counted), done.stderr
    ids = kept_downloads(checkpoint)
    assert ids[: len(kept)] == kept
    assert len(ids) == len(set(ids)) == DOWNLOADS  # what was finished was not counted again


@pytest.mark.parametrize("seed", MOMENTS)
def test_a_fetch_that_is_killed_is_completed_by_the_next(
    seed: int, folder: Path, url: str, fetched: tuple[str, dict[str, str]]
) -> None:
    answer, files = fetched
    kill_at_a_moment(seed, lambda: len(finished_files(folder / "kept")), folder, *FETCH, "-s", url)
    before = {path.name: path.stat().st_ino for path in finished_files(folder / "kept")}
    assert all(files[f"small/{name}"] == digests(folder / "kept")[f"small/{name}"] for name in before)

    done = run_command(folder, *FETCH, "-s", url)

    assert (done.code, done.stdout) == (0, answer), done.stderr
    assert digests(folder / "kept") == files  # and nothing half-written beside them


@pytest.mark.parametrize("seed", MOMENTS)
def test_a_download_that_is_killed_in_the_middle_is_gone_on_with(
    seed: int,
    folder: Path,
    server: Serving,
    fetched: tuple[str, dict[str, str]],
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    answer, files = fetched

    def notes() -> list[Path]:
        found = (folder / "kept").glob("small/.*.part.json")
        return [note for note in found if note.with_suffix("").exists()]  # else it was killed once the file was whole

    def progress() -> int:
        return len(finished_files(folder / "kept")) + bool(notes())

    def in_the_middle() -> bool:  # far from its end, which would come before the kill
        with suppress(FileNotFoundError):
            return any(note.with_suffix("").stat().st_size < BYTES / 2 for note in notes())
        return False

    tells = seed in (1, 2)
    ready = in_the_middle if tells else lambda: True
    kill_at_a_moment(seed, progress, folder, *FETCH, "-s", server.url, program=SYNC_OFTEN, ready=ready)
    begun = len(notes())
    rests = server.answered(206)

    done = run_command(folder, *FETCH, "-s", server.url)

    assert (done.code, done.stdout) == (0, answer), done.stderr
    assert digests(folder / "kept") == files
    eventually(lambda: server.answered(206) - rests == begun)  # its log may be behind its answers
    assert begun or not tells, "the kill came at no moment that tells anything"


@pytest.mark.kernel
def test_worker_processes_end_with_their_killed_parent_and_the_other_twin_goes_on(
    folder: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    write_export(folder, "trial", **{f"d{number:02}": csv_body(20_000) for number in range(50)})
    checkpoint = folder / "kept"
    arguments = ("count", "trial", "-s", folder, "-j", "2", "--checkpoint", "kept")
    with started(folder, *arguments, MOCKEXPORT_KERNEL="pure") as process:
        wait_while_running(process, lambda: kept_downloads(checkpoint))
        children = children_of(process.pid)
        process.kill()

    eventually(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    assert 1 <= len(kept_downloads(checkpoint)) < 50
    done = run_command(folder, *arguments)
    assert done.code == 0, done.stderr
    assert orjson.loads(done.stdout)["patients"] == {"P001": {"bp_sys": 1_000_000}}


def children_of(pid: int) -> list[str]:
    listing = Path(f"/proc/{pid}/task/{pid}/children")  # Linux
    return listing.read_text().split() if listing.exists() else []


def test_when_the_server_dies_the_count_is_exit_5_and_goes_on_when_it_is_back(
    folder: Path, counted: str, served: tuple[str, ...]
) -> None:
    with serve_command(*served) as server:
        arguments = (*COUNT, "-s", server.url, "--retries", "1", "--retry-budget", "2")
        with started(folder, *arguments) as process:
            wait_while_running(process, lambda: len(kept_downloads(folder / "kept")) > 1)
            server.kill()
            stdout, stderr = process.communicate()
        broken = Ended(process.returncode, stdout, stderr)
    kept = kept_downloads(folder / "kept")
    assert (broken.code, broken.stdout) == (5, ""), broken.stderr
    assert f"{len(kept)} downloads are saved in kept; run the same command again to resume" in broken.stderr

    with serve_command(*served, "--port", server.port):
        done = run_command(folder, *arguments)

    assert (done.code, done.stdout) == (0, counted), done.stderr
    assert kept_downloads(folder / "kept")[: len(kept)] == kept
    assert len(kept_downloads(folder / "kept")) == DOWNLOADS


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_ctrl_c_says_how_to_go_on_and_it_does(
    folder: Path, url: str, counted: str, sent: signal.Signals, code: int
) -> None:
    with started(folder, *COUNT, "-s", url) as process:
        wait_while_running(process, lambda: kept_downloads(folder / "kept"))
        process.send_signal(sent)
        stdout, stderr = process.communicate()
    kept = kept_downloads(folder / "kept")
    assert (process.returncode, stdout) == (code, "")
    told = [  # a signal as a line begins to be written counts it, whole or not
        f"{n} downloads are saved in kept; run the same command again to resume" for n in (len(kept), len(kept) + 1)
    ]
    assert any(text in stderr for text in told)
    assert 1 <= len(kept) < DOWNLOADS

    done = run_command(folder, *COUNT, "-s", url)
    assert (done.code, done.stdout) == (0, counted), done.stderr
