"""Servers by others that speak the APIs of the stores, as processes on loopback: s3rver, Azurite, and moto for Google.

No registry has a server of the XML API of Google Cloud Storage, which is that of S3 with other credentials; the
emulator on PyPI speaks the JSON API alone. So moto is asked as if it were Google, with a token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import shutil
import subprocess
import threading
from contextlib import contextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING, NamedTuple

import boto3  # type: ignore[import-untyped]
import httpx
import pytest
from tests.moto import moto_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET = "exports"
PACKAGES = {"s3rver": "s3rver@3.7.1", "azurite-blob": "azurite@3.35.0"}  # of npm, by what they install
LISTENS = re.compile(r"listen(?:s|ing) on (http://\S+|\S+:\d+)")
ACCOUNT = "devstoreaccount1"  # the account and the key that are built into Azurite, and published with it
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
API = "2021-08-06"


class Emulator(NamedTuple):
    """A store with one bucket: how its URLs begin, where it is, and what gives access to it."""

    url: str
    endpoint: str
    credentials: dict[str, str]


def program(name: str, cache: pytest.Cache, *, install: bool) -> str:
    """Return where a program is: installed, or in the cache of pytest, into which `install` gets it. Skips without."""
    folder = cache.mkdir("npm")
    found = shutil.which(name) or shutil.which(name, path=str(folder / "node_modules" / ".bin"))
    if found:
        return found
    if not install:
        pytest.skip(f"{name} is not installed; `pytest -m slow tests/stores` gets it from npm")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"{name} is not installed, and there is no npm to get it")
    command = [npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", PACKAGES[name]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{name} is not installed, and npm could not get it: {done.stderr.strip().splitlines()[-1:]}")
    return program(name, cache, install=False)


@contextmanager
def listening(*command: str) -> Iterator[str]:
    """Run a server until the block ends; yield the URL that it says it listens on."""
    node = {**os.environ, "NODE_OPTIONS": "--openssl-legacy-provider"}  # s3rver's second page of a listing takes DES
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=node) as process:
        assert process.stdout
        try:
            told: list[str] = []
            for line in process.stdout:
                told.append(line)
                if found := LISTENS.search(line):
                    break
            else:
                pytest.fail(f"{command[0]} ended: {''.join(told)}")
            threading.Thread(target=process.stdout.read, daemon=True).start()  # or its log would fill the pipe
            yield found[1] if found[1].startswith("http") else f"http://{found[1]}"
        finally:
            process.kill()


@contextmanager
def s3rver(cache: pytest.Cache, folder: Path, *, install: bool) -> Iterator[Emulator]:
    """S3 by s3rver; its one account is S3RVER."""
    path = program("s3rver", cache, install=install)
    options = ["--address", "127.0.0.1", "--port", "0", "--directory", str(folder), "--configure-bucket", BUCKET]
    with listening(path, *options) as endpoint:
        account = {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER", "AWS_REGION": "us-east-1"}
        yield Emulator(f"s3://{BUCKET}", endpoint, account)


@contextmanager
def azurite(cache: pytest.Cache, folder: Path, *, install: bool) -> Iterator[Emulator]:
    """Azure Blob Storage by Azurite, of Microsoft, which checks signatures."""
    path = program("azurite-blob", cache, install=install)
    options = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--location", str(folder)]
    with listening(path, *options, "--disableTelemetry", "--skipApiVersionCheck") as server:
        endpoint = f"{server}/{ACCOUNT}"
        make_container(endpoint)
        account = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}
        yield Emulator(f"az://{BUCKET}", endpoint, account)


def make_container(endpoint: str) -> None:
    """Make a container, by a request that is signed with the account's key (its version of 2009-09-19 and later)."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": API}
    named = "".join(f"{name}:{value}\n" for name, value in headers.items())
    text = "PUT" + "\n" * 12 + named + f"/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{signature}"
    made = httpx.put(f"{endpoint}/{BUCKET}", params={"restype": "container"}, headers=headers, trust_env=False)
    made.raise_for_status()


@contextmanager
def google_by_moto() -> Iterator[Emulator]:
    """What the client of Google Cloud Storage says, answered by moto, which takes any token."""
    with moto_server() as endpoint:
        boto3.resource("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)
        yield Emulator(f"gs://{BUCKET}", endpoint, {"GOOGLE_BEARER_TOKEN": "very-secret"})
