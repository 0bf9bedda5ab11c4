"""The tree of errors: exit codes, travel, suggestions."""

from __future__ import annotations

import pickle

import pytest

from mockexport import errors
from mockexport.errors import MockExportError, listed, no_such, suggestion, url_meant
from mockexport.tally import Malformed

EXIT_CODES = {
    "MockExportError": 70,
    "UsageError": 2,
    "NotFoundError": 3,
    "NotAuthorisedError": 4,
    "UnreachableError": 5,
    "NotResumableError": 5,
    "UntrustedDataError": 6,
    "ChangedError": 6,
    "MissingError": 6,
}
ALL_ERRORS: list[type[MockExportError]] = [getattr(errors, name) for name in EXIT_CODES]


def test_each_branch_of_the_tree_has_its_exit_code() -> None:
    assert {error.__name__: error.exit_code for error in ALL_ERRORS} == EXIT_CODES
    assert {name for name in errors.__all__ if name.endswith("Error")} == EXIT_CODES.keys()


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_an_error_survives_a_trip_to_another_process(kind: type[MockExportError]) -> None:
    back = pickle.loads(pickle.dumps(kind("no export 'x' in mock")))
    assert type(back) is kind
    assert str(back) == "no export 'x' in mock"


def test_a_malformed_row_survives_a_trip_to_another_process() -> None:
    back = pickle.loads(pickle.dumps(Malformed(7, "bad quote")))
    assert (back.line, back.reason, str(back)) == (7, "bad quote", "line 7: bad quote")


def test_a_typo_gets_the_nearest_name_as_a_suggestion() -> None:
    error = no_such("export", "demmo", "mock", ["demo", "small", "large"])
    assert str(error) == "no export 'demmo' in mock; did you mean 'demo'?"
    assert error.exit_code == 3


def test_a_name_in_capitals_is_like_the_known_one() -> None:
    assert suggestion("JSON", ["json", "csv"]) == "; did you mean 'json'?"
    assert suggestion("trial", ["TRIAL"]) == "; did you mean 'TRIAL'?"
    assert suggestion("xml", ["json", "csv"]) == ""


def test_a_list_ends_as_that_of_a_sentence() -> None:
    assert [listed("abc"[:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert listed(["json", "csv"], "or") == "json or csv"


@pytest.mark.parametrize("address", ["localhost:8000", "host:8000", "10.0.0.1:80", "[::1]:8000", "a-b.org:443/exports"])
def test_an_address_with_a_port_may_have_been_meant_as_a_url(address: str) -> None:
    assert url_meant(address) == f"http://{address}"


@pytest.mark.parametrize("text", ["", "mock", "exports", "./a:8000b", "C:/exports", "http://host:8000", "host:", ":80"])
def test_other_names_are_not_meant_as_urls(text: str) -> None:
    assert url_meant(text) is None


def test_a_name_like_no_other_gets_the_first_few_of_those_that_there_are() -> None:
    assert str(no_such("export", "x", "mock", ["demo", "small"])) == "no export 'x' in mock; it has demo, small"
    many = [f"trial{number}" for number in range(100)]
    assert str(no_such("export", "x", "mock", many)).endswith(
        "it has trial0, trial1, trial2, trial3, trial4, trial5, …"
    )


def test_a_name_in_an_empty_place_is_told_that_there_are_none() -> None:
    assert str(no_such("download", "x", "trial", [])) == "no download 'x' in trial; it has none"


@pytest.mark.parametrize("name", ["two\nlines", "tab\there", "\x1b[31mred", "\udcff"])
def test_a_name_that_would_garble_the_message_is_escaped(name: str) -> None:
    assert str(no_such("export", name, "mock", [])).isprintable()
