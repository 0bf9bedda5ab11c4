"""Proxies and certificates that the environment names: they are used, or it is said in one line why not."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.commands import run_command
from tests.pairing import by_default
from tests.scripted_http import ScriptedServer, http, json
from tests.sources import EXPORT, csv_body

from mockexport import UnreachableError, UsageError, count
from mockexport.http.proxies import proxy_for
from mockexport.http.retry import Retries
from mockexport.http.transport import httpx
from mockexport.sources.http import HttpSource

if TYPE_CHECKING:
    from pathlib import Path


ANSWER = json({"data": {"export_ids": ["demo"]}})
ABSENT = "http://export.invalid"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_the_proxy_of_the_environment_is_used(
    http_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
) -> None:
    http_server.answers[f"{ABSENT}/api/export"] = ANSWER
    monkeypatch.setenv(name, http_server.url.replace("http://", scheme))
    with closing(HttpSource(ABSENT, retries=Retries(0))) as source:
        assert source.exports() == ["demo"]
    assert [request.target for request in http_server.requests] == [f"{ABSENT}/api/export"]


def test_it_is_sent_what_it_needs_to_let_us_in(http_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    http_server.answers[f"{ABSENT}/api/export"] = ANSWER
    monkeypatch.setenv("ALL_PROXY", http_server.url.replace("http://", "http://user:secret@"))
    with closing(HttpSource(ABSENT, retries=Retries(0))) as source:
        assert source.exports() == ["demo"]
    assert http_server.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpzZWNyZXQ="


def test_data_come_through_it_by_our_own_transport(
    http_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes behind an answer are seen there, too."""
    http_server.has(EXPORT, {"a": http(csv_body(3)), "b": http(csv_body(3)) + b"more"})
    http_server.answers = {f"{ABSENT}{path}": answer for path, answer in http_server.answers.items()}
    monkeypatch.setenv("ALL_PROXY", http_server.url)
    with closing(HttpSource(ABSENT, retries=Retries(0))) as source:
        a, b = source.downloads(EXPORT)
        assert b"".join(source.open(a)) == csv_body(3)
        with pytest.raises(Exception, match="bytes follow its end"):
            list(source.open(b))


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_refuses_a_tunnel_is_an_error(
    http_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    http_server.answers["export.invalid:443"] = http(status=status)
    monkeypatch.setenv("ALL_PROXY", http_server.url)
    with (
        closing(HttpSource("https://export.invalid", retries=Retries(0))) as source,
        pytest.raises(UnreachableError, match=str(status)),
    ):
        source.exports()


# ---- Who is reached without a proxy ----

NO_PROXY = {
    "[::1]": ("http://[::1]:8000/x", True),
    "::1": ("http://[::1]:8000/x", True),
    "[::1]:8000": ("http://[::1]:8000/x", True),
    "[::1]:80": ("http://[::1]:8000/x", False),
    "127.0.0.1": ("http://127.0.0.1:8000/x", True),
    "a.org, 127.0.0.1:8000": ("http://127.0.0.1:8000/x", True),
    "127.0.0.2": ("http://127.0.0.1:8000/x", False),
    "*": ("http://127.0.0.1:8000/x", True),
    "example.org": ("https://www.example.org/x", True),
    ".example.org": ("https://www.example.org/x", True),
    "ample.org": ("https://www.example.org/x", False),
    "": ("https://www.example.org/x", False),
    ",, ,": ("https://www.example.org/x", False),
    "[": ("https://www.example.org/x", False),
}


@pytest.mark.parametrize(("held", "url", "without"), [(held, *case) for held, case in NO_PROXY.items()])
def test_no_proxy_names_hosts_as_elsewhere(monkeypatch: pytest.MonkeyPatch, held: str, url: str, without: bool) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", held)
    assert (proxy_for(httpx.URL(url)) is None) == without


def test_the_proxy_of_a_scheme_comes_before_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://all.invalid:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://https.invalid:3128")
    found = [proxy_for(httpx.URL(f"{scheme}://h/")) for scheme in ("http", "https")]
    assert [proxy.url.host for proxy in found if proxy] == ["all.invalid", "https.invalid"]


# ---- What can't be used ----

ODD = [
    *(
        "socks5://127.0.0.1:9",
        "socks5h://h:9",
        "socks4://h:9",
        "ftp://h",
        "http://",
        "http://h:port",
        "http://h:99999999",
    ),
    *("http://[::1", "://", ":", "http://a..b", "http://user:secret@h:port", "http://secret@:80"),
]


@pytest.mark.parametrize("proxy", ODD)
def test_a_proxy_that_can_not_be_used_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(UsageError, match=r"^ALL_PROXY ") as refused:
        proxy_for(httpx.URL(ABSENT))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("proxy", by_default(ODD, "socks5://127.0.0.1:9", "http://user:secret@h:port"))
def test_a_proxy_that_can_not_be_used_is_a_usage_error_that_tells_no_password(tmp_path: Path, proxy: str) -> None:
    done = run_command(tmp_path, "count", "-s", ABSENT, "--verbose", ALL_PROXY=proxy)
    assert done.code == 2, done.stderr
    assert "mockexport: error: ALL_PROXY " in done.stderr
    assert "secret" not in done.stderr


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30), st.text(max_size=20))
def test_any_proxy_is_one_or_a_usage_error(text: str, host: str) -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ALL_PROXY", f"http://{text}")
        environment.setenv("NO_PROXY", host.replace("\0", "").encode("utf-8", "ignore").decode())
        try:
            proxy_for(httpx.URL(ABSENT))
        except UsageError as error:
            assert str(error).isprintable()  # noqa: PT017


@pytest.mark.parametrize("command", [("count",), ("exports", "list"), ("heartrate", "query", "--user", "u")])
def test_no_command_ends_with_70_for_its_environment(tmp_path: Path, command: tuple[str, ...]) -> None:
    if command[0] == "heartrate":
        command = (*command, "--start", "2025-01-01", "--end", "2025-01-02")
    done = run_command(tmp_path, *command, "-s", ABSENT, ALL_PROXY="socks5://127.0.0.1:9")
    assert done.code == 2, done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSLKEYLOGFILE"])
def test_certificates_that_can_not_be_read_are_a_usage_error(tmp_path: Path, variable: str) -> None:
    missing = tmp_path / "missing" / "file"
    changes: Any = {variable: str(missing)}
    done = run_command(tmp_path, "count", "-s", "https://127.0.0.1:9", **changes)
    assert done.code == 2, done.stderr
    assert done.stderr.startswith(f"mockexport: error: {variable} {missing} can't be ")
    assert done.stderr.count("\n") == 1


def test_certificates_are_read_only_for_tls(http_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    http_server.has(EXPORT, {"a": http(csv_body(3))})
    monkeypatch.setenv("SSL_CERT_FILE", "missing")
    with closing(HttpSource(http_server.url)) as source:
        assert count(source, EXPORT).rows == 3


def test_no_certificates_in_the_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"no certificate")
    done = run_command(tmp_path, "count", "-s", "https://127.0.0.1:9", SSL_CERT_FILE=str(tmp_path / "empty"))
    assert done.code == 2, done.stderr


@pytest.mark.parametrize("held", by_default(["[::1]", "::1", "*"], "[::1]"))
def test_no_proxy_may_hold_an_ipv6_address(http_server: ScriptedServer, tmp_path: Path, held: str) -> None:
    http_server.has(EXPORT, {"a": http(csv_body(3))})
    done = run_command(tmp_path, "count", EXPORT, "-s", http_server.url, NO_PROXY=held)
    assert done.code == 0, done.stderr


@pytest.mark.parametrize(
    "url",
    by_default(["http://127.0.0.1:99999", "http://127.0.0.1:99999999999999999999"], "http://127.0.0.1:99999"),
)
def test_a_port_that_is_none_is_a_usage_error(tmp_path: Path, url: str) -> None:
    done = run_command(tmp_path, "count", "-s", url)
    assert done.code == 2, done.stderr
    assert done.stderr.count("\n") == 1
    with pytest.raises(UsageError):
        HttpSource(url)


def test_a_redirect_to_a_port_that_is_none_is_an_error(http_server: ScriptedServer, http_source: HttpSource) -> None:
    http_server.answers["/api/export"] = http(status=302, Location="http://127.0.0.1:99999/")
    with pytest.raises(UnreachableError):
        http_source.exports()
