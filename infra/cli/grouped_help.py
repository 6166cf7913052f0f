"""The text of ``--help``: examples first, then the options that most people need, then the others by what they are for.

The groups of rich help are not used, as rich takes three times as long to start."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = "Parts of the app"
OUTPUT = "Output"
LOST = "Servers that are lost"
RECORDS = "Locks, records and rollbacks"
FLEETS = "Large fleets"
ORDER = (OUTPUT, PARTS, LOST, RECORDS, FLEETS)
"""The groups of options, after the one without a name, and in this order."""

_BETWEEN = re.compile(r"(\d+)<=x<=(\d+)")
_RANGE = re.compile(r"; x>=\d+|  \[x>=\d+\]")
_DEFAULT = re.compile(r"\[default: \(([^\]]*)\)\]")


class Command(TyperCommand):
    """A command whose help has groups, by ``rich_help_panel`` of each option. Its epilog are examples, one a line."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the command does, and the examples."""
        super().format_help_text(ctx, formatter)
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write nothing: the examples come first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then each group of options."""
        _write(self.get_params(ctx), ctx, formatter)


class Group(TyperGroup):
    """A command with subcommands."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, then the subcommands."""
        _write(self.get_params(ctx), ctx, formatter)
        self.format_commands(ctx, formatter)


def _write(parameters: list[Any], context: Any, formatter: Any) -> None:
    for title, rows in _groups(parameters, context):
        with formatter.section(title):
            formatter.write_dl(rows, col_max=24)


def _groups(parameters: list[Any], context: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    found: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Arguments", "Options", *ORDER)}
    for parameter in parameters:
        record = parameter.get_help_record(context)
        if record is not None:
            kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
            title = getattr(parameter, "rich_help_panel", None) or kind
            name, text = record
            # The parentheses tell a description from a value, which no reader needs.
            text = _BETWEEN.sub(r"\1 to \2", _RANGE.sub("", text))
            found[title].append((name, _DEFAULT.sub(r"[default: \1]", text).rstrip(".")))
    return ((title, rows) for title, rows in found.items() if rows)


def use(app: typer.Typer) -> None:
    """Let the commands of ``app``, and of its groups, have this help."""
    for command in app.registered_commands:
        command.cls = Command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            group.cls = Group
            use(group.typer_instance)
