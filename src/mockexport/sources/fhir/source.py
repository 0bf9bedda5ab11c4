"""FhirSource: a FHIR server whose data is exported in bulk (https://hl7.org/fhir/uv/bulkdata), as a Source."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from mockexport.bulk_wire import FHIR_JSON
from mockexport.errors import (
    MissingError,
    MockExportError,
    NotFoundError,
    NotResumableError,
    Remedy,
    UnreachableError,
    UntrustedDataError,
    UsageError,
)
from mockexport.fhir_export import FhirExport
from mockexport.http import Client, ClientSettings, RetryableError, check_status
from mockexport.model import Download, parse_time
from mockexport.source import BulkExport, Declared
from mockexport.sources.fhir.export_files import ExportFile, are_same, is_deleted, named_files
from mockexport.sources.fhir.job import ExportJob, absolute_url, next_link
from mockexport.sources.fhir.outcome import Issues, read_issues
from mockexport.sources.fhir.state import StateFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    import httpx

    from mockexport.bulk_manifest import BulkManifest
    from mockexport.source import CancelToken, Chunks, OnRetry
    from mockexport.sources.fhir.state import ExportState

__all__ = ["FhirSource"]

log = logging.getLogger(__name__)

BUNDLE_LIMIT = 64 << 20  # bytes
GROUP_PAGES = 1_000
NOT_IMPLEMENTED = 501
ERROR_ROW_LIMIT = 16 << 20  # bytes


class FhirSource:
    """The exports of a FHIR server: `system`, `patient` and `group/ID`.

    To list the downloads of one is to have the server make it, as `export` says: this kicks off, waits, and reads the
    manifest. `end` has the server delete it.
    """

    def __init__(
        self,
        settings: ClientSettings,
        export: FhirExport = FhirExport(),  # noqa: B008 - it does not change
    ) -> None:
        settings = settings._replace(url=settings.url.rstrip("/"))
        if export.client_id or export.key or export.client_secret:  # only these need what signs
            from mockexport.sources.fhir.tokens import smart_tokens

            settings = settings._replace(authorization=smart_tokens(settings, export))
        self._settings = settings
        self._client = Client(self._settings)
        self._export = export
        self._jobs: dict[str, ExportJob] = {}
        self._files: dict[str, dict[str, ExportFile]] = {}  # by export and download
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
        job = self._job(export)
        return self.downloads(export) if job.state.status_url or job.resume(begins=False) else None

    def start(self, export: str) -> str:
        """Begin an export, unless one is known by its state, and return the URL of its status."""
        job = self._job(export)
        if not job.state.status_url:
            job.begin(restart=self._export.restart)
        return job.state.status_url or ""

    def downloads(self, export: str) -> list[Download]:
        """Have an export made, unless it is there already, and return a download for each of its files."""
        manifest, said = self._made(export)
        for issues in said:
            self._check(issues)
        if manifest.deleted:
            log.warning("the export has %d files of deleted resources, which are not counted", len(manifest.deleted))
        return self._list(export, manifest)

    def declared(self, export: str) -> Declared:
        """Have an export made likewise, and return what the server said of it: errors are told, and do not count."""
        manifest, said = self._made(export)
        downloads = self._list(export, manifest)
        return Declared(
            self,
            downloads,
            deleted=[Download(export, name, format="ndjson") for name in self._files[export] if is_deleted(name)],
            issues=sum((issues.numbers for issues in said), Counter()),
            types=self._export.types,
            since=manifest.since or _time(self._export.since),
            transaction_time=manifest.transaction_time,
        )

    def resources(self, export: str, resource_type: str) -> int:
        """Ask how many resources of a type the server has, since the time that was asked for."""
        asked = self._export
        if export != "system" or asked.type_filters or asked.until:
            raise UsageError(
                "the server can be asked for totals only of the export system, without filters and without an end"
            )
        since = f"&_lastUpdated=ge{quote(asked.since)}" if asked.since else ""
        url = f"{self._settings.url}/{resource_type}?_summary=count{since}"
        body, total = self._client.retrying(partial(self._ask, url)), None
        with contextlib.suppress(orjson.JSONDecodeError, AttributeError):  # no JSON, or no object
            total = orjson.loads(body).get("total")
        if not isinstance(total, int) or isinstance(total, bool):
            raise UntrustedDataError(f"{url} sent no total")
        return total

    def _made(self, export: str) -> tuple[BulkManifest, list[Issues]]:
        """Have an export made, unless it is there already; return its manifest, and what its files of errors say."""
        self.start(export)
        job = self._job(export)
        manifest = job.manifest()
        self._files[export] = named_files(manifest, job.state.status_url or "")
        try:
            return manifest, self._said(job, manifest)
        except NotFoundError:  # the links have expired
            manifest = self._renewed(export)
        try:
            return manifest, self._said(job, manifest)
        except NotFoundError as error:
            raise UntrustedDataError(f"the manifest lists a file of errors, but {error.message}") from error

    def _list(self, export: str, manifest: BulkManifest) -> list[Download]:
        """Return a download for each file of an export."""
        state = self._job(export).state
        return [
            Download(
                export=export,
                id=name,
                rows=file.rows,
                event_types=(file.type,),
                etag=_etag(state, name),
                format="ndjson",
                base=manifest.base or self._settings.url,
            )
            for name, file in self._files[export].items()
            if "/" not in name
        ]

    def bulk_export(self, export: str) -> BulkExport:
        """Return what the server has told of an export whose downloads were listed here."""
        state, files = self._jobs[export].state, self._files[export]
        status_url = state.status_url or ""
        others = [Download(export, name, etag=_etag(state, name), format="ndjson") for name in files if "/" in name]
        urls = {name: file.url for name, file in files.items()}
        return BulkExport(state.kick_off, status_url, state.began, (state.manifest or "").encode(), urls, others)

    def open(
        self,
        download: Download,
        offset: int = 0,
        *,
        on_retry: OnRetry | None = None,
        cancel: CancelToken | None = None,
    ) -> Chunks:
        """Stream a file from byte `offset` on. Where its link has expired, the manifest is asked for once more."""
        if download.id not in self._files.get(download.export, {}):
            raise NotFoundError(f"export {download.export!r} has no download {download.id!r}")
        plain = replace(download, etag=None)  # ours names a file of the export, not bytes
        for renewed in (False, True):
            file = self._files[download.export][download.id]
            began = False
            try:
                chunks = self._client.stream(
                    file.url,
                    plain,
                    offset,
                    on_retry=on_retry,
                    cancel=cancel,
                    authorize=file.with_token,
                    any_server=True,
                )
                with contextlib.closing(chunks):
                    for chunk in chunks:
                        began = True
                        yield chunk
            except NotFoundError as error:  # 404, 410
                if renewed or not self._renew(download.export, download.id, file):
                    raise MissingError(f"the manifest lists {download.id}, but {error.message}") from error
                if began:
                    raise NotResumableError(f"the link of {download.id} expired while it was read") from error
                log.info("the link of %s has expired; going on with another one", download.id)
            else:
                return

    def cancel(self, export: str) -> None:
        """Have the server delete an export that is known by its state."""
        job = self._job(export)
        if not job.resume(begins=False):
            raise NotFoundError(f"no export {export!r} is known that was begun; name its state")
        job.delete()
        if not job.state.ended:
            raise UnreachableError(f"the server did not delete {job.state.status_url}")

    def is_current(self, download: Download) -> bool:
        """Tell whether a download of an earlier run is of the export that is known by its state, if one is."""
        job = self._job(download.export)
        try:
            known = job.resume()
        except NotFoundError:  # it has ended
            known = False
        return not known or download.etag == _etag(job.state, download.id)

    def finish(self, export: str) -> None:
        """Have the server delete an export that is known by its state, if it is not told yet; other ones are errors."""
        with contextlib.suppress(NotFoundError):  # it has ended
            if self._job(export).resume():
                self._job(export).delete()

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
        """Pickle the arguments, and the states: another process reads files, asks for links, and keeps nothing."""
        states = {export: job.state for export, job in self._jobs.items()}
        return self.continued, (self._settings, replace(self._export, state=None), states)

    @classmethod
    def continued(cls, settings: ClientSettings, export: FhirExport, states: dict[str, ExportState]) -> FhirSource:
        """Return a source of exports that are there, by their states."""
        source = cls(settings, export)
        for name, state in states.items():
            job = source._job(name)
            job.state = state
            if state.manifest:
                source._files[name] = named_files(job.manifest(), state.status_url or "")
        return source

    def _job(self, export: str) -> ExportJob:
        if export not in self._jobs:
            url = f"{self._settings.url}{_level(export)}/$export"
            states = StateFile(self._export.state)
            self._jobs[export] = ExportJob(
                self._client, url, self._export.parameters, states, self._export.timeout, self._tell
            )
        return self._jobs[export]

    def _tell(self, status: str) -> None:
        if self.on_status:
            self.on_status(status)

    def _renew(self, export: str, name: str, expired: ExportFile) -> bool:
        """Ask for the manifest again; return whether the link is another one now. One thread asks for all."""
        with self._lock:
            if self._files[export][name] == expired:
                self._renewed(export)
            return self._files[export][name] != expired

    def _renewed(self, export: str) -> BulkManifest:
        """Ask for the manifest again. One with other files is not kept: another run may have read some of those before.

        Raises UntrustedDataError for such a one.
        """
        job = self._jobs[export]
        status_url = job.state.status_url or ""

        def check(manifest: BulkManifest) -> None:
            if not are_same(self._files[export], named_files(manifest, status_url)):
                raise UntrustedDataError(f"the manifest of export {export!r} changed while its files were read")

        manifest = job.renew_manifest(check)
        self._files[export] = named_files(manifest, status_url)
        return manifest

    def _said(self, job: ExportJob, manifest: BulkManifest) -> list[Issues]:
        """Read the files of errors."""
        urls = [absolute_url(file.url, job.state.status_url or "") for file in manifest.errors]
        return [self._client.retrying(partial(self._issues, url, authorize=manifest.requires_token)) for url in urls]

    def _check(self, issues: Issues) -> None:
        """Tell what a file of errors says, and raise UntrustedDataError if the export is not whole."""
        if issues.errors and not self._export.allow_partial:
            raise UntrustedDataError(
                f"the server could not export everything: {issues.text}", remedy=Remedy.ALLOW_PARTIAL
            )
        if issues.numbers:
            log.warning("the server says of the export: %s", issues.text)

    def _issues(self, url: str, *, authorize: bool) -> Issues:
        named = Download(export="", id=url, rows=None, format="ndjson")
        try:
            with contextlib.closing(self._client.stream(url, named, authorize=authorize, any_server=True)) as chunks:
                return read_issues(_rows(chunks, url))
        except NotResumableError as error:
            raise RetryableError(error) from error

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
                following = next_link(bundle)
                url = following and absolute_url(following, url)
            except UnreachableError:
                raise
            except (MockExportError, orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
                log.warning("the server does not list its groups: %s", error)
                break
        return groups

    def _ask(self, url: str) -> bytes:
        with self._client.request(url, {"Accept": FHIR_JSON}, check=_check_search) as response:
            return self._client.read(response, BUNDLE_LIMIT)


def _check_search(response: httpx.Response, url: str) -> None:
    if response.status_code == NOT_IMPLEMENTED:
        raise NotFoundError(f"{url} answered 501 {response.reason_phrase}".rstrip())
    check_status(response, url)


def _level(export: str) -> str:
    """Return the path of an export. Raises NotFoundError for what is none."""
    kind, _, name = export.partition("/")
    if export in ("system", "patient"):
        return "" if export == "system" else "/Patient"
    if kind == "group" and name:
        return f"/Group/{quote(name, safe='')}"
    raise NotFoundError(f"no export {export!r} in a FHIR server; it has system, patient and group/ID")


def _etag(state: ExportState, name: str) -> str:
    """Return what names a file of an export for good: a file that is listed never changes (the IG, "Manifest").

    A server may give the URL of an export that was deleted to another one; that one has begun at another time.
    """
    return hashlib.sha256(f"{state.status_url} {state.began} {name}".encode()).hexdigest()


def _time(text: str | None) -> datetime | None:
    """Return a time; None for anything else, which the server has judged."""
    try:
        return parse_time(text or "")
    except ValueError:
        return None


def _rows(chunks: Iterable[bytes], url: str) -> Iterator[bytes]:
    """Yield the rows of NDJSON."""
    rest = b""
    for chunk in chunks:
        *rows, rest = (rest + chunk).split(b"\n")
        yield from rows
        if len(rest) > ERROR_ROW_LIMIT:
            raise UntrustedDataError(f"{url} has a row of more than {ERROR_ROW_LIMIT:,} bytes")
    yield rest
