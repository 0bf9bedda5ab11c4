"""The server gives tokens to those alone who prove that they are registered clients, and once for each assertion."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.smart.keys import CLIENT, NOW, TOKEN_URL, by_hand, claims, key, private, public, signed, write_clients

from mockexport.errors import UsageError
from mockexport.shared import InMemory
from mockexport.smart import Refused, TokenServer, check_assertion, read_clients, token_server
from mockexport.smart.credentials import ASSERTION_TYPE
from mockexport.smart.scopes import granted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Clock:
    """Tells the time that a test has set."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(tmp_path: Path, clock: Clock) -> TokenServer:
    return TokenServer(read_clients(write_clients(tmp_path / "clients.json")), InMemory(clock))


def form(assertion: str, **changes: str) -> dict[str, str]:
    return {
        "grant_type": "client_credentials",
        "scope": "system/*.rs",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        **changes,
    }


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_a_sound_assertion_gets_a_token_that_is_valid_for_five_minutes(
    server: TokenServer, clock: Clock, kind: str
) -> None:
    status, document = server.answer(form(signed(claims(), kind)), TOKEN_URL)
    assert status == 200
    token = document.pop("access_token")
    assert document == {"token_type": "bearer", "expires_in": 300, "scope": "system/*.rs"}
    assert len(token) > 40
    for sound in (f"Bearer {token}", f"bearer  {token}"):
        assert server.scopes(sound) == ("system/*.rs",)
    for other in (None, "", "Bearer", "Bearer ", f"Basic {token}", f"Bearer {token}x", "Bearer \ud800"):
        assert server.scopes(other) is None
    clock.now += 299
    assert server.scopes(f"Bearer {token}")
    clock.now += 1
    assert server.scopes(f"Bearer {token}") is None


def test_the_audience_may_be_a_list_of_one(server: TokenServer) -> None:
    assert server.answer(form(signed(claims(aud=[TOKEN_URL]))), TOKEN_URL).status == 200


HEADER = {"alg": "ES384", "kid": "ec-0", "typ": "JWT"}


def public_pem() -> bytes:
    pem: bytes = key("rsa").as_pem(private=False)
    return pem


BAD: dict[str, tuple[Callable[[], str], str]] = {  # made when they are needed, for keys take their time
    "not a JWT": (lambda: "x", "not a JWT"),
    "empty parts": (lambda: "..", "not a JWT"),
    "not ASCII": (lambda: "é.é.é", "not a JWT"),
    "half a surrogate": (lambda: "\ud800.a.b", "not a JWT"),
    "a payload that is a list": (lambda: by_hand(HEADER, [1]), "not a JWT"),
    "a payload without an issuer": (lambda: by_hand(HEADER, {}), "not a JWT"),
    "too long": (lambda: signed(claims(x="x" * 20_000)), "longer than"),
    "alg none": (lambda: by_hand({**HEADER, "alg": "none"}, claims()), "another algorithm"),
    "HS256 with the public key": (
        lambda: by_hand({"alg": "HS256", "kid": "rsa-0", "typ": "JWT"}, claims(), public_pem()),
        "another alg",
    ),
    "HS256 said to be RS384": (
        lambda: by_hand({"alg": "RS384", "kid": "rsa-0", "typ": "JWT"}, claims(), public_pem()),
        "signature",
    ),
    "no signature": (lambda: by_hand(HEADER, claims()), "signature"),
    "RS256": (lambda: signed(claims(), "rsa", alg="RS256"), "another algorithm"),
    "ES384 by the id of an RSA key": (lambda: signed(claims(), kid="rsa-0"), "signature"),
    "the key of another": (lambda: signed(claims(), number=1, kid="ec-0"), "signature"),
    "a kid that is unknown": (lambda: signed(claims(), number=1), "kid"),
    "no kid": (lambda: signed(claims(), kid=None), "kid"),
    "no typ": (lambda: signed(claims(), typ=None), "typ"),
    "an unknown client": (lambda: signed(claims(iss="other", sub="other")), "not registered"),
    "another sub": (lambda: signed(claims(sub="other")), "differ"),
    "another aud": (lambda: signed(claims(aud="https://ehr.example/token")), "aud"),
    "the aud among others": (lambda: signed(claims(aud=[TOKEN_URL, "https://x.example"])), "aud"),
    "no aud": (lambda: signed(claims(aud=None)), "aud"),
    "expired": (lambda: signed(claims(exp=int(NOW))), "expired"),
    "valid for too long": (lambda: signed(claims(exp=int(NOW) + 301)), "five minutes"),
    "no exp": (lambda: signed(claims(exp=None)), "exp"),
    "exp as a text": (lambda: signed(claims(exp=str(int(NOW) + 60))), "exp"),
    "exp that is true": (lambda: signed(claims(exp=True)), "exp"),
    "not valid yet": (lambda: signed(claims(nbf=int(NOW) + 60)), "not valid yet"),
    "no jti": (lambda: signed(claims(jti=None)), "jti"),
    "an empty jti": (lambda: signed(claims(jti="")), "jti"),
    "a jti that is a number": (lambda: signed(claims(jti=1)), "jti"),
}


@pytest.mark.parametrize("name", BAD)
def test_any_other_assertion_is_refused(server: TokenServer, name: str) -> None:
    make, reason = BAD[name]
    status, document = server.answer(form(make()), TOKEN_URL)
    assert (status, document["error"]) == (401, "invalid_client")
    assert reason in document["error_description"]
    assert set(document) == {"error", "error_description"}


def test_a_changed_claim_breaks_the_signature(server: TokenServer) -> None:
    head, _, signature = signed(claims()).split(".")
    body = by_hand({}, claims(jti="2")).split(".")[1]
    assert "signature" in server.answer(form(f"{head}.{body}.{signature}"), TOKEN_URL).document["error_description"]


def test_an_assertion_is_taken_once_and_its_id_is_kept_until_it_ends(server: TokenServer, clock: Clock) -> None:
    assertion = signed(claims())
    assert server.answer(form(assertion), TOKEN_URL).status == 200
    clock.now += 299
    status, document = server.answer(form(assertion), TOKEN_URL)
    assert (status, document["error_description"]) == (401, "the jti of the assertion was used before")
    assert server.answer(form(signed(claims(exp=int(clock.now) + 9))), TOKEN_URL).status == 401
    clock.now += 1
    assert server.answer(form(signed(claims(exp=int(clock.now) + 9))), TOKEN_URL).status == 200


def test_of_many_who_send_one_assertion_at_the_same_time_one_gets_a_token(server: TokenServer) -> None:
    assertion, found = signed(claims()), list[int]()
    begin = threading.Barrier(8)

    def ask() -> None:
        begin.wait()
        found.append(server.answer(form(assertion), TOKEN_URL).status)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200] + [401] * 7


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"client_assertion_type": "saml"}, "invalid_request"),
        ({"client_assertion": ""}, "invalid_request"),
        ({"scope": ""}, "invalid_request"),
        ({"scope": "user/*.rs launch"}, "invalid_scope"),
        ({"scope": "system/*.cruds"}, "invalid_scope"),
    ],
)
def test_a_form_that_is_wrong_is_refused_with_its_code(
    server: TokenServer, changes: dict[str, str], error: str
) -> None:
    status, document = server.answer(form(signed(claims()), **changes), TOKEN_URL)
    assert (status, document["error"]) == (400, error)


@pytest.mark.parametrize(
    ("wanted", "allowed", "found"),
    [
        ("system/*.rs", "system/*.rs", "system/*.rs"),
        ("system/Observation.rs system/Patient.r", "system/*.rs", "system/Observation.rs system/Patient.r"),
        ("system/*.read", "system/*.rs", "system/*.read"),
        ("system/*.*", "system/*.rs", ""),
        ("system/*.rs", "system/Patient.rs", ""),
        ("system/Patient.rs system/Observation.rs", "system/Patient.rs", "system/Patient.rs"),
        ("system/*.", "system/*.rs", ""),
        ("openid", "system/*.cruds", ""),
    ],
)
def test_a_client_gets_the_scopes_that_are_part_of_its_own(wanted: str, allowed: str, found: str) -> None:
    assert " ".join(granted(wanted.split(), allowed.split())) == found


def test_servers_that_share_documents_know_each_others_tokens_and_take_an_assertion_once(
    tmp_path: Path, clock: Clock
) -> None:
    clients, documents = read_clients(write_clients(tmp_path / "clients.json")), InMemory(clock)
    one, other = TokenServer(clients, documents), TokenServer(clients, documents)
    token = one.answer(form(signed(claims())), TOKEN_URL).document["access_token"]
    assert other.scopes(f"Bearer {token}") == ("system/*.rs",)
    refused = other.answer(form(signed(claims())), TOKEN_URL)
    assert (refused.status, refused.document["error_description"]) == (
        401,
        "the jti of the assertion was used before",
    )
    assert not any(token in name for name in documents.names("smart-token"))


def test_there_are_so_many_tokens_at_a_time_and_no_more(
    server: TokenServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_server, "MOST_KEPT", 2)
    found = [server.answer(form(signed(claims(jti=str(number)))), TOKEN_URL) for number in range(3)]
    assert [status for status, _ in found] == [200, 200, 503]
    assert found[2].document == {"error": "temporarily_unavailable"}
    clock.now += 300
    assert server.answer(form(signed(claims(exp=int(clock.now) + 9))), TOKEN_URL).status == 200


def test_tokens_can_be_made_to_end_at_once(server: TokenServer) -> None:
    token = server.answer(form(signed(claims())), TOKEN_URL).document["access_token"]
    server.forget()
    assert server.scopes(f"Bearer {token}") is None


def test_the_check_is_pure(tmp_path: Path) -> None:
    clients = read_clients(write_clients(tmp_path / "clients.json"))
    for _ in range(2):
        found = check_assertion(signed(claims()), clients, TOKEN_URL, NOW)
        assert (found.client_id, found.jti, found.exp) == (CLIENT, "1", NOW + 300)
    with pytest.raises(Refused):
        check_assertion(signed(claims()), {}, TOKEN_URL, NOW)


BAD_FILES: dict[str, tuple[Callable[[], Any], str]] = {
    "a list": (list, "not an object of clients"),
    "no clients": (dict, "not an object of clients"),
    "no jwks": (lambda: {CLIENT: {}}, "has no keys"),
    "a client that is a list": (lambda: {CLIENT: []}, "has no keys"),
    "no keys": (lambda: {CLIENT: {"jwks": {"keys": []}}}, "has no keys"),
    "a key that is a number": (lambda: with_keys(1), "key 1 of client 'my-client' in .* cannot be used: it is not"),
    "a key that is broken": (lambda: with_keys({"kty": "RSA", "n": "!" * 342, "e": "AQAB"}), "not a valid JWK"),
    "a key without its numbers": (lambda: with_keys({"kty": "EC", "crv": "P-384"}), "not a valid JWK"),
    "another curve": (lambda: with_keys({**public(), "crv": "P-256"}), "its curve is not P-384"),
    "a short key": (lambda: with_keys({"kty": "RSA", "n": "x" * 171, "e": "AQAB"}), "needs 2048 bits"),
    "a private key": (lambda: with_keys(private()), "is a private key"),
    "a secret": (lambda: with_keys({"kty": "oct", "k": "c2VjcmV0"}), "of the type RSA or EC"),
    "a key twice": (lambda: with_keys(public(), public()), "two keys with the same kid"),
    "scopes in a text": (lambda: with_keys(public(), scopes="system/*.rs"), "not a list"),
    "no scope": (lambda: with_keys(public(), scopes=["all"]), "'all', which is no scope"),
}


def with_keys(*keys: object, **fields: object) -> dict[str, object]:
    return {CLIENT: {"jwks": {"keys": list(keys)}, **fields}}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_of_clients_that_is_wrong_is_told_with_its_place(tmp_path: Path, name: str) -> None:
    make, told = BAD_FILES[name]
    path = tmp_path / "clients.json"
    path.write_text(json.dumps(make()))
    with pytest.raises(UsageError, match=told) as error:
        read_clients(path)
    assert str(private()["d"]) not in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_of_clients_that_is_not_json_is_told(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    path.write_text("{")
    with pytest.raises(UsageError, match="not valid JSON"):
        read_clients(path)


def test_a_file_of_clients_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the clients"):
        read_clients(tmp_path / "missing")


def test_scopes_of_a_client_are_read(tmp_path: Path, clock: Clock) -> None:
    clients: Any = read_clients(write_clients(tmp_path / "clients.json", public(), scopes=["system/Patient.rs"]))
    assert TokenServer(clients, InMemory(clock)).answer(form(signed(claims())), TOKEN_URL).status == 400
