"""From what a user calls a source to the Source itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mockexport.errors import UsageError
from mockexport.extras import needs_extra
from mockexport.fhir_export import FhirExport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockexport.place import Place
    from mockexport.source import Source
    from mockexport.stores import StoreSettings

__all__ = ["open_place", "open_source"]


def open_source(
    name: str | Path = "mock",
    *,
    kernel: str = "auto",
    timeout: float = 30.0,
    retries: int = 5,
    retry_budget: float = 300.0,
    token: str | None = None,
    ca_bundle: str | Path | None = None,
    allow_unproven_end: bool = False,
    ignore: Sequence[str] = (),
    fhir: FhirExport | None = None,
    endpoint: str | None = None,
) -> Source:
    """Return the Source that `name` means.

    That is `mock`, `mock-fhir`, the http(s) URL of a server or of one file such as `https://host/a.csv`,
    `fhir+https://…` for a FHIR server, an object store such as
    `s3://bucket/prefix` (or `gs://`, `az://`), a folder, a file, or a pattern such as `data/*.csv`.

    A folder holds exports, each a folder of CSV files or of a FHIR bulk export; or such files itself; or what
    `mockexport serve --data` keeps there. A file or folder called mock is `./mock`. `ignore` has patterns for names of
    files and folders to leave out.

    `kernel` is the twin that makes mock exports up: `native`, `pure`, or `auto` for the native one when there is one.
    The rest is for servers: `timeout`, in seconds, bounds each wait for one; `retries` is how often a request is tried
    again without progress, `retry_budget` the seconds that the tries for one download may take in all; `token` is sent
    as a bearer token, to this origin alone; `ca_bundle` is a file of certificates to trust in place of the usual ones;
    `allow_unproven_end` takes a body for whole that ends with its connection, where nothing else proves its end.
    `fhir` says what to ask a FHIR server for, `endpoint` is the URL of a server with the API of an object store.

    Raises UsageError for another kind of URL, and NotFoundError when there is no such file or folder. Close the source
    when done, or use `contextlib.closing`.
    """
    if name == "mock":
        from mockexport.sources import MockSource

        return MockSource(kernel)
    if name == "mock-fhir":
        from mockexport.sources import MockFhirSource

        return MockFhirSource(kernel)
    scheme, separator, _ = str(name).partition("://")
    if not separator:
        return _open_local(name, ignore)
    if scheme in ("s3", "gs", "az"):
        from mockexport.sources import StoreSource

        settings = _store_settings(endpoint, timeout, retries, retry_budget, ca_bundle)
        return StoreSource(str(name), settings, ignore=ignore)
    kind, _, scheme = scheme.lower().rpartition("+")
    if kind not in ("", "fhir") or scheme not in ("http", "https"):
        raise UsageError(
            f"source {name!s} is neither http nor https; a source is mock, a folder, a file, an http(s) URL, "
            "fhir+https://… for a FHIR server, or s3://, gs:// or az:// for an object store"
        )
    from mockexport.http import ClientSettings, Retries
    from mockexport.sources import FhirSource, HttpFileSource, HttpSource, is_data

    client = ClientSettings(
        str(name)[len("fhir+") if kind else 0 :],
        timeout=timeout,
        retries=Retries(retries, retry_budget),
        token=token,
        ca_bundle=None if ca_bundle is None else str(ca_bundle),
        allow_unproven_end=allow_unproven_end,
    )
    if not kind and is_data(urlsplit(str(name)).path.rpartition("/")[2]):
        return HttpFileSource(client)
    return FhirSource(client, fhir or FhirExport()) if kind else HttpSource(**client._asdict())


def open_place(
    name: str | Path,
    *,
    endpoint: str | None = None,
    timeout: float = 30.0,
    retries: int = 5,
    retry_budget: float = 300.0,
    ca_bundle: str | Path | None = None,
) -> Place:
    """Return the file or folder that `name` means, on disk or in an object store; the rest is that of `open_source`.

    Raises UsageError for a URL of a store that is not valid, and without the [cloud] extra.
    """
    from mockexport.stores import is_store_url

    if not is_store_url(str(name)):
        return Path(name)
    with needs_extra("cloud"):
        from mockexport.stores import StorePath
    return StorePath.of(str(name), _store_settings(endpoint, timeout, retries, retry_budget, ca_bundle))


def _store_settings(
    endpoint: str | None, timeout: float, retries: int, retry_budget: float, ca_bundle: str | Path | None
) -> StoreSettings:
    from mockexport.http import Retries
    from mockexport.stores import StoreSettings

    bundle = None if ca_bundle is None else str(ca_bundle)
    return StoreSettings(endpoint, timeout, Retries(retries, retry_budget), bundle)


def _open_local(name: str | Path, ignore: Sequence[str]) -> Source:
    """Return a file, a pattern of files, or what is in a folder: readings, by the file that marks them, or exports."""
    from mockexport.sources import FilesSource, is_pattern

    folder = Path(name)
    if folder.exists():
        if not folder.is_dir():
            return FilesSource(name, ignore=ignore)
    elif is_pattern(str(name)):
        return FilesSource(name, ignore=ignore)
    if _holds_readings(folder):
        with needs_extra("heartrate"):
            from mockexport.heartrate import HeartRateSource

            return HeartRateSource(folder)
    from mockexport.sources import FolderSource

    return FolderSource(folder, ignore=ignore)


def _holds_readings(folder: Path) -> bool:
    from mockexport.heartrate import is_heart_rate_folder

    try:
        return is_heart_rate_folder(folder)
    except OSError:  # a folder that can't be looked into: FolderSource says so
        return False
