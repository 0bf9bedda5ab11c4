"""What may help against an error is told in the words of whoever is told: arguments, or options."""

from __future__ import annotations

import pickle

import pytest
from tests.import_graph import PACKAGE

from mockexport import MockExportError, UntrustedDataError
from mockexport.cli.remedies import OPTIONS, error_text
from mockexport.errors import Remedy

OPTION = ("--", '"--')


def test_each_remedy_has_an_option_and_names_none_itself() -> None:
    assert set(OPTIONS) == set(Remedy)
    for remedy, option in OPTIONS.items():
        assert "--" not in remedy.value
        assert "--" in option


@pytest.mark.parametrize("remedy", [None, *Remedy])
def test_an_error_can_be_pickled_with_its_remedy(remedy: Remedy | None) -> None:
    error = UntrustedDataError("what, where", remedy=remedy)
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), arrived.message, arrived.remedy) == (UntrustedDataError, "what, where", remedy)
    assert str(arrived) == str(error)


def test_the_message_ends_with_the_argument_for_the_library_and_the_option_for_the_command_line() -> None:
    error = MockExportError("a is malformed", remedy=Remedy.SKIP_MALFORMED)
    assert str(error) == "a is malformed; skip_malformed=True counts the rest"
    assert error_text(error) == "a is malformed; --on-malformed skip counts the rest"
    assert str(MockExportError("alone")) == error_text(MockExportError("alone")) == "alone"


def test_no_message_of_the_library_names_an_option() -> None:
    for file in PACKAGE.rglob("*.py"):
        if "cli" not in file.relative_to(PACKAGE).parts and file.name != "__main__.py":
            code = [line for line in file.read_text(encoding="utf-8").splitlines() if "raise " in line or 'f"' in line]
            assert not [line for line in code if " --" in line or '"--' in line], file
