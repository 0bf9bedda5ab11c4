"""The options that several commands share, as Typer reads them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mockexport.cli.completion import complete_export, complete_source

__all__ = [
    "AllOption",
    "AllowPartialOption",
    "BudgetOption",
    "BundleOption",
    "By",
    "ByOption",
    "ClientIdOption",
    "ClientSecretOption",
    "DelimiterOption",
    "ElementsOption",
    "EndpointOption",
    "ExportArgument",
    "ExportTimeoutOption",
    "Format",
    "FormatOption",
    "IgnoreOption",
    "Invocation",
    "JobsOption",
    "KeyOption",
    "MadeExportArgument",
    "MaxPairsOption",
    "MaxRowBytesOption",
    "MemoryOption",
    "OnMalformed",
    "OnMalformedOption",
    "OutputOption",
    "PagerOption",
    "PatientColumnOption",
    "ProgressOption",
    "QuietOption",
    "ReportOption",
    "ResourceTypesOption",
    "RestartOption",
    "RetriesOption",
    "SchedulerOption",
    "ScopeOption",
    "SinceOption",
    "SourceOption",
    "StateOption",
    "StrictOption",
    "TableOption",
    "TimeColumnOption",
    "TimeoutOption",
    "TokenOption",
    "TypeColumnOption",
    "TypeFilterOption",
    "UnprovenEndOption",
    "UntilOption",
    "ValueColumnOption",
    "VerboseOption",
]

OF_FHIR_SERVERS = "Options for FHIR servers"
MAX_PAIRS_LIMIT = 1_000_000_000  # of the native tally
MAX_ROW_BYTES_LIMIT = (1 << 31) - 1  # as before


class Format(StrEnum):
    """The format of the output."""

    json = "json"
    table = "table"
    csv = "csv"


class By(StrEnum):
    """What FHIR resources are counted by."""

    type = "type"
    category = "category"
    code = "code"


class OnMalformed(StrEnum):
    """What to do with a malformed row."""

    fail = "fail"
    skip = "skip"


ExportArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="EXPORT", autocompletion=complete_export, show_default=False,
        help="The id of the export.  [default: the only one of the source, or demo]",
    ),
]  # fmt: skip
MadeExportArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="EXPORT", autocompletion=complete_export, show_default=False,
        help="The export of the FHIR server: system, patient or group/ID.",
    ),
]  # fmt: skip
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source", "-s", metavar="SOURCE", show_default=False, autocompletion=complete_source,
        help="mock or mock-fhir (generated data), a file, a quoted pattern such as 'data/*.csv', a folder of CSV files "
        "or of a FHIR export, or a URL: fhir+https://… for a FHIR server, s3://, gs:// or az:// for an object store.  "
        "[env: MOCKEXPORT_SOURCE; default: mock]",
    ),
]  # fmt: skip
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, max=1024, metavar="N", show_default=False,
        help="Process N downloads in parallel.  [default: the number of CPUs]",
    ),
]  # fmt: skip
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="ADDRESS", show_default=False,
        help="Run on the Dask cluster with this scheduler, such as tcp://host:8786; needs the [cluster] extra.  "
        "[env: MOCKEXPORT_SCHEDULER]",
    ),
]  # fmt: skip
OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="FILE", show_default=False,
        help="Write the output to FILE, only once it is complete; - is stdout. It may be a URL such as s3://bucket/FILE.",
    ),
]  # fmt: skip
ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="FILE", show_default=False,
        help="Write a report to FILE too: one HTML page with tables and plots, to be read offline or printed.",
    ),
]  # fmt: skip
IgnoreOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore", metavar="GLOB", show_default=False,
        help="Leave out files and folders of these names, such as '*.bak'. May be repeated.",
    ),
]  # fmt: skip
PatientColumnOption = Annotated[
    str | None,
    typer.Option(
        "--patient-column", metavar="NAME", show_default=False,
        help="The column of patients in your files; only this one and that of types are needed then.",
    ),
]  # fmt: skip
TypeColumnOption = Annotated[
    str | None,
    typer.Option(
        "--type-column", metavar="NAME", show_default=False, help="The column of event types in your files."
    ),
]  # fmt: skip
TimeColumnOption = Annotated[
    str | None,
    typer.Option("--time-column", metavar="NAME", show_default=False, help="The column of times in your files."),
]
ValueColumnOption = Annotated[
    str | None,
    typer.Option("--value-column", metavar="NAME", show_default=False, help="The column of values in your files."),
]
DelimiterOption = Annotated[
    str,
    typer.Option(
        "--delimiter", metavar="CHARACTER",
        help="What is between fields: , ; | or tab; auto takes the one that the header has.",
    ),
]  # fmt: skip
ByOption = Annotated[
    By, typer.Option("--by", help="Count FHIR resources by their type, or by their first category or code.")
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="In FHIR resources, check also the values that are not needed to count them."),
]
MaxRowBytesOption = Annotated[
    int,
    typer.Option(
        "--max-row-bytes", min=1, max=MAX_ROW_BYTES_LIMIT, metavar="N",
        help="Fail if a FHIR resource has more than N bytes; this limits memory.",
    ),
]  # fmt: skip
ResourceTypesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--type", metavar="TYPE", show_default=False, rich_help_panel=OF_FHIR_SERVERS,
        help="Export only resources of this type. May be repeated.",
    ),
]  # fmt: skip
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", show_default=False, rich_help_panel=OF_FHIR_SERVERS,
        help="Export only resources that changed since then.",
    ),
]  # fmt: skip
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until", metavar="TIME", show_default=False, rich_help_panel=OF_FHIR_SERVERS,
        help="Export only resources that changed until then.",
    ),
]  # fmt: skip
TypeFilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--type-filter", metavar="QUERY", show_default=False, rich_help_panel=OF_FHIR_SERVERS,
        help="Export only what this search finds, such as 'Observation?status=final'. May be repeated.",
    ),
]  # fmt: skip
ElementsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--elements", metavar="NAME", show_default=False, rich_help_panel=OF_FHIR_SERVERS,
        help="Export only this element. May be repeated.",
    ),
]  # fmt: skip
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state", metavar="FILE", show_default=False, rich_help_panel=OF_FHIR_SERVERS,
        help="Keep in FILE how far the export is, and go on from there.",
    ),
]  # fmt: skip
RestartOption = Annotated[
    bool,
    typer.Option(
        "--restart", rich_help_panel=OF_FHIR_SERVERS, help="Begin another export in place of that in --state."
    ),
]
ExportTimeoutOption = Annotated[
    float,
    typer.Option(
        "--export-timeout", min=0, metavar="SECONDS", show_default=False, rich_help_panel=OF_FHIR_SERVERS,
        help="How long an export may take.  [default: 604800, a week]",
    ),
]  # fmt: skip
ClientIdOption = Annotated[
    str | None,
    typer.Option(
        "--client-id", metavar="ID", show_default=False, rich_help_panel=OF_FHIR_SERVERS,
        help="The id by which a FHIR server knows this client (SMART Backend Services); needs the [smart] extra.",
    ),
]  # fmt: skip
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key", metavar="FILE", show_default=False, rich_help_panel=OF_FHIR_SERVERS,
        help="Sign with the private key in FILE, a JWK or PEM, to get tokens from a FHIR server.",
    ),
]  # fmt: skip
ClientSecretOption = Annotated[
    Path | None,
    typer.Option(
        "--client-secret", metavar="FILE", show_default=False, rich_help_panel=OF_FHIR_SERVERS,
        help="Get tokens from a FHIR server with the secret on the first line of FILE.",
    ),
]  # fmt: skip
ScopeOption = Annotated[
    str,
    typer.Option(
        "--scope", metavar="SCOPES", rich_help_panel=OF_FHIR_SERVERS, help="What a token for a FHIR server is to allow."
    ),
]
AllowPartialOption = Annotated[
    bool,
    typer.Option(
        "--allow-partial", rich_help_panel=OF_FHIR_SERVERS, help="Accept an export in which the server tells of errors."
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format", show_default=False,
        help="The format of the output.  [env, on a terminal: MOCKEXPORT_FORMAT; default: json]",
    ),
]  # fmt: skip
TableOption = Annotated[bool, typer.Option("--table", "-T", help="The same as --format table.")]
AllOption = Annotated[bool, typer.Option("--all", help="Show all rows of a long table.")]
PagerOption = Annotated[
    bool, typer.Option("--no-pager", help="Do not show a long table in a pager.  [env: PAGER names it; default: less]")
]
MaxPairsOption = Annotated[
    int,
    typer.Option(
        "--max-pairs", min=1, max=MAX_PAIRS_LIMIT, metavar="N",
        help="Fail if there are more than N distinct pairs of patient and type; this limits memory.",
    ),
]  # fmt: skip
OnMalformedOption = Annotated[
    OnMalformed,
    typer.Option("--on-malformed", help="Fail at the first malformed row, or skip malformed rows and report how many."),
]
MemoryOption = Annotated[
    str,
    typer.Option(
        "--memory", metavar="SIZE", help="How much memory to use for sorting; the rest is in temporary files."
    ),
]
ProgressOption = Annotated[
    bool | None,
    typer.Option(
        "--progress/--no-progress", show_default=False,
        help="Show progress on stderr or not.  [default: show it on a terminal]",
    ),
]  # fmt: skip
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors to stderr.")]


@dataclass
class Invocation:
    """What app.py needs to know if a command fails; the `obj` of Typer's context."""

    verbose: bool = False


def _note_verbose(ctx: typer.Context, verbose: bool) -> bool:
    invocation = ctx.find_object(Invocation)
    if invocation and verbose:
        invocation.verbose = True
    return verbose


VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v",
        is_eager=True,  # so that it is known if another option is invalid
        callback=_note_verbose,
        help="Print more to stderr, and a traceback if there is an error.",
    ),
]  # fmt: skip


TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0.001,
        metavar="SECONDS",
        help="How long to wait for a response, or for the next bytes of its body.",
    ),
]
RetriesOption = Annotated[
    int,
    typer.Option(
        "--retries", min=0, max=1000, metavar="N", help="How often to retry a request that makes no progress."
    ),
]
BudgetOption = Annotated[
    float,
    typer.Option(
        "--retry-budget", min=0, metavar="SECONDS", help="The total time that all attempts at one download may take."
    ),
]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE", show_default=False,
        help="Send the first line of FILE to the server as a bearer token.  [env: MOCKEXPORT_TOKEN_FILE]",
    ),
]  # fmt: skip
BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-bundle", metavar="FILE", show_default=False,
        help="Trust the CA certificates in FILE instead of the default ones.",
    ),
]  # fmt: skip
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint", metavar="URL", show_default=False,
        help="The server of an object store that is not the cloud's own, such as http://localhost:9000.  "
        "[env: AWS_ENDPOINT_URL and its like]",
    ),
]  # fmt: skip
UnprovenEndOption = Annotated[
    bool,
    typer.Option(
        "--allow-unproven-end",
        help="Accept a response without a length, a last chunk and a declared number of rows, which may be incomplete.",
    ),
]
