"""What the environment says."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from mockexport.settings import Settings, pager_environment


def test_an_empty_environment_means_mock_and_whatever_kernel_there_is() -> None:
    assert Settings.from_environment({}) == Settings(source="mock", kernel="auto", token_file=None)


def test_the_environment_wins_over_the_defaults() -> None:
    environment = {
        "MOCKEXPORT_SOURCE": "http://host:8000",
        "MOCKEXPORT_KERNEL": "pure",
        "MOCKEXPORT_TOKEN_FILE": "secrets/token",
        "MOCKEXPORT_SCHEDULER": "tcp://host:8786",
        "OTHER": "x",
    }
    found = Settings.from_environment(environment)
    assert found == Settings("http://host:8000", "pure", Path("secrets/token"), "tcp://host:8786", source_is_named=True)


def test_the_pager_is_less_unless_another_or_none_is_named() -> None:
    assert Settings.from_environment({}).pager == "less"
    assert Settings.from_environment({"PAGER": "more -s"}).pager == "more -s"
    assert Settings.from_environment({"PAGER": " "}).pager == ""
    assert Settings.from_environment({"PAGER": "more", "TERM": "dumb"}).pager == ""


def test_a_pager_gets_the_options_of_less_that_the_user_has_not_set() -> None:
    assert pager_environment({}) == {"LESS": "FRX", "LESSCHARSET": "utf-8"}
    assert pager_environment({"LESS": "", "HOME": "/"}) == {"LESS": "", "LESSCHARSET": "utf-8", "HOME": "/"}


def test_an_empty_value_counts_as_unset() -> None:
    environment = {"MOCKEXPORT_SOURCE": "", "MOCKEXPORT_KERNEL": "", "MOCKEXPORT_TOKEN_FILE": ""}
    assert Settings.from_environment(environment) == Settings.from_environment({})


def test_the_environment_is_read_when_asked_for_and_not_when_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCKEXPORT_SOURCE", "elsewhere")
    assert Settings.from_environment().source == "elsewhere"


def test_settings_never_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings.from_environment({}).source = "other"  # type: ignore[misc]
