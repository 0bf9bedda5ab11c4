"""Before any work: connect to a scheduler, and check that its workers can do it."""

from __future__ import annotations

import logging
import pickle
import pydoc
import warnings
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import distributed
from distributed.comm.addressing import get_address_host_port
from distributed.comm.core import CommClosedError

from mockexport.errors import MockExportError, Remedy, UnreachableError, UntrustedDataError, UsageError
from mockexport.pipeline.dask.worker import check_version, exports_seen, is_elsewhere, this_network

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mockexport.source import Source

__all__ = ["check", "connected", "first_line"]

log = logging.getLogger(__name__)
NOISY = ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application", "asyncio")
GONE = (CommClosedError, OSError, TimeoutError)  # what a worker answers that has ended meanwhile
NAMES_SHOWN = 6


@contextmanager
def connected(scheduler: str, timeout: float) -> Generator[distributed.Client, None, None]:
    """Connect to a scheduler; what Dask would print goes to our own log."""
    with warnings.catch_warnings(), _quiet():
        warnings.filterwarnings("ignore", module=r"distributed\b")  # other versions of Dask or Python, which may work
        _check_address(scheduler)
        try:
            client = distributed.Client(scheduler, timeout=timeout, set_as_default=False)
        except (OSError, ImportError) as error:  # a TimeoutError is an OSError; ImportError: of another age
            raise UnreachableError(
                f"no Dask scheduler answers at {scheduler} within {timeout:g} s: {first_line(error)}"
            ) from error
        try:
            yield client
        finally:
            with suppress(OSError, RuntimeError):  # of a scheduler that is gone
                client.close(timeout=timeout)


def _check_address(scheduler: str) -> None:
    try:
        get_address_host_port(scheduler)
        certificates = distributed.Security().get_connection_args("client").get("ssl_context")
    except ValueError as error:
        raise UsageError(
            f"the scheduler {scheduler!r} is not a valid address: {error}; it looks like tcp://host:8786"
        ) from error
    except OSError as error:
        raise UsageError(f"cannot read the certificates that Dask's configuration names: {error}") from error
    if scheduler.startswith("tls://") and not certificates:
        raise UsageError(f"{scheduler} needs certificates; Dask's configuration names them: distributed.comm.tls")


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Take what Dask logs for details of our own."""
    loggers = [logging.getLogger(name) for name in NOISY]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [_Detail()], False
    try:
        yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate


class _Detail(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.info("dask: %s", first_line(record.getMessage()))


def first_line(problem: object) -> str:
    """Return the first line of what an error says; Dask's say many."""
    return str(problem).partition("\n")[0]


def check(client: distributed.Client, scheduler: str, source: Source, timeout: float) -> int:
    """Refuse workers that cannot do the work; return how many threads they have."""
    try:
        client.wait_for_workers(1, timeout)
    except TimeoutError as error:
        raise UnreachableError(
            f"the scheduler {scheduler} has no workers; start some", remedy=Remedy.TIMEOUT
        ) from error
    # By a function that each of them has, whatever it lacks of ours.
    version = None
    with suppress(pydoc.ErrorDuringImport):
        version = _ask(client.run_on_scheduler, client, timeout, pydoc.locate, "mockexport.__version__")
    check_version(f"the scheduler {scheduler}", version)
    for worker, version in _ask_workers(client, timeout, pydoc.locate, "mockexport.__version__").items():
        check_version(f"worker {worker}", version)
    if _is_own(source.name):
        for worker, elsewhere in _ask_workers(client, timeout, is_elsewhere, this_network()).items():
            if elsewhere:
                raise UsageError(
                    f"worker {worker} is elsewhere, where {source.name} is another server or none; "
                    "name the source by an address that means the same on all machines"
                )
    here = sorted(source.exports())
    for worker, seen in _ask_workers(client, 2 * timeout, exports_seen, pickle.dumps(source)).items():
        if isinstance(seen, Exception):
            told = f"worker {worker} cannot see the source: "
            if isinstance(seen, MockExportError):
                raise type(seen)(told + seen.message, remedy=seen.remedy) from seen
            raise UnreachableError(told + first_line(seen)) from seen
        if seen != here:
            found = ", ".join(seen[:NAMES_SHOWN]) or "none"
            raise UntrustedDataError(
                f"worker {worker} sees another source {source.name}, with the exports {found}; "
                "it must be the same one on all machines"
            )
    return int(client.scheduler_info(n_workers=0)["total_threads"])


def _ask_workers(
    client: distributed.Client, timeout: float, function: Callable[..., Any], *arguments: Any
) -> dict[str, Any]:
    """Run a function on each worker; one that ends meanwhile is left out."""

    def run() -> Any:
        return client.run(function, *arguments, on_error="return")

    answers: dict[str, Any] = _ask(run, client, timeout)
    return {worker: answer for worker, answer in sorted(answers.items()) if type(answer) not in GONE}


def _ask(ask: Callable[..., Any], client: distributed.Client, timeout: float, *arguments: Any) -> Any:
    try:
        return client.sync(ask, *arguments, callback_timeout=timeout)
    except (TimeoutError, CommClosedError) as error:
        raise UnreachableError(f"the cluster does not answer within {timeout:g} s: {first_line(error)}") from error


def _is_own(name: str) -> bool:
    """Tell whether a source is named as each machine names itself."""
    host = urlsplit(name).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
