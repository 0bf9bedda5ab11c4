"""`count` over HTTP on loopback: from our server, and from a plain server of files."""

from __future__ import annotations

import re
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.bench.contest import Contest
from tests.bench.contestants import curl, curl_mawk, httpx_csv, ours, polars
from tests.bench.data import MOCK_ROWS, export_file, split_file
from tests.bench.launch import CHILD, OURS, ROOT, environment

from mockexport.sources.mock.specs import plans
from mockexport.wire import download_path

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.bench.data import Setup

FILES = 20
NOTE = (
    "Whole commands; server and client share the machine's cores. curl and httpx take one download after the other. "
    "DuckDB reads HTTP only with an extension that is fetched at run time, so it is left out"
)


def contests(setup: Setup) -> Generator[Contest, None, None]:
    with serving(*OURS, "serve", "--port", "0") as url:
        urls = [f"{url}{download_path('small', plan.id)}/data" for plan in plans("small")]
        yield Contest(
            "http-small",
            "Over HTTP from our server: the export small, made up as it is sent",
            [
                ours("count", "small", "-s", url),
                polars(urls, setup.few),
                curl_mawk(urls, setup.few),
                httpx_csv(urls, 1),
                curl(urls, setup.few),
            ],
            rows=MOCK_ROWS["small"],
            note=f"{NOTE}. Polars asks for ranges, for which the server makes up rows that it doesn't send.",
        )
        if not setup.quick:
            urls = [f"{url}{download_path('large', plan.id)}/data" for plan in plans("large")]
            yield Contest(
                "http-large",
                "Over HTTP from our server: the export large, 6.8 GB",
                [ours("count", "large", "-s", url), curl(urls, 1)],
                rows=MOCK_ROWS["large"],
                note="Whole commands; server and client share the machine's cores.",
            )
    made = export_file(setup.folder / "one" / "big" / "rows.csv", setup.large)
    served = setup.folder / "served"
    split_file(made, served / "cut", FILES)
    with serving(*CHILD, "tests.bench.static_server", served) as url:
        urls = [f"{url}{download_path('cut', file.stem)}/data" for file in sorted((served / "cut").iterdir())]
        yield Contest(
            "http-static",
            f"Over HTTP from a plain server of files: {made.size / 1e9:.1f} GB in {FILES} downloads",
            [
                ours("count", "cut", "-s", url),
                polars(urls),
                curl_mawk(urls, setup.few),
                httpx_csv(urls, 1),
                curl(urls, setup.few),
            ],
            rows=made.rows,
            size=made.size,
            note=f"{NOTE}. Polars reads ranges, many at a time.",
        )


@contextmanager
def serving(*command: object) -> Iterator[str]:
    """Run a server that tells its URL on stderr."""
    arguments = list(map(str, command))
    with subprocess.Popen(
        arguments, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr
        try:
            found = re.search(r"http://\S+", server.stderr.readline())
            assert found, f"{arguments} did not start"
            threading.Thread(target=server.stderr.read, daemon=True).start()  # or it would stop at a full pipe
            yield found.group()
        finally:
            server.kill()
