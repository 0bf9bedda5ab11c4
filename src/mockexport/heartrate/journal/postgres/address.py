"""The URL of a database: what libpq makes of it, and what may be shown of it."""

from __future__ import annotations

from itertools import zip_longest
from typing import NamedTuple
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from mockexport.errors import UsageError

__all__ = ["Address", "address_of"]

EXAMPLE = "write it as postgresql://HOST/DATABASE"
SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
NAMED = ("service", "servicefile")


class Address(NamedTuple):
    """Where a database is: `place` is a URL without user and secrets, `parameters` are those of libpq."""

    place: str
    parameters: dict[str, str]


def address_of(url: str) -> Address:
    """Return the address of a URL of libpq. Raises UsageError if it is not valid, or has a password.

    The format is that of https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS.
    """
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.Error:  # its message may have a part of a password
        raise UsageError(f"the URL of the PostgreSQL journal is not valid; {EXAMPLE}") from None
    place = _place(found)
    if any(found.get(name) for name in SECRETS):
        raise UsageError(
            f"the URL of the journal {place} has a password, which other users of this machine can see; put it into a "
            "file that PGPASSFILE or PGSERVICEFILE names, or into PGPASSWORD"
        )
    return Address(place, found)


def _place(found: dict[str, str]) -> str:
    hosts = (found.get("host") or found.get("hostaddr") or "").split(",")
    ports = found.get("port", "").split(",")
    database = quote(found.get("dbname", ""))
    rest = {name: found[name] for name in NAMED if name in found}
    if any(host.startswith(("/", "@")) for host in hosts):  # the folder of a Unix socket
        rest = {name: found[name] for name in ("host", "port") if name in found} | rest
        return f"postgresql:///{database}?{urlencode(rest, safe='/,@')}"
    pairs = zip_longest(hosts, ports if len(ports) > 1 else ports * len(hosts), fillvalue="")
    together = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in pairs)
    together = ",".join(pair.removesuffix(":") for pair in together.split(","))
    return f"postgresql://{together}/{database}" + (f"?{urlencode(rest, safe='/')}" if rest else "")
