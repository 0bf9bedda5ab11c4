"""FhirSource: a FHIR server whose data is exported in bulk (https://hl7.org/fhir/uv/bulkdata), as a Source."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

import orjson

from mockexport.bulk_wire import FHIR_JSON
from mockexport.errors import MockExportError, NotFoundError, Remedy, UnreachableError, UntrustedDataError
from mockexport.fhir_export import FhirExport
from mockexport.http import Client, ClientSettings
from mockexport.model import Download
from mockexport.source import BulkExport
from mockexport.sources.fhir.job import ExportJob, next_link
from mockexport.sources.fhir.outcome import read_issues
from mockexport.sources.fhir.state import StateFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mockexport.bulk_manifest import BulkFile, BulkManifest
    from mockexport.source import CancelToken, Chunks, OnRetry

__all__ = ["FhirSource"]

log = logging.getLogger(__name__)

BUNDLE_LIMIT = 64 << 20  # bytes
GROUP_PAGES = 1_000


class FhirSource:
    """The exports of a FHIR server: `system`, `patient` and `group/ID`.

    To list the downloads of one is to have the server make it, as `export` says: this kicks off, waits, and reads the
    manifest. `end` has the server delete it.
    """

    def __init__(
        self,
        settings: ClientSettings,
        export: FhirExport = FhirExport(),  # noqa: B008 - a tuple does not change
    ) -> None:
        self._settings = settings._replace(url=settings.url.rstrip("/"))
        self._client = Client(self._settings)
        self._export = export
        self._jobs: dict[str, ExportJob] = {}
        self._listed: dict[str, dict[str, tuple[str, bool]]] = {}  # by export and download: its URL, and if with token
        self._lock = threading.Lock()
        self.on_status: Callable[[str], None] | None = None

    @property
    def name(self) -> str:
        """The URL, as the user wrote it."""
        return f"fhir+{self._settings.url}"

    def exports(self) -> list[str]:
        """Return `system`, `patient`, and the groups, if the server lists any. Begins no export."""
        return ["system", "patient", *self._groups()]

    def made(self, export: str) -> list[Download] | None:
        """Return the downloads of an export that is there already, by its state; None if it would have to be begun."""
        job = self._jobs.get(export) or self._new_job(export)
        if not job.state.status_url and not job.resume(restart=False):
            return None
        self._jobs[export] = job
        return self.downloads(export)

    def start(self, export: str) -> str:
        """Begin an export, unless one is known by its state, and return the URL of its status."""
        job = self._jobs.get(export) or self._new_job(export)
        if not job.resume(restart=self._export.restart):
            job.start()
        self._jobs[export] = job
        return job.state.status_url or ""

    def downloads(self, export: str) -> list[Download]:
        """Have an export made, unless it is there already, and return a download for each of its files."""
        if export not in self._jobs:
            self.start(export)
        manifest = self._jobs[export].manifest()
        self._check_errors(manifest)
        return self._list(export, manifest)

    def open(
        self,
        download: Download,
        offset: int = 0,
        *,
        on_retry: OnRetry | None = None,
        cancel: CancelToken | None = None,
    ) -> Chunks:
        """Stream a file from byte `offset` on. Where its link has expired, the manifest is asked for once more."""
        known = self._listed.get(download.export, {}).get(download.id)
        if known is None:
            raise NotFoundError(f"export {download.export!r} has no download {download.id!r}")
        plain = replace(download, etag=None)  # ours names a file of the export, not bytes
        for renewed in (False, True):
            url, authorize = self._listed[download.export][download.id]
            began = False
            try:
                chunks = self._client.stream(url, plain, offset, on_retry=on_retry, cancel=cancel, authorize=authorize)
                with contextlib.closing(chunks):
                    for chunk in chunks:
                        began = True
                        yield chunk
            except NotFoundError:  # 404, 410
                if renewed or began or not self._renew(download.export, url):
                    raise
                log.info("the link of %s has expired; asking for the manifest again", download.id)
            else:
                return

    def bulk_export(self, export: str) -> BulkExport:
        """Return what the server has told of an export whose downloads were listed here."""
        job, listed = self._jobs[export], self._listed[export]
        manifest, state = job.manifest(), job.state
        return BulkExport(
            state.kick_off,
            state.status_url or "",
            state.began,
            (state.text or "").encode(),
            {name: url for name, (url, _) in listed.items()},
            [
                Download(export, name, etag=_etag(state.status_url or "", name), format="ndjson")
                for name, _ in _others(manifest)
            ],
        )

    def cancel(self, export: str) -> None:
        """Have the server delete an export that is known by its state."""
        job = self._new_job(export)
        if not job.resume(restart=False):
            raise NotFoundError(f"no export {export!r} is known that was begun; name its state")
        job.delete()
        if not job.state.ended:
            raise UnreachableError(f"the server did not delete {job.state.status_url}")

    def end(self) -> None:
        """Have the server delete the exports that were begun or resumed here."""
        for job in self._jobs.values():
            job.delete()

    @property
    def keeps_state(self) -> bool:
        """Whether another run can go on with an export that this one has begun."""
        jobs = [job.state for job in self._jobs.values()]
        return self._export.state is not None and any(state.status_url and not state.ended for state in jobs)

    def close(self) -> None:
        """Break off all running requests, and close all connections."""
        self._client.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments, and what is listed: another process reads files, and begins nothing."""
        return _unpickled, (self._settings, self._listed)

    def _new_job(self, export: str) -> ExportJob:
        url = f"{self._settings.url}{_level(export)}/$export"
        states = StateFile(self._export.state)
        return ExportJob(self._client, url, self._export.parameters, states, self._export.timeout, self._tell)

    def _tell(self, status: str) -> None:
        if self.on_status:
            self.on_status(status)

    def _list(self, export: str, manifest: BulkManifest) -> list[Download]:
        """Name each file by its type and number, as clients of bulk data do: `1.Patient`, `2.Patient`."""
        job = self._jobs[export]
        numbers: Counter[str] = Counter()
        listed: dict[str, tuple[str, bool]] = {}
        downloads = []
        for file in manifest.output:
            numbers[file.type] += 1
            name = f"{numbers[file.type]}.{file.type}"
            listed[name] = (urljoin(job.state.status_url or "", file.url), manifest.requires_token)
            downloads.append(
                Download(
                    export=export,
                    id=name,
                    rows=file.count,
                    event_types=(file.type,),
                    etag=_etag(job.state.status_url or "", name),
                    format="ndjson",
                    base=manifest.base or self._settings.url,
                )
            )
        for name, file in _others(manifest):
            listed[name] = (urljoin(job.state.status_url or "", file.url), manifest.requires_token)
        self._listed[export] = listed
        if manifest.deleted:
            log.warning("the export has %d files of deleted resources, which are not counted", len(manifest.deleted))
        return downloads

    def _renew(self, export: str, expired: str) -> bool:
        """Ask for the manifest again; return whether the links are others now. One thread asks for all."""
        with self._lock:
            job = self._jobs.get(export)
            if job is None:  # in another process
                return False
            before = self._listed[export]
            if expired not in {url for url, _ in before.values()}:
                return True
            files = [(name, url) for name, (url, _) in before.items()]
            self._list(export, job.renew_manifest())
            if list(self._listed[export]) != [name for name, _ in files]:
                raise UntrustedDataError(f"the manifest of export {export!r} changed while its files were read")
            return expired not in {url for url, _ in self._listed[export].values()}

    def _check_errors(self, manifest: BulkManifest) -> None:
        """Read the files of errors, tell what they say, and raise UntrustedDataError if the export is not whole."""
        for file in manifest.errors:
            issues = read_issues(self._rows(file, authorize=manifest.requires_token))
            if issues.errors and not self._export.allow_partial:
                raise UntrustedDataError(
                    f"the server could not export everything: {issues.text}", remedy=Remedy.ALLOW_PARTIAL
                )
            if issues.numbers:
                log.warning("the server says of the export: %s", issues.text)

    def _rows(self, file: BulkFile, *, authorize: bool) -> list[bytes]:
        status_url = next(iter(self._jobs.values())).state.status_url or self._settings.url
        named = Download(export="", id=file.url, rows=None, format="ndjson")
        chunks = self._client.stream(urljoin(status_url, file.url), named, authorize=authorize)
        with contextlib.closing(chunks):
            return b"".join(chunks).splitlines()

    def _groups(self) -> list[str]:
        """Ask for the groups; a server need not list them."""
        groups: list[str] = []
        url: str | None = f"{self._settings.url}/Group?_summary=true"
        for _ in range(GROUP_PAGES):
            if url is None:
                break
            try:
                body = self._client.retrying(lambda url=url: self._ask(url))  # type: ignore[misc]
                bundle = orjson.loads(body)
                groups += [f"group/{entry['resource']['id']}" for entry in bundle.get("entry", [])]
                url = next_link(bundle)
            except UnreachableError:
                raise
            except (MockExportError, orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
                log.info("the groups of %s are not listed: %s", self._settings.url, error)
                break
        return groups

    def _ask(self, url: str) -> bytes:
        with self._client.request(url, {"Accept": FHIR_JSON}) as response:
            return self._client.read(response, BUNDLE_LIMIT)


def _level(export: str) -> str:
    """Return the path of an export. Raises NotFoundError for what is none."""
    kind, _, name = export.partition("/")
    if export in ("system", "patient"):
        return "" if export == "system" else "/Patient"
    if kind == "group" and name:
        return f"/Group/{quote(name, safe='')}"
    raise NotFoundError(f"no export {export!r} in a FHIR server; it has system, patient and group/ID")


def _others(manifest: BulkManifest) -> Iterator[tuple[str, BulkFile]]:
    """Name each file that is not counted, as clients do: `error/1.OperationOutcome`, `deleted/1.Bundle`."""
    for folder, kind, files in (
        ("deleted", "Bundle", manifest.deleted),
        ("error", "OperationOutcome", manifest.errors),
    ):
        numbers: Counter[str] = Counter()
        for file in files:
            name = file.type or kind
            numbers[name] += 1
            yield f"{folder}/{numbers[name]}.{name}", file


def _etag(status_url: str, name: str) -> str:
    """Return what names a file of an export for good: a file that is listed never changes (the IG, "Manifest")."""
    return hashlib.sha256(f"{status_url} {name}".encode()).hexdigest()


def _unpickled(settings: ClientSettings, listed: dict[str, dict[str, tuple[str, bool]]]) -> FhirSource:
    source = FhirSource(settings)
    source._listed = listed  # noqa: SLF001 - its own
    return source
