"""The options for FHIR servers, as Typer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AllowPartialOption",
    "ClientIdOption",
    "ClientSecretOption",
    "ElementsOption",
    "ExportTimeoutOption",
    "KeyOption",
    "ResourceTypesOption",
    "RestartOption",
    "ScopeOption",
    "SinceOption",
    "StateOption",
    "TypeFilterOption",
    "UntilOption",
]

OF_FHIR_SERVERS = "Options for FHIR servers"

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
