"""Whatever the description at /openapi.json allows, and what it doesn't: no 500, and only the statuses it tells of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.heartrate.serving import kept

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The description of a real server, which stays up meanwhile."""
    with kept(tmp_path_factory.mktemp("readings")) as (client, _):
        config = schemathesis.Config.from_dict({"generation": {"modes": ["positive", "negative"]}})
        yield schemathesis.openapi.from_url(f"{client.base_url}/openapi.json", config=config).include(
            path_regex="^/(metrics|health)"
        )


cases = schemathesis.pytest.from_fixture("schema")


@cases.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_no_request_brings_a_500_or_a_status_that_is_not_told(case: Any) -> None:
    response = case.call()
    if response.status_code not in (405, 406, 422) or case.method == case.operation.method.upper():
        case.validate_response(response, checks=CHECKS)
    assert response.status_code < 500, response.text
