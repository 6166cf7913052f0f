"""``dynoctl config get``, ``set`` and ``unset``: the variables of the app, in ``env:`` of the manifest."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli import assignments, fail
from infra.cli.options import AsJson, Destination, FileIfGiven
from infra.errors import DynoctlError, ManifestInvalid
from infra.manifest.suggestions import nearest

LARGEST = 1 << 20
"""Maximum size of a secret, in bytes."""

NoPlan = Annotated[bool, typer.Option("--no-plan", help="Edit the file and contact no server")]

_SENSITIVE = r"SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|PRIVATE|(?:API|ACCESS|MASTER|ENCRYPTION)_?KEY"


def register(group: typer.Typer) -> None:
    """Register the commands with ``group``."""
    group.command("get", short_help="Print config vars.")(get)
    group.command("set", short_help="Set config vars in dyno.yaml, or a secret, and show the plan.")(set_)
    group.command("unset", short_help="Remove config vars from dyno.yaml, and show the plan.")(unset)


def get(
    context: typer.Context,
    keys: Annotated[
        list[str] | None, typer.Argument(help="Variables to print", metavar="KEY...", show_default="all")
    ] = None,
    file: FileIfGiven = None,
    destination: Destination = None,
    as_json: AsJson = False,
) -> None:
    """Print the variables in env: of the manifest. One variable is printed without its name. Of a secret, only the
    reference is printed."""
    file, destination, as_json = _given(context, file, destination, as_json)
    from infra import manifest
    from infra.manifest.overlays import load_all
    from infra.views import config as view

    manifest.read(file, destination)
    document, _, _ = load_all(file, destination)
    found: dict[str, Any] = {}
    for entry in view.values(document):
        _, _, rest = str(entry["path"]).partition("env/")
        if str(entry["path"]) == f"env/{rest}":
            key, _, kind = rest.partition("/")
            if not kind:
                found[key] = entry["value"]
            elif re.fullmatch(r"from_command/\d+", kind):
                found.setdefault(key, {"from_command": []})["from_command"].append(entry["value"])
            else:
                found[key] = {kind: entry["value"]}
    chosen = {key: found[key] for key in _known(keys or (), found, file, destination)} if keys else found
    if as_json:
        from infra.views import json_text

        typer.echo(json_text.indented({"format_version": 1, "env": chosen}, ascii_only=False))
        return
    from infra.views.style import printable

    for key, value in chosen.items():
        text = printable(value if isinstance(value, str) else _flow(value))
        typer.echo(text if len(keys or ()) == 1 else f"{key}={text}")


def set_(
    context: typer.Context,
    variables: Annotated[list[str], typer.Argument(help="Variables to set", metavar="KEY=VALUE...")],
    secret: Annotated[
        bool, typer.Option("--secret", help="Read the value of KEY from stdin, and keep it in .dyno/secrets")
    ] = False,
    generate: Annotated[
        bool, typer.Option("--generate", help="Generate a secret for KEY once, and keep it in .dyno/secrets")
    ] = False,
    no_plan: NoPlan = False,
    file: FileIfGiven = None,
    destination: Destination = None,
    as_json: AsJson = False,
) -> None:
    """Set variables in env: of the manifest, and show the plan. Nothing else in the file is changed, and no server is
    changed until dynoctl apply. With -d the overlay is edited. With --secret, the manifest gets a reference, and the
    value is written to .dyno/secrets; so is a random one of 64 bytes with --generate. It is never shown."""
    file, destination, as_json = _given(context, file, destination, as_json)
    from infra.manifest.env_edit import scalar

    _current(file, destination)
    if secret and generate:
        raise DynoctlError("--secret and --generate cannot be combined", "remove one of them")
    if secret or generate:
        entries = _secret(variables, file, destination, generate=generate)
    else:
        values = assignments.pairs(variables)
        for key in values:
            _refuse_name(key)
        _refuse_references(values, file, destination)
        for summary, hint in assignments.warnings(values):
            fail.say(f"warning: {summary}")
            fail.say(f"hint: {hint}")
        for key in values:
            if re.search(_SENSITIVE, key, re.IGNORECASE):
                typer.echo(f"warning: {key} is in {file.name} as plain text", err=True)
                typer.echo(f"hint: for a secret: dynoctl config set {key} --secret", err=True)
        entries = {key: scalar(value) for key, value in values.items()}
    _edit(file, destination, entries)
    _plan(file, destination, as_json, no_plan)


def unset(
    context: typer.Context,
    keys: Annotated[list[str], typer.Argument(help="Variables to remove", metavar="KEY...")],
    no_plan: NoPlan = False,
    file: FileIfGiven = None,
    destination: Destination = None,
    as_json: AsJson = False,
) -> None:
    """Remove variables from env: of the manifest, and show the plan. With -d, the overlay is edited: a variable of the
    base manifest is set to null there. A value in .dyno/secrets stays."""
    file, destination, as_json = _given(context, file, destination, as_json)
    _known(keys, _current(file, destination), file, destination)
    _edit(file, destination, dict.fromkeys(keys))
    _plan(file, destination, as_json, no_plan)


def _given(
    context: typer.Context, file: Path | None, destination: str | None, as_json: bool
) -> tuple[Path, str | None, bool]:
    """The options, which may come before or after the subcommand."""
    outer = context.parent.params if context.parent is not None else {}
    return (
        file or outer.get("file") or Path("dyno.yaml"),
        destination or outer.get("destination"),
        as_json or bool(outer.get("as_json")),
    )


def _current(file: Path, destination: str | None) -> Mapping[str, Any]:
    """The variables of the manifest by name; an ``env:`` without a value has none. Raises ManifestInvalid."""
    from infra import manifest

    try:
        return manifest.read(file, destination).env
    except ManifestInvalid as error:
        if [one.summary for one in error.diagnostics] != ["env is empty"]:
            raise
        return {}


def _known(keys: Sequence[str], found: Mapping[str, Any], file: Path, destination: str | None) -> Sequence[str]:
    """The keys. Raises DynoctlError for one that is not set."""

    for key in keys:
        if key not in found:
            if "=" in key:
                raise DynoctlError(
                    f"invalid name of a variable: {key.partition('=')[0]}=...", "leave out the = and the value"
                )
            suggestion = nearest(key, [*found])
            hint = (
                f"did you mean {suggestion}?"
                if suggestion
                else f"available: {', '.join(found)}"
                if found
                else "env: is empty"
            )
            overlay = f" and its overlay {destination}" if destination else ""
            raise DynoctlError(f"{key} is not set in env: of {file}{overlay}", hint)
    return keys


def _refuse_name(key: str) -> None:
    from infra.manifest.variables import refused

    if not re.fullmatch(assignments.NAME, key):
        raise DynoctlError(
            f"invalid name of a variable: {key!r}", "use letters, digits and underscores, not starting with a digit"
        )
    reason = refused(key)
    if reason:
        raise DynoctlError(f"{key} cannot be set in env", reason)


def _refuse_references(values: Mapping[str, str], file: Path, destination: str | None) -> None:
    """Raise DynoctlError before a reference to a secret is replaced by plain text."""
    from infra.manifest.model import Reference

    current = _current(file, destination)
    for key in values:
        old = current.get(key)
        if isinstance(old, Reference):
            hint = f"dynoctl config set {key} --secret" if old.kind == "from_env" else f"edit env: of {file} by hand"
            raise DynoctlError(f"{key} is a secret: {_reference(old)}", f"to change its value: {hint}")


def _secret(words: Sequence[str], file: Path, destination: str | None, *, generate: bool) -> dict[str, str | None]:
    """Write the secret to its file; what the manifest must say about it, if that is not there yet."""
    from secrets import token_hex

    from infra.manifest import secrets_edit, secrets_file
    from infra.manifest.model import Reference
    from infra.manifest.previews import split

    if len(words) != 1 or "=" in words[0]:
        key = words[0].partition("=")[0]
        option = "--generate" if generate else "--secret"
        summary = (
            "a secret on the command line is in the shell's history" if "=" in words[0] else f"{option} takes one KEY"
        )
        does = "generates the value" if generate else "reads the value from the terminal or from stdin"
        raise DynoctlError(summary, f"dynoctl config set {key} {option} {does}")
    key = words[0]
    _refuse_name(key)
    old = _current(file, destination).get(key)
    if isinstance(old, Reference) and old.kind != "from_env":
        raise DynoctlError(f"{key} is {_reference(old)}, and not in .dyno/secrets", "change the value at its source")
    name = str(old.value) if isinstance(old, Reference) else key
    base, destination = file.resolve().parent, split(destination)[0]
    if generate and name in secrets_file.own(base, destination):
        stored, command = secrets_file.path_of(base, destination).name, f"dynoctl config set {key} --secret"
        command += f" -d {destination}" if destination else ""
        fail.say(f".dyno/{stored}: {name} is kept; to replace it: {command}")
    else:
        value = token_hex(64) if generate else _read_secret(key)
        written = secrets_edit.write(base, destination, name, value)
        typer.echo(f".dyno/{written.name}: {name} is set", err=True)
    return {} if isinstance(old, Reference) else {key: f"{{from_env: {name}}}"}


def _read_secret(key: str) -> str:
    if sys.stdin.isatty():
        from infra.remote.prompt import ask

        try:
            value = ask(f"Value of {key}: ")
        except EOFError:  # Ctrl-D
            value = ""
        except UnicodeError:
            raise DynoctlError(f"the value of {key} is not text", "keep it in a file: {from_file: PATH}") from None
    else:
        value = sys.stdin.read(LARGEST + 1).removesuffix("\n").removesuffix("\r")
    if not value:
        raise DynoctlError(f"the value of {key} is empty", "type it, or pass it on stdin")
    if len(value.encode(errors="replace")) > LARGEST:
        raise DynoctlError(f"the value of {key} is larger than 1 MiB", "keep it in a file: {from_file: PATH}")
    return value


def _reference(reference: Any) -> str:
    source = reference.value
    return _flow({reference.kind: list(source) if isinstance(source, tuple) else source})


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _edit(file: Path, destination: str | None, entries: Mapping[str, str | None]) -> None:
    """Set the entries in the last file of the manifest; None removes one. It is put back if it becomes invalid."""
    from infra import manifest
    from infra.manifest.env_edit import own_variables, set_variable, unset_variable
    from infra.manifest.overlays import load_all
    from infra.manifest.rewrite import rewrite

    document, _, files = load_all(file, destination)
    path, below = files[-1], [part.data for part in getattr(document, "parts", ())[:-1]]
    old = path.read_bytes()
    mark = b"\xef\xbb\xbf" if old.startswith(b"\xef\xbb\xbf") else b""
    text = original = old.decode("utf-8-sig")
    if below and re.search(r"^env: *(null|~)", text, re.MULTILINE | re.IGNORECASE):
        raise DynoctlError(
            f"env: in {path.name} removes all variables of the manifest below it", f"edit env: of {path} by hand"
        )
    for key, entry in entries.items():
        inherited = any(isinstance(data, dict) and key in (data.get("env") or {}) for data in below)
        if entry is not None:
            text = set_variable(text, key, entry, str(path))
        elif inherited:
            text = set_variable(text, key, "null", str(path))
        elif key in own_variables(text, str(path)):
            text = unset_variable(text, key, str(path))
    if text == original:
        typer.echo(f"{path.name} is unchanged.", err=True)
        return
    new = mark + text.encode()
    rewrite(path, old, new)
    _, problems = manifest.check(file, destination)
    if problems:
        rewrite(path, new, old)
        raise ManifestInvalid(problems)
    for key, entry in entries.items():
        typer.echo(f"{path.name}: {key} is {'removed' if entry is None else 'set'}", err=True)


def _plan(file: Path, destination: str | None, as_json: bool, no_plan: bool) -> None:
    if no_plan:
        if as_json:
            from infra.views import json_text

            typer.echo(json_text.indented({"format_version": 1, "ok": True}))
        return
    from infra.cli.plan import plan

    plan(file, destination, as_json=as_json)
