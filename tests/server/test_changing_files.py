"""Files that change while `mockexport serve` sends them: never a whole answer made of two versions under one ETag."""

from __future__ import annotations

import base64
import random
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.commands import Serving, run_command, serve_command
from tests.files import PACK
from tests.sources import HEADER, WAIT_SECONDS
from tests.test_changing_files import CHANGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 2000


def body_of(patient: bytes) -> bytes:
    """Some 16 MB, more than all buffers on the way hold, also when it is packed."""
    noise = base64.b64encode(random.Random(0).randbytes(6000 * ROWS))
    return HEADER + b"".join(
        b"%s,2025-08-26T00:00:04Z,bp_sys,%s\n" % (patient, noise[8000 * n : 8000 * (n + 1)]) for n in range(ROWS)
    )


OLD, NEW = body_of(b"P001"), body_of(b"P999")
PART = 1 << 20  # what the client reads before the file changes
ASKED = {
    "all of it": {"Accept-Encoding": "identity"},
    "from a byte on": {"Range": "bytes=1000-"},
    "a range that ends early": {"Range": f"bytes=1000-{len(OLD) - 1000}"},
    "packed on the way": {"Accept-Encoding": "gzip"},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Serving]]:
    """A real server on a folder with an export, and where this is."""
    root = tmp_path_factory.mktemp("root")
    (root / "trial").mkdir()
    with serve_command("-s", root) as server:
        yield root / "trial", server


class Reading:
    """A body of which the first bytes are read, while the server waits for room to send the others."""

    def __init__(self, stack: ExitStack, url: str, headers: dict[str, str]) -> None:
        little = httpx.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)])
        client = stack.enter_context(httpx.Client(timeout=WAIT_SECONDS, transport=little))
        self.answer = stack.enter_context(client.stream("GET", url, headers=headers))
        self._rest = self.answer.iter_raw()
        self.begun = b""
        while len(self.begun) < PART:
            self.begun += next(self._rest)

    def read_on(self) -> bytes:
        """Read to the end; raises httpx.RemoteProtocolError when there is none."""
        return self.begun + b"".join(self._rest)


def url_of(server: Serving) -> str:
    (download,) = httpx.get(f"{server.url}/api/export/trial", timeout=WAIT_SECONDS).json()["data"]["download_ids"]
    return f"{server.url}/api/export/trial/{download}/data"


def write(folder: Path, server: Serving, suffix: str = ".csv") -> tuple[Path, str]:
    """Have the folder hold the old bytes alone, and wait until the server knows; what it says holds for a second."""
    for file in folder.iterdir():
        file.unlink()
    file = folder / f"a{suffix}"
    file.write_bytes(PACK[suffix](OLD))
    deadline = time.monotonic() + WAIT_SECONDS
    while httpx.get(f"{server.url}/api/export/trial", timeout=WAIT_SECONDS).status_code != 200 or not _is_known(server):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return file, url_of(server)


def _is_known(server: Serving) -> bool:
    answer = httpx.get(url_of(server), headers={"Range": "bytes=0-99"}, timeout=WAIT_SECONDS)
    return answer.status_code == 206 and answer.content == OLD[:100]


EACH_WAY = [  # a part of them in each run of the tests
    pytest.param(
        change, asked, marks=() if change == "rewritten in place" or asked == "all of it" else pytest.mark.slow
    )
    for change in CHANGES
    for asked in ASKED
]


@pytest.mark.gate
@pytest.mark.parametrize(("change", "asked"), EACH_WAY)
def test_a_body_whose_file_changes_is_broken_off_and_never_made_of_two_versions(
    served: tuple[Path, Serving], change: str, asked: str
) -> None:
    folder, server = served
    file, url = write(folder, server)
    with ExitStack() as stack:
        reading = Reading(stack, url, ASKED[asked])
        assert reading.answer.status_code == (206 if "Range" in ASKED[asked] else 200)
        CHANGES[change](file, NEW)
        with pytest.raises(httpx.RemoteProtocolError):
            reading.read_on()


@pytest.mark.gate
def test_a_packed_file_that_changes_is_broken_off_too(served: tuple[Path, Serving]) -> None:
    folder, server = served
    file, url = write(folder, server, ".csv.gz")
    with ExitStack() as stack:
        reading = Reading(stack, url, ASKED["all of it"])
        CHANGES["rewritten in place"](file, PACK[".csv.gz"](NEW))
        with pytest.raises(httpx.RemoteProtocolError):
            reading.read_on()


@pytest.mark.gate
def test_other_bytes_have_another_etag_and_ranges_of_the_old_ones_are_not_sent(served: tuple[Path, Serving]) -> None:
    folder, server = served
    file, url = write(folder, server)
    etag = httpx.head(url, timeout=WAIT_SECONDS).headers["ETag"]
    CHANGES["rewritten in place"](file, NEW)
    end = {"Range": f"bytes={len(OLD) - 20}-", "If-Range": etag}
    statuses = set()
    deadline = time.monotonic() + WAIT_SECONDS
    while 200 not in statuses:  # what was listed holds for a second, but is not sent any more
        assert time.monotonic() < deadline
        answer = httpx.get(url, headers=end, timeout=WAIT_SECONDS)
        statuses.add(answer.status_code)
        assert answer.headers.get("ETag") != etag
        time.sleep(0.05)
    assert statuses <= {200, 502}
    assert answer.content == NEW


@pytest.mark.slow
def test_a_count_over_http_of_a_file_that_changes_meanwhile_is_exact_or_an_error(
    served: tuple[Path, Serving], tmp_path: Path
) -> None:
    """Ten times, at whatever moment: all of the one patient, or all of the other, or exit 5 or 6."""
    folder, server = served
    file, _ = write(folder, server)
    for number in range(10):
        rewrite = CHANGES["rewritten in place"]
        rewrite(file, (OLD, NEW)[number % 2])
        ended = run_command(tmp_path, "count", "trial", "-s", server.url, "--retry-budget", "3", "--format", "csv")
        assert ended.code in (0, 5, 6)
        if ended.code == 0:
            assert ended.stdout.splitlines()[1:] in ([f"P001,bp_sys,{ROWS}"], [f"P999,bp_sys,{ROWS}"])
