"""`count` of objects in a store on loopback, which takes so little that it limits nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.bench.contest import Contest
from tests.bench.contestants import ours, polars
from tests.bench.data import export_file, split_file
from tests.bench.launch import CHILD
from tests.bench.s3_server import BUCKET
from tests.bench.work.http import serving

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.bench.data import Setup

FILES = 20
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}
NOTE = (
    "Whole commands; the store and its clients share the machine's cores. The store is a server of files with the API "
    "of S3 (`tests/bench/s3_server.py`), the same for all. DuckDB reads S3 only with an extension that is fetched at "
    "run time, so it is left out"
)


def contests(setup: Setup) -> Generator[Contest, None, None]:
    root = setup.folder / "store"
    made = export_file(root / "one" / "big" / "rows.csv", setup.large)
    files = split_file(made, root / "many" / "cut", FILES)
    with serving(*CHILD, "tests.bench.s3_server", root) as url:
        variables: Any = {**CREDENTIALS, "AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"}
        for name, export, paths, title in (
            ("one", "big", [made.path], f"A store with one object of {made.size / 1e9:.1f} GB"),
            ("many", "cut", files, f"A store with the same rows in {FILES} objects"),
        ):
            objects = [f"s3://{BUCKET}/{path.relative_to(root)}" for path in paths]
            yield Contest(
                f"store-{name}",
                title,
                [
                    ours("count", export, "-s", f"s3://{BUCKET}/{name}", **variables),
                    polars(objects, setup.few, **variables),
                ],
                rows=made.rows,
                size=made.size,
                note=f"{NOTE}.",
            )
