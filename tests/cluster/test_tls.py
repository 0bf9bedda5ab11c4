"""A scheduler behind TLS, as Dask's own configuration sets it up: nothing of ours to set."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.cluster.machines import COMMITTED, Cluster
from tests.commands import run_command
from tests.sources import WAIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gate


@pytest.fixture
def configuration(tmp_path: Path) -> dict[str, str]:
    """One certificate for all, which vouches for itself, in the environment as Dask reads it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    made = [*("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1")]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([openssl, *made], check=True, capture_output=True, timeout=WAIT_SECONDS)
    roles = ("SCHEDULER", "WORKER", "CLIENT")
    return {
        "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": certificate,
        **{f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT": certificate for role in roles},
        **{f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY": key for role in roles},
    }


def test_a_count_behind_tls_is_exact_and_without_certificates_there_is_none(
    tmp_path: Path, configuration: dict[str, str]
) -> None:
    settings = {**configuration, "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": "tls"}
    with Cluster(tmp_path, settings=settings) as cluster:
        cluster.with_workers(1)
        assert cluster.address.startswith("tls://127.0.0.1:")
        arguments = ("count", "demo", "--scheduler", cluster.address)
        done = run_command(tmp_path, *arguments, **configuration)  # type: ignore[arg-type]
        assert (done.code, done.stdout.encode(), done.stderr) == (0, (COMMITTED / "demo.json").read_bytes(), "")
        assert run_command(tmp_path, *arguments).code == 2

        plain = cluster.address.replace("tls://", "tcp://")
        refused = run_command(tmp_path, "count", "demo", "--scheduler", plain, "--timeout", "1")
        assert (refused.code, refused.stdout) == (5, "")
        assert len(refused.stderr.splitlines()) == 1
