"""From what a user typed to the clients of `mockexport heartrate`."""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from mockexport.cli.remedies import says_variable, source_variable, token_variable
from mockexport.cli.token import read_token
from mockexport.errors import NotAuthorisedError
from mockexport.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from mockexport.heartrate import HeartRateClient, HeartRateNodes

    Servers = HeartRateClient | HeartRateNodes

__all__ = ["DEFAULT_URL", "open_client", "open_servers"]

DEFAULT_URL = "http://127.0.0.1:8000"


@contextmanager
def open_servers(
    urls: list[str], timeout: float, retries: int, budget: float, *files: Path | None
) -> Generator[Servers, None, None]:
    """Open a client for one server, as `open_client` does with the same `files`, or for all of several ones."""
    from mockexport.heartrate import HeartRateNodes
    from mockexport.http import Retries

    with ExitStack() as stack:
        distinct: list[str | None] = [*dict.fromkeys(urls)] or [None]
        each = [stack.enter_context(open_client(url, timeout, retries, budget, *files)) for url in distinct]
        yield each[0] if len(each) == 1 else HeartRateNodes(each, timeout=timeout, retries=Retries(retries, budget))


@contextmanager
def open_client(
    source: str | None, timeout: float, retries: int, budget: float, token_file: Path | None, ca_bundle: Path | None
) -> Generator[HeartRateClient, None, None]:
    """Open a client for the server in the options or the environment."""
    from mockexport.heartrate import HeartRateClient
    from mockexport.http import Retries

    settings = Settings.from_environment()
    token = read_token(token_file, settings.token_file)
    is_url = "://" in settings.source
    url = source or (settings.source if is_url else DEFAULT_URL)
    with (
        says_variable(source_variable(source, settings) if is_url else None, url),
        says_variable(token_variable(token_file, settings), "", NotAuthorisedError),
        closing(
            HeartRateClient(
                url,
                timeout=timeout,
                retries=Retries(retries, budget),
                token=token,
                ca_bundle=None if ca_bundle is None else str(ca_bundle),
            )
        ) as client,
    ):
        yield client
