"""Whatever the description at /openapi.json allows, and what it doesn't: no 500, and only the statuses it tells of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.heartrate.serving import kept

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.gate

OURS = "^/(v1/metrics|metrics|health)"


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The description of a real server, which stays up meanwhile."""
    import schemathesis  # late: to import it takes a second

    with kept(tmp_path_factory.mktemp("readings")) as (client, _):
        yield schemathesis.openapi.from_url(f"{client.base_url}/openapi.json").include(path_regex=OURS)


@pytest.mark.parametrize("tries", [10, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_no_request_brings_a_500_or_an_answer_that_is_not_described(schema: Any, mode: str, tries: int) -> None:
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    answers_as_described = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    tried: Counter[str] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
        @settings(max_examples=tries, suppress_health_check=list(HealthCheck))
        def ask(case: Any) -> None:
            response = case.call()
            case.validate_response(response, checks=answers_as_described)
            tried[case.operation.label] += 1

        if mode == "positive" or operation.body or operation.query:
            ask()
    assert len(tried) == (14 if mode == "positive" else 8)
