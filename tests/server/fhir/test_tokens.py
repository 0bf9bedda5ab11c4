"""Access tokens at the FHIR API: the endpoint, and what each token is good for; who gets one is another matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.server.fhir.walking import FILE, FILES, KICK_OFF, files, manifest, problems

from mockexport.server.fhir.tokens import readable_types

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx
    from tests.server.fhir.conftest import ServeFhir

GROUP = "/fhir/Group/first/$export"


class FreeTokens:
    """Gives a token, which is its scopes, to whoever asks."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], str]] = []

    def answer(self, form: Mapping[str, str], token_url: str) -> tuple[int, dict[str, Any]]:
        self.asked.append((dict(form), token_url))
        if "scope" not in form:
            return 400, {"error": "invalid_scope"}
        return 200, {"access_token": form["scope"].replace(" ", "+"), "token_type": "bearer", "expires_in": 300}

    def scopes(self, authorization: str | None) -> tuple[str, ...] | None:
        scheme, _, token = (authorization or "").partition(" ")
        return tuple(token.split("+")) if scheme == "Bearer" and token.startswith("system/") else None


@pytest.fixture
def tokens() -> FreeTokens:
    return FreeTokens()


@pytest.fixture
def client(serve_fhir: ServeFhir, tokens: FreeTokens) -> httpx.Client:
    return serve_fhir(tokens=tokens)


def with_scopes(*scopes: str) -> dict[str, str]:
    return {**KICK_OFF, "Authorization": f"Bearer {'+'.join(scopes)}"}


def test_the_endpoint_is_told_and_gives_a_token_that_is_required(client: httpx.Client, tokens: FreeTokens) -> None:
    described = client.get("/fhir/.well-known/smart-configuration").json()
    url = str(client.base_url.join("/fhir/token"))
    assert described["token_endpoint"] == url
    assert described["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
    form = {"scope": "system/*.rs", "client_assertion": "a+b=="}
    answer = client.post(url, data=form)
    assert tokens.asked == [(form, url)]
    assert (answer.headers["cache-control"], answer.headers["content-type"]) == ("no-store", "application/json")
    bearer = {**KICK_OFF, "Authorization": f"Bearer {answer.json()['access_token']}"}
    status = client.get(GROUP, headers=bearer).headers["content-location"]
    document = client.get(status, headers=bearer).json()
    assert document["requiresAccessToken"] is True
    assert client.get(document["output"][0]["url"], headers=bearer | FILE).content == FILES["p"][1]


def test_a_refused_token_is_told_in_the_words_of_oauth(client: httpx.Client) -> None:
    for refused, error in (
        (client.post("/fhir/token", data={"grant_type": "x"}), "invalid_scope"),
        (client.post("/fhir/token", json={"scope": "system/*.rs"}), "invalid_request"),
        (client.post("/fhir/token", data={"scope": ["system/*.rs", "system/*.rs"]}), "invalid_request"),
    ):
        assert (refused.status_code, refused.json()["error"]) == (400, error)
    assert client.post("/fhir/token", content=b"x" * 100_000).status_code == 413


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (None, 'Bearer realm="/fhir"'),
        ("Bearer stolen", 'Bearer realm="/fhir", error="invalid_token"'),
        ("Basic x", 'Bearer realm="/fhir", error="invalid_token"'),
    ],
)
def test_without_a_valid_token_nothing_is_told(client: httpx.Client, header: str | None, told: str) -> None:
    headers = KICK_OFF | ({"Authorization": header} if header else {})
    for path in (GROUP, "/fhir/Group", "/fhir/jobs/x"):
        refused = client.get(path, headers=headers)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, told)
        assert [code for code, _ in problems(refused)] == ["login"]
    assert client.get("/fhir/metadata").status_code == 200


def test_an_export_has_the_types_of_the_scopes(client: httpx.Client) -> None:
    for level in (GROUP, "/fhir/Patient/$export"):
        narrow = with_scopes("system/Patient.rs", "system/Organization.rs")
        status = client.get(level, headers=narrow).headers["content-location"]
        types = {entry["type"] for entry in client.get(status, headers=narrow).json()["output"]}
        assert types == ({"Patient", "Organization"} if level == GROUP else {"Patient"})


def test_a_type_outside_the_scopes_is_refused_by_name(client: httpx.Client) -> None:
    refused = client.get(f"{GROUP}?_type=Patient,Observation", headers=with_scopes("system/Patient.rs"))
    told = "The scopes of the token do not allow to read Observation"
    assert (refused.status_code, problems(refused)) == (403, [("forbidden", told)])


def test_a_file_takes_a_token_for_its_type(client: httpx.Client) -> None:
    client.headers.update({"Authorization": "Bearer system/*.rs"})
    document = manifest(client, client.get(GROUP, headers=KICK_OFF).headers["content-location"])
    assert files(client, document) == list(FILES.values())
    narrow = with_scopes("system/Patient.rs") | {"Accept": "application/fhir+ndjson"}
    assert [client.get(entry["url"], headers=narrow).status_code for entry in document["output"]] == [
        200,
        403,
        403,
        403,
    ]


@pytest.mark.parametrize(
    ("scopes", "types"),
    [
        ("system/*.rs", None),
        ("system/*.read", None),
        ("system/*.*", None),
        ("system/Patient.cruds system/Observation.r", {"Patient", "Observation"}),
        ("system/Patient.s", set()),
        ("user/Patient.rs openid", set()),
        ("system/Patient.rs system/*.cud", {"Patient"}),
    ],
)
def test_scopes_are_those_of_both_versions(scopes: str, types: set[str] | None) -> None:
    assert readable_types(scopes.split()) == types
