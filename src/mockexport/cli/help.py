"""Help whose options stand in sections, where there are many."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

__all__ = ["CommandWithSections"]


class CommandWithSections(TyperCommand):
    """A command whose options are listed by their `rich_help_panel`: those without one first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the options. Called for --help."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            named = getattr(parameter, "rich_help_panel", None)
            default = "Options" if parameter.param_type_name == "option" else "Arguments"
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(named or default, []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
