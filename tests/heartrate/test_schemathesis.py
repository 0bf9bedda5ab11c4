"""Whatever the description at /openapi.json allows, and what it doesn't: no 500, and only the statuses it tells of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
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


OURS = "^/(v1/metrics|metrics|health)"


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The description of a real server, which stays up meanwhile."""
    with kept(tmp_path_factory.mktemp("readings")) as (client, _):
        yield schemathesis.openapi.from_url(f"{client.base_url}/openapi.json").include(path_regex=OURS)


@pytest.mark.parametrize("tries", [10, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", MODES)
def test_no_request_brings_a_500_or_an_answer_that_is_not_described(
    schema: Any, mode: GenerationMode, tries: int
) -> None:
    tried: Counter[str] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=tries, suppress_health_check=list(HealthCheck))
        def ask(case: Any) -> None:
            response = case.call()
            case.validate_response(response, checks=CHECKS)
            tried[case.operation.label] += 1

        if mode is GenerationMode.POSITIVE or operation.body or operation.query:
            ask()
    assert len(tried) == (14 if mode is GenerationMode.POSITIVE else 8)
