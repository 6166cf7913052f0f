"""``dynoctl validate``: report every error of the manifest at once; with --online, check databases and caches too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli import fail
from infra.cli.options import AsJson, Destination, File
from infra.errors import ERROR, INVALID_MANIFEST, UNREACHABLE, ManifestInvalid

if TYPE_CHECKING:
    from infra.errors import Diagnostic
    from infra.manifest.model import Manifest
    from infra.model.stack import Stack

Online = Annotated[
    bool,
    typer.Option("--online", help="Also connect to databases and caches from every server"),
]


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("validate", short_help="Check the manifest.")(validate)


def validate(
    file: File = Path("dyno.yaml"), destination: Destination = None, online: Online = False, as_json: AsJson = False
) -> None:
    """Check the manifest, and warn of what is likely wrong with the app's bundle and its secrets. Needs no network,
    except with --online, which connects from every server to the databases and caches and changes nothing."""
    from infra.manifest import check
    from infra.registry import Everything

    manifest, diagnostics = check(file, destination)
    if manifest is not None and manifest.impossible:
        diagnostics = manifest.impossible
        manifest = None
    program = ""
    if manifest is not None:
        try:
            stack = Everything().stack(manifest)
            program = stack.program
            diagnostics = (*manifest.warnings, *warnings(manifest, stack))
        except ManifestInvalid as error:
            manifest, diagnostics = None, error.diagnostics
    if manifest is None and not as_json:
        raise ManifestInvalid(diagnostics)
    if as_json:
        from infra.views import json_text

        document: dict[str, object] = {"format_version": 1, "valid": manifest is not None}
        document["diagnostics"] = [diagnostic.as_json() for diagnostic in diagnostics]
        code = INVALID_MANIFEST if manifest is None else 0
        if manifest is not None and online:
            code = _online(manifest, program, document)
        typer.echo(json_text.indented(document))
        raise typer.Exit(code)
    assert manifest is not None  # noqa: S101  # for mypy
    if diagnostics:
        fail.diagnose(diagnostics)
    dynos = sum(type_.count for type_ in manifest.dynos.values())
    servers = len(manifest.servers)
    typer.echo(
        f"{file} is valid: {manifest.app.name}, {dynos} dyno{'' if dynos == 1 else 's'} "
        f"on {servers} server{'' if servers == 1 else 's'}."
    )
    if online:
        raise typer.Exit(_online(manifest, program, None))


def warnings(manifest: Manifest, stack: Stack) -> list[Diagnostic]:
    """What is likely wrong with a valid manifest, located in it."""
    from dataclasses import replace

    from infra.manifest.missing_files import missing
    from infra.manifest.references import located

    found = located(manifest, [*stack.warnings, *missing(manifest)])
    return [replace(diagnostic, severity="warning") for diagnostic in found]


def _online(manifest: Manifest, program: str, document: dict[str, object] | None) -> int:
    """Check from every server, then print the results or add them to ``document``; return the exit code."""
    from infra.ops.connectivity import ask
    from infra.views import online
    from infra.views.style import Style, wanted

    answers, lost = ask(manifest, program)
    if document is None:
        typer.echo(online.table(answers, Style(wanted(sys.stdout))))
        for summary in lost.values():
            fail.complain(summary)
    else:
        document["online"] = online.document(answers, lost)
    if lost:
        return UNREACHABLE
    return 0 if all(answer.ok for answer in answers) else ERROR
