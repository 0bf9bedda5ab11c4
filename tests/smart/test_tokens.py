"""The client gets tokens, keeps them as long as they are valid, and shows nobody what it proves itself with."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import threading
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from tests.smart.keys import CLIENT, NOW, TOKEN_URL, key, private, public, write_clients, write_key

from mockexport.errors import NotAuthorisedError, UnreachableError, UntrustedDataError, UsageError
from mockexport.shared import InMemory
from mockexport.smart import KeyFile, SecretFile, SmartTokens, TokenServer, read_clients
from mockexport.smart.tokens import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

BASE = "https://ehr.example/fhir"
CONFIGURATION = f"{BASE}/.well-known/smart-configuration"
FILE = f"{BASE}/files/1"


@dataclass
class Ehr:
    """A server with these clients, which is asked without a network; `answers` come before its own, for tokens."""

    clients: Any
    now: float = NOW
    endpoint: Any = TOKEN_URL
    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str], dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = TokenServer(self.clients, InMemory(self.clock))

    def clock(self) -> float:
        return self.now

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, /) -> Answer:
        form = {name: values[0] for name, values in parse_qs((body or b"").decode(), strict_parsing=bool(body)).items()}
        self.asked.append((method, url, dict(headers), form))
        if url == CONFIGURATION:
            return Answer(200, json.dumps({"token_endpoint": self.endpoint}).encode())
        if self.answers:
            return self.answers.pop(0)
        status, document = self.server.answer(form, TOKEN_URL)
        return Answer(status, json.dumps(document).encode())

    def tokens_asked(self) -> int:
        return sum(url == TOKEN_URL for _, url, *_ in self.asked)


@pytest.fixture
def ehr(tmp_path: Path) -> Ehr:
    return Ehr(read_clients(write_clients(tmp_path / "clients.json")))


@pytest.fixture
def credentials(tmp_path: Path) -> KeyFile:
    return KeyFile(CLIENT, write_key(tmp_path / "key"))


@pytest.fixture
def tokens(ehr: Ehr, credentials: KeyFile) -> SmartTokens:
    return SmartTokens(BASE, credentials, ehr, clock=ehr.clock)


def refusal(error: str = "invalid_client", description: str = "no", status: int = 400) -> Answer:
    return Answer(status, json.dumps({"error": error, "error_description": description}).encode())


# ---- Getting tokens ----


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("written", ["jwk", "jwks", "pem"])
def test_a_key_gets_a_token_however_it_is_written(tmp_path: Path, kind: str, written: str) -> None:
    registered = public(kind)
    if written == "pem":  # which has no kid, so the thumbprint is it
        registered = {**registered, "kid": key(kind).thumbprint()}
    ehr = Ehr(read_clients(write_clients(tmp_path / "clients.json", registered)))
    path = write_key(tmp_path / "key", kind, written)
    found = SmartTokens(f"{BASE}/", KeyFile(CLIENT, path), ehr, clock=ehr.clock).headers(FILE)
    assert ehr.server.scopes(found["Authorization"]) == ("system/*.rs",)


def test_the_requests_are_those_of_the_specification(ehr: Ehr, tokens: SmartTokens) -> None:
    tokens.headers(FILE)
    (_, first, headers, _), (method, second, posted, form) = ehr.asked
    assert (first, headers) == (CONFIGURATION, {"Accept": "application/json"})
    assert (method, second) == ("POST", TOKEN_URL)
    assert posted == {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    assertion = jwt.decode(form.pop("client_assertion"), key(), algorithms=["ES384"])
    assert form == {
        "grant_type": "client_credentials",
        "scope": "system/*.rs",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }
    assert assertion.header == {"alg": "ES384", "kid": "ec-0", "typ": "JWT"}
    assert len(assertion.claims.pop("jti")) == 36
    assert assertion.claims == {"iss": CLIENT, "sub": CLIENT, "aud": TOKEN_URL, "exp": int(NOW) + 240}


def test_a_token_is_kept_and_renewed_before_it_ends(ehr: Ehr, tokens: SmartTokens) -> None:
    first = tokens.headers(FILE)
    ehr.now += 269
    assert tokens.headers(FILE) == first
    ehr.now += 1  # half a minute before it ends
    second = tokens.headers(FILE)
    assert second != first
    assert ehr.server.scopes(second["Authorization"])
    assert [url for _, url, *_ in ehr.asked] == [CONFIGURATION, TOKEN_URL, TOKEN_URL]


def test_a_token_of_a_few_seconds_is_used_for_half_of_them(ehr: Ehr, tokens: SmartTokens) -> None:
    ehr.answers = [Answer(200, b'{"access_token": "t1", "token_type": "Bearer", "expires_in": 10}')]
    assert tokens.headers(FILE) == {"Authorization": "Bearer t1"}
    ehr.now += 4.9
    assert tokens.headers(FILE) == {"Authorization": "Bearer t1"}
    ehr.now += 0.2
    assert tokens.headers(FILE) != {"Authorization": "Bearer t1"}


def test_a_token_that_was_refused_is_replaced_once_for_all_who_had_it(ehr: Ehr, tokens: SmartTokens) -> None:
    first = tokens.headers(FILE)
    ehr.server.forget()
    tokens.refused(first)
    second = tokens.headers(FILE)
    tokens.refused(first)  # by a thread that had the first one, too
    tokens.refused({})
    assert tokens.headers(FILE) == second != first
    assert ehr.tokens_asked() == 2


def test_threads_share_one_request(ehr: Ehr, tokens: SmartTokens) -> None:
    begin, found = threading.Barrier(8), list[str]()

    def ask() -> None:
        begin.wait()
        found.append(tokens.headers(FILE)["Authorization"])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found)), ehr.tokens_asked()) == (8, 1, 1)


def test_one_400_is_tried_again_with_a_new_assertion_and_a_second_one_is_told(ehr: Ehr, tokens: SmartTokens) -> None:
    ehr.answers = [refusal()]
    assert ehr.server.scopes(tokens.headers(FILE)["Authorization"])
    assert len({form["client_assertion"] for *_, form in ehr.asked if form}) == 2
    tokens.refused(tokens.headers(FILE))
    ehr.answers = [refusal("invalid_client", "first"), refusal("invalid_scope", "not\nfor you" + "u" * 500)]
    with pytest.raises(NotAuthorisedError) as error:
        tokens.headers(FILE)
    assert error.value.exit_code == 4
    assert str(error.value).startswith(
        f"{TOKEN_URL} gave client 'my-client' no token: it answered 400, invalid_scope: not for youuu"
    )
    assert len(str(error.value)) < 320


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_told_at_once_even_without_a_reason(ehr: Ehr, tokens: SmartTokens, status: int) -> None:
    ehr.answers = [Answer(status, b"<html>")]
    with pytest.raises(NotAuthorisedError, match=f"no token: it answered {status}$"):
        tokens.headers(FILE)
    assert ehr.tokens_asked() == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(500, b""), UnreachableError),
        (Answer(429, b""), UnreachableError),
        (Answer(302, b""), UntrustedDataError),
        (Answer(404, b""), UntrustedDataError),
        (Answer(200, b""), UntrustedDataError),
        (Answer(200, b"[]"), UntrustedDataError),
        (Answer(200, b'{"access_token": ""}'), UntrustedDataError),
        (Answer(200, b'{"access_token": 7}'), UntrustedDataError),
        (Answer(200, b'{"access_token": "a\\r\\nX-Evil: 1"}'), UntrustedDataError),
        (Answer(200, b'{"access_token": "a", "token_type": "mac"}'), UntrustedDataError),
    ],
)
def test_another_answer_is_an_error_and_the_next_try_may_succeed(
    ehr: Ehr, tokens: SmartTokens, answer: Answer, error: type[Exception]
) -> None:
    ehr.answers = [answer]
    with pytest.raises(error, match=TOKEN_URL):
        tokens.headers(FILE)
    assert tokens.headers(FILE)


@pytest.mark.parametrize("seconds", ['"300"', "-1", "0", "true", "null", "1e400"])
def test_an_odd_expires_in_counts_as_five_minutes(ehr: Ehr, tokens: SmartTokens, seconds: str) -> None:
    ehr.answers = [Answer(200, b'{"access_token": "a", "expires_in": %b}' % seconds.encode())]
    if seconds == "1e400":  # which is no JSON number that can be held
        with pytest.raises(UntrustedDataError):
            tokens.headers(FILE)
        return
    tokens.headers(FILE)
    ehr.now += 269
    assert tokens.headers(FILE) == {"Authorization": "Bearer a"}
    ehr.now += 2
    assert tokens.headers(FILE) != {"Authorization": "Bearer a"}


@pytest.mark.parametrize("endpoint", [None, 7, "", "/token", "http://ehr.example/token", "ftp://x/y", "https://x:y/z"])
def test_a_token_endpoint_that_is_missing_or_not_secure_is_refused(
    ehr: Ehr, tokens: SmartTokens, endpoint: object
) -> None:
    ehr.endpoint = endpoint
    with pytest.raises(UntrustedDataError, match="smart-configuration names"):
        tokens.headers(FILE)
    assert ehr.tokens_asked() == 0


# ---- Secrets ----


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        (FILE, True),
        ("HTTPS://EHR.example:443/other", True),
        ("http://ehr.example/fhir/files/1", False),
        ("https://ehr.example:8443/fhir", False),
        ("https://ehr.example.evil.example/fhir", False),
        ("https://ehr.example@evil.example/fhir", False),
        ("https://store.example/1", False),
        ("https://ehr.example./fhir/files/1", False),
        ("https://ehr.example:x/fhir/files/1", False),
        ("https://[ehr.example/fhir/files/1", False),
        ("/fhir/files/1", False),
    ],
)
def test_a_token_goes_to_the_origin_of_the_server_alone(ehr: Ehr, tokens: SmartTokens, url: str, sent: bool) -> None:
    assert ("Authorization" in tokens.headers(url)) is sent
    assert bool(ehr.asked) is sent


def test_a_client_secret_is_sent_as_basic_authentication(ehr: Ehr, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret:ü\n")
    ehr.answers = [Answer(200, b'{"access_token": "a", "expires_in": 300}')]
    tokens = SmartTokens(BASE, SecretFile("my client", path), ehr, scope="system/Patient.rs", clock=ehr.clock)
    assert tokens.headers(FILE) == {"Authorization": "Bearer a"}
    *_, (_, _, headers, form) = ehr.asked
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"my+client:s3cret%3A%C3%BC"
    assert form == {"grant_type": "client_credentials", "scope": "system/Patient.rs"}


def test_pickled_it_takes_along_neither_key_nor_token(credentials: KeyFile) -> None:
    tokens = SmartTokens(BASE, credentials, Echo(), scope="system/Patient.rs")
    assert tokens.headers(FILE)
    data = pickle.dumps(tokens)
    assert private()["d"].encode() not in data
    assert b"echo-token" not in data
    assert pickle.loads(data).headers(FILE) == {"Authorization": "Bearer echo-token"}


class Echo:
    """A server that gives a token to anyone, or repeats what it was sent as the reason why not."""

    status = 200

    def __call__(self, method: str, _url: str, headers: Mapping[str, str], body: bytes | None, /) -> Answer:
        if method == "GET":
            return Answer(200, json.dumps({"token_endpoint": TOKEN_URL}).encode())
        if self.status == 200:
            return Answer(200, b'{"access_token": "echo-token"}')
        form = parse_qs((body or b"").decode())
        sent = form.get("client_assertion", [""])[0] + headers.get("Authorization", "")
        return refusal("invalid_client", f"{sent} {form} {headers}", self.status)


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("kind", ["ec", "rsa", "secret"])
def test_neither_keys_nor_assertions_nor_tokens_are_shown_anywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int, kind: str
) -> None:
    caplog.set_level(logging.DEBUG)
    sent: list[str] = []

    class Listening(Echo):
        def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, /) -> Answer:
            form = parse_qs((body or b"").decode())
            sent.extend(part for text in form.get("client_assertion", []) for part in text.split("."))
            sent.extend(value.removeprefix("Basic ") for name, value in headers.items() if name == "Authorization")
            return super().__call__(method, url, headers, body)

    path = tmp_path / "key"
    if kind == "secret":
        path.write_text("s3cret-of-mine")
        credentials: Any = SecretFile(CLIENT, path)
    else:
        credentials = KeyFile(CLIENT, write_key(path, kind))
    ehr = Listening()
    ehr.status = status
    tokens = SmartTokens(BASE, credentials, ehr)
    shown = []
    try:
        tokens.headers(FILE)
    except (NotAuthorisedError, UnreachableError) as error:
        shown += [str(error), repr(error), "".join(traceback.format_exception(error))]
        frames = error.__traceback__ and error.__traceback__.tb_next  # ours; that of the test knows all
        told = traceback.TracebackException(type(error), error, frames, capture_locals=True)
        shown.append("".join(told.format()))
    assert (status == 200) is not bool(shown)
    shown += [repr(tokens), str(tokens), repr(credentials), repr(credentials.proof(TOKEN_URL, NOW)), caplog.text]
    secrets = [*sent, "echo-token", "s3cret-of-mine", *(private(k)["d"] for k in ("ec", "rsa"))]
    assert len(sent) >= 1
    for secret in secrets:
        assert not [text for text in shown if secret in text]


ENCRYPTED = BestAvailableEncryption(b"x")


def pem(made: Any, encryption: Any = None) -> bytes:
    data: bytes = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return data


BAD_KEYS: dict[str, tuple[Callable[[], bytes], str]] = {  # made when they are needed, for keys take their time
    "empty": (lambda: b"", "neither a private key in PEM nor a JWK"),
    "nonsense": (lambda: b"nonsense", "neither a private key in PEM nor a JWK"),
    "half JSON": (lambda: b"{", "not valid JSON"),
    "an empty object": (lambda: b"{}", "not a JWK of the type RSA or EC"),
    "keys that are a number": (lambda: b'{"keys": 1}', "holds 0 private keys"),
    "two keys": (lambda: json.dumps({"keys": [private("ec"), private("rsa")]}).encode(), "holds 2 private keys"),
    "a broken JWK": (lambda: json.dumps({**private("ec"), "d": "!"}).encode(), "not a valid JWK"),
    "a JWK of another curve": (lambda: json.dumps({**private("ec"), "crv": "P-256"}).encode(), "curve is not P-384"),
    "a JWK for RS256": (lambda: json.dumps({**private("rsa"), "alg": "RS256"}).encode(), ""),
    "a public JWK": (lambda: json.dumps(public("ec")).encode(), "is a public key"),
    "a public PEM": (lambda: key("rsa").as_pem(private=False), "neither a private key in PEM nor a JWK"),
    "P-256": (lambda: pem(ec.generate_private_key(ec.SECP256R1())), "neither RSA of 2048 bits or more nor EC on the"),
    "Ed25519": (lambda: pem(ed25519.Ed25519PrivateKey.generate()), "neither RSA"),
    "1024 bits": (lambda: pem(rsa.generate_private_key(65537, 1024)), "neither RSA of 2048 bits"),
    "a password": (lambda: pem(ec.generate_private_key(ec.SECP384R1()), ENCRYPTED), "encrypted with a password"),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_key_that_cannot_be_used_is_told_without_showing_it(tmp_path: Path, ehr: Ehr, name: str) -> None:
    make, told = BAD_KEYS[name]
    path = tmp_path / "key"
    path.write_bytes(make())
    with pytest.raises(UsageError, match=f"the key .*key cannot be used: .*{told}") as error:
        SmartTokens(BASE, KeyFile(CLIENT, path), ehr).headers(FILE)
    shown = "".join(traceback.format_exception(error.value))
    assert private("ec")["d"] not in shown
    assert private("rsa")["d"] not in shown


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "cannot read the client secret"), (b"\n", "no client secret"), (b"\xff", "not UTF-8 text")],
)
def test_a_secret_that_cannot_be_used_is_told(tmp_path: Path, ehr: Ehr, content: bytes | None, told: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=told):
        SmartTokens(BASE, SecretFile(CLIENT, path), ehr).headers(FILE)


def test_a_missing_key_is_told(tmp_path: Path, ehr: Ehr) -> None:
    with pytest.raises(UsageError, match="cannot read the key"):
        SmartTokens(BASE, KeyFile(CLIENT, tmp_path / "missing"), ehr).headers(FILE)
