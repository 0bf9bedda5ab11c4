"""The public face of the library: its names, signatures and fields, spelled out. A change here breaks users' code."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import inspect
from pathlib import Path
from typing import Any

import pytest

import mockexport
from mockexport import MockExportError

README = Path(__file__).parent.parent / "README.md"

FUNCTIONS = {
    "open_place": """(
        name: str | Path, *, endpoint: str | None = None, timeout: float = 30.0, retries: int = 5,
        retry_budget: float = 300.0, ca_bundle: str | Path | None = None) -> Place""",
    "open_source": """(
        name: str | Path = 'mock', *, kernel: str = 'auto', timeout: float = 30.0, retries: int = 5,
        retry_budget: float = 300.0, token: str | None = None, ca_bundle: str | Path | None = None,
        allow_unproven_end: bool = False, ignore: Sequence[str] = (), fhir: FhirExport | None = None,
        endpoint: str | None = None) -> Source""",
    "count": """(
        source: Source, export: str = 'demo', *, skip_malformed: bool = False, max_pairs: int = 10000000,
        kernel: str = 'auto', csv: CsvFormat = CsvFormat(
            patient_column=None, type_column=None, delimiter=None, time_column=None, value_column=None),
        fhir: FhirFormat = FhirFormat(by='type', strict=False, max_row_bytes=16777216),
        start_workers: StartWorkers = thread_workers, on_progress: OnProgress | None = None,
        on_listing: OnListing | None = None, checkpoint: Checkpoint | None = None) -> Counts""",
    "fetch": """(
        source: Source, export: str, root: Place, *, max_pairs: int = 10000000, kernel: str = 'auto',
        csv: CsvFormat = CsvFormat(
            patient_column=None, type_column=None, delimiter=None, time_column=None, value_column=None),
        fhir: FhirFormat = FhirFormat(by='type', strict=False, max_row_bytes=16777216),
        start_workers: StartWorkers = thread_workers, on_progress: OnProgress | None = None,
        on_listing: OnListing | None = None, restart: bool = False) -> list[Fetched]""",
    "statistics": """(
        source: Source, export: str = 'demo', *, now: datetime | None = None,
        ranges: Mapping[str, tuple[float | None, float | None]] | None = None,
        patients: Collection[str] | None = None, suppress_below: int = 0, skip_malformed: bool = False,
        max_pairs: int = 1000000, memory: int = 268435456, kernel: str = 'auto', csv: CsvFormat = CsvFormat(
            patient_column=None, type_column=None, delimiter=None, time_column=None, value_column=None),
        fhir: FhirFormat = FhirFormat(by='type', strict=False, max_row_bytes=16777216),
        start_workers: StartWorkers = thread_workers, on_progress: OnProgress | None = None,
        on_listing: OnListing | None = None) -> Statistics""",
    "reconcile": """(source: Source, export: str = 'demo', *, allow: Collection[str] = (), deny: Collection[str] = (),
        by_patient: bool = False, ask_server: bool = False, memory: int = 268435456, jobs: int | None = None,
        max_pairs: int = 10000000, kernel: str = 'auto', csv: CsvFormat = CsvFormat(
            patient_column=None, type_column=None, delimiter=None, time_column=None, value_column=None),
        fhir: FhirFormat = FhirFormat(by='type', strict=False, max_row_bytes=16777216),
        start_workers: StartWorkers = thread_workers, on_progress: OnProgress | None = None,
        on_listing: OnListing | None = None) -> Certificate""",
    "compare": "(committed: Committed, counts: Counts) -> list[Difference]",
    "read_committed": "(document: Any) -> Committed",
    "summarise": "(export: str, downloads: Iterable[Download]) -> Export",
    "thread_workers": """(
        source: Source, tasks: int, rows: int = 0, *, jobs: int | None = None) -> Generator[Workers, None, None]""",
    "process_workers": """(
        source: Source, tasks: int, rows: int = 0, *, jobs: int | None = None) -> Generator[Workers, None, None]""",
    "cluster_workers": """(
        source: Source, tasks: int, rows: int = 0, *, scheduler: str, timeout: float = 30.0
        ) -> Generator[Workers, None, None]""",
}
FIELDS = {
    "Committed": "patients totals left_out unassigned",
    "Counts": "patients left_out unassigned",
    "Certificate": "source export begun ended downloads records patients distinct findings accepted asked by_patient "
    "deleted",
    "Finding": "code severity count places by",
    "CsvFormat": "patient_column type_column delimiter time_column value_column",
    "Difference": "patient event_type expected actual left_out unassigned figure",
    "Download": "export id rows event_types patients start_time end_time size etag split_size format base",
    "Export": "id downloads rows patients event_types start_time end_time",
    "FhirExport": "types since until type_filters elements state restart timeout allow_partial "
    "client_id key client_secret scope",
    "FhirFormat": "by strict max_row_bytes",
    "Fetched": "id file rows bytes sha256",
    "Split": "download id begin stop header size",
    "Statistics": "patients totals all left_out unassigned suppressed",
    "Subject": "source export skip_malformed csv fhir",
}
MEMBERS = {  # of the other classes: what users may call
    "CancelToken": "cancel cancelled on_cancel",
    "Checkpoint": "__enter__ __exit__ close count nameless",
    "ProgressCounters": "rows bytes retries kept_rows kept_bytes status running finished unfinished",
    "Place": "name parent absolute exists is_dir is_file iterdir",
    "Remedy": "",  # its members are those that errors carry
    "Source": "name exports downloads open close",
    "Workers": "counters submit cancel",
}
ERRORS = {
    "MockExportError": (Exception, 70),
    "UsageError": (MockExportError, 2),
    "NotFoundError": (MockExportError, 3),
    "NotAuthorisedError": (MockExportError, 4),
    "UnreachableError": (MockExportError, 5),
    "NotResumableError": (mockexport.UnreachableError, 5),
    "UntrustedDataError": (MockExportError, 6),
    "ChangedError": (mockexport.UntrustedDataError, 6),
    "MissingError": (mockexport.UntrustedDataError, 6),
}
ALIASES = {
    "OnListing": "Callable[[int, int | None], None]",
    "OnProgress": "Callable[[Sequence[Download | Split], ProgressCounters], None]",
    "StartWorkers": "Callable[[Source, int, int], AbstractContextManager[Workers]]",
}
# The types of others that stand in the signatures above; every other type is public.
TYPES = "Any Callable Collection Generator Iterable Mapping Sequence AbstractContextManager Path datetime"
TYPES += " str int float bool list tuple type"


def test_the_public_names_are_these() -> None:
    names = {"__version__", *FUNCTIONS, *FIELDS, *MEMBERS, *ERRORS, *ALIASES}
    assert set(mockexport.__all__) == names
    assert sorted(mockexport.__all__) == mockexport.__all__
    assert dir(mockexport) == mockexport.__all__
    with pytest.raises(AttributeError, match="'mockexport' has no attribute 'nonsense'"):
        _ = mockexport.nonsense


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_this_signature(name: str) -> None:
    signature = inspect.signature(getattr(mockexport, name))
    parameters = [
        parameter.replace(default=Name(parameter.default.__name__))
        if inspect.isfunction(parameter.default)
        else parameter
        for parameter in signature.parameters.values()
    ]
    shown = str(signature.replace(parameters=parameters)).replace("'", "")
    assert plain(shown) == plain(FUNCTIONS[name]).replace("'", "")


class Name(str):
    """A default value that is shown as its name."""

    __slots__ = ()
    __repr__ = str.__str__


def plain(signature: str) -> str:
    return " ".join(signature.split()).replace("( ", "(").replace(" )", ")")


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_has_these_fields_and_cannot_be_changed(name: str) -> None:
    value: Any = getattr(mockexport, name)
    assert " ".join(field.name for field in dataclasses.fields(value)) == FIELDS[name]
    assert value.__dataclass_params__.frozen


@pytest.mark.parametrize("name", MEMBERS)
def test_a_class_has_these_members(name: str) -> None:
    for member in MEMBERS[name].split():
        assert getattr(mockexport, name).__dict__[member].__doc__ or member.startswith("__"), member


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_has_this_base_and_exit_code(name: str) -> None:
    error = getattr(mockexport, name)
    assert (error.__bases__, error.exit_code) == ((ERRORS[name][0],), ERRORS[name][1])


@pytest.mark.parametrize("name", ALIASES)
def test_a_type_alias_stands_for_this(name: str) -> None:
    assert getattr(mockexport, name) == ALIASES[name]


@pytest.mark.parametrize("name", [*FUNCTIONS, *ALIASES])
def test_a_signature_names_public_types_only(name: str) -> None:
    text = ALIASES.get(name) or f"def f{FUNCTIONS[name]}: ..."
    types = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert types <= {*mockexport.__all__, *TYPES.split()}


@pytest.mark.parametrize("name", sorted({*FUNCTIONS, *FIELDS, *MEMBERS, *ERRORS}))
def test_a_public_name_is_documented(name: str) -> None:
    assert getattr(mockexport, name).__doc__


def test_the_examples_in_the_readme_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(README), module_relative=False, encoding="utf-8")
    assert result.attempted > 5
    assert result.failed == 0


def test_the_examples_in_the_readme_import_the_public_face_only() -> None:
    lines = [line.strip().removeprefix(">>> ") for line in README.read_text(encoding="utf-8").splitlines()]
    imports = [line.split()[1] for line in lines if line.startswith("from mockexport")]
    assert imports
    assert set(imports) == {"mockexport"}
