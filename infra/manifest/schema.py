"""Check a document against the JSON Schema, and turn violations into diagnostics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from infra.errors import Diagnostic
from infra.manifest import foreign_keys, masking, spellings, type_hints
from infra.manifest.document import Document, Path, masked
from infra.manifest.suggestions import nearest
from schemas import load

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}
MANY = 12
"""More keys than this are not listed if there is a hint."""


def check(document: Document) -> Iterator[Diagnostic]:
    """Every violation, with the location of its key or value."""
    validator = _validator()(load("dyno.schema.json"))
    for error in validator.iter_errors(document.data):
        yield from _explain(document, error, tuple(error.absolute_path))


@cache
def _validator() -> Any:
    """A JSON Schema validator with two differences: 2.0 is not an integer, and ``$`` matches only at the very end."""
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    def pattern(validator: Any, rule: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", rule), instance):
            yield ValidationError(f"{instance!r} does not match {rule!r}")

    def is_integer(checker: Any, instance: Any) -> bool:
        return isinstance(instance, int) and not isinstance(instance, bool)

    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", is_integer)
    return extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {"pattern": pattern}, type_checker=types
    )


def _explain(document: Document, error: ValidationError, path: Path) -> Iterator[Diagnostic]:
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    expected = str(schema.get("x-expected", ""))
    rule: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            yield from _unknown(document, error.instance, schema, path)
        case "required":
            missing = re.match(r"'(.+)' is a required", error.message)
            name = missing[1] if missing else "?"
            parent = f" in {'/'.join(map(str, path))}" if path else ""
            example = type_hints.example(schema, name)
            yield document.diagnostic(
                path, f"missing key {name!r}{parent}", key=True, expected=f"{name}: {example}" if example else name
            )
        case "type":
            kinds = rule if isinstance(rule, list) else [rule]
            unit = f", in {schema['x-unit']}" if "x-unit" in schema else ""
            # What is expected of a section with names of the user's says how those look.
            names = kinds == ["object"] and bool(_patterns(schema))
            one_of = _choices([str(one) for one in schema["enum"]]) if "enum" in schema else ""
            wanted = one_of or (not names and expected) or " or ".join(_NAMES[kind] for kind in kinds) + unit
            yield document.diagnostic(
                path,
                _invalid(path, _typed(path, error.instance)),
                expected=wanted,
                hint=type_hints.hint(document, path, kinds, error.instance, schema),
            )
        case "anyOf" if path[:1] == ("env",) and error.instance is None:
            return  # semantics reports a variable without a value, with a hint
        case "anyOf" if path in (("env", "clear"), ("env", "secret")) and isinstance(error.instance, dict | list):
            yield document.diagnostic(
                path,
                f"env.{path[-1]} is {_found(error.instance)}",
                key=True,
                expected="variables, such as LOG_LEVEL: info",
                hint=foreign_keys.hint(document.data, path[:1], str(path[-1]), ()),
            )
        case "anyOf":
            yield from _branch(document, error, path, expected)
        case "enum":
            choices = [str(choice) for choice in rule]
            close = nearest(str(error.instance).lower(), choices)
            hint = f"did you mean {close}?" if close else ""
            yield document.diagnostic(
                path,
                f"invalid value for {_last(path)}: {_shown(path, error.instance)}",
                expected=_choices(choices),
                hint=hint,
            )
        case "const":
            yield _version(document, error.instance, path)
        case "pattern" if "propertyNames" in list(error.absolute_schema_path):
            yield _invalid_variable(document, (*path, str(error.instance)))
        case "minimum" | "maximum":
            yield document.diagnostic(
                path, f"invalid value for {_last(path)}: {_shown(path, error.instance)}", expected=_bounds(schema)
            )
        case "minProperties" | "maxProperties" | "minItems" | "minLength" | "pattern":
            found = "empty" if error.instance in ("", [], {}) else _shown(path, error.instance)
            hint = "" if masking.is_hidden(path) else type_hints.of_text(path, error.instance, schema)
            yield document.diagnostic(path, _invalid(path, found), expected=expected, hint=hint)
        case _:
            yield document.diagnostic(
                path, f"invalid value for {_last(path)}: {_shown(path, error.instance)}", expected=expected
            )


def _unknown(document: Document, instance: Any, schema: Mapping[str, Any], path: Path) -> Iterator[Diagnostic]:
    allowed = list(schema.get("properties", {}))
    names = _patterns(schema)
    suggested = dict(_suggestions(document, instance, schema, path))
    for key in instance:
        if not _is_unknown(key, schema, path):
            continue
        key_path = (*path, key)
        shown = _name(key_path)
        if names:
            expected = str(schema.get("x-expected", ""))
            hint = "" if masking.is_hidden(key_path) or not shown else _named(document, path, key, names)
            summary = f"invalid name {_show(shown)}" if shown else "invalid name"
            yield _at_name(document, key_path, summary, expected=expected, hint=hint)
            continue
        if not shown:
            yield _at_name(document, key_path, "unknown key", expected=_choices(allowed))
            continue
        if masking.is_hidden(path) and not masking.is_safe_key(key):
            hint = type_hints.of_mapping(path)
            yield document.diagnostic(path, "unknown key", expected=_choices(allowed), hint=hint)
            continue
        close = suggested.get(key)
        hint = foreign_keys.hint(document.data, path, key, allowed) or (f"did you mean {close}?" if close else "")
        known = "" if hint and len(allowed) > MANY else _choices(allowed)
        yield document.diagnostic(key_path, f"unknown key {_show(key)}", key=True, expected=known, hint=hint)


def _named(document: Document, path: Path, key: str, patterns: list[str]) -> str:
    """What to do about a name of the user's that no pattern accepts."""
    meant = next((one for pattern in patterns if (one := spellings.nearest(key, "name", pattern))), "")
    return foreign_keys.hint(document.data, path, key, ()) or (f"use {meant}" if meant else "")


def _suggestions(document: Document, instance: Any, schema: Mapping[str, Any], path: Path) -> Iterator[tuple[str, str]]:
    """The unknown keys that are likely misspelled, each with the key that it is suggested to be."""
    allowed = list(schema.get("properties", {}))
    if schema.get("additionalProperties") is not False or _patterns(schema):
        return
    for key in instance:
        if not _is_unknown(key, schema, path) or foreign_keys.hint(document.data, path, key, allowed):
            continue
        close = nearest(key, allowed)
        if close and (masking.is_safe_key(key) or not masking.is_hidden(path)):
            yield key, close


def _is_unknown(key: str, schema: Mapping[str, Any], path: Path) -> bool:
    known = key in schema.get("properties", {}) or (not path and key.startswith("x-"))
    return not known and not any(re.search(name, key) for name in _patterns(schema))


def _patterns(schema: Mapping[str, Any]) -> list[str]:
    return [pattern for pattern in schema.get("patternProperties", {}) if pattern != "^x-"]


def _branch(document: Document, error: ValidationError, path: Path, expected: str) -> Iterator[Diagnostic]:
    """Report the errors of the alternative whose type matches the value, or that none matches."""
    alternatives: dict[int, list[ValidationError]] = {}
    for inner in error.context or ():
        alternatives.setdefault(int(inner.schema_path[0]), []).append(inner)
    for errors in alternatives.values():
        if not any(inner.validator == "type" and not inner.path for inner in errors):
            for inner in errors:
                whole = expected and inner.validator == "pattern" and not inner.path
                for found in _explain(document, inner, (*path, *inner.path)):
                    hint = found.hint or type_hints.of_alternatives(path, error.instance)
                    yield replace(found, expected=expected, hint=hint) if whole else found
            return
    hint = "" if masking.is_hidden(path) else type_hints.of_alternatives(path, error.instance)
    kinds = [str(one.validator_value) for errors in alternatives.values() for one in errors if one.validator == "type"]
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    hint = hint or type_hints.of_container(path, kinds, error.instance, schema)
    yield document.diagnostic(path, _invalid(path, _typed(path, error.instance)), expected=expected, hint=hint)


def newer(document: Document) -> Diagnostic | None:
    """The error for a manifest in a newer format than this version of dynoctl supports, or None."""
    data = document.data
    found = data.get("version") if isinstance(data, dict) else None
    later = isinstance(found, int) and not isinstance(found, bool) and found > 1
    return _version(document, found, ("version",)) if later else None


def _invalid_variable(document: Document, path: Path) -> Diagnostic:
    shown = _name(path)
    what = "invalid name of an environment variable"
    summary = f"{what}: {_show(shown)}" if shown else what
    expected = "letters, digits and underscores, not starting with a digit"
    return _at_name(document, path, summary, expected=expected, hint=type_hints.of_name(str(path[-1])))


def _name(path: Path) -> str:
    """What can be shown of a name: what stands for that of a variable may be a value, or has one behind it."""
    written = str(path[-1])
    shown = masking.shown_of(written) if masking.is_value_as_name(path) else written
    return f"{shown}..." if shown and shown != written else shown


def _at_name(document: Document, path: Path, summary: str, *, expected: str, hint: str = "") -> Diagnostic:
    """An error of a name, with no more of it in the path than can be shown."""
    found = document.diagnostic(path, summary, key=True, expected=expected, hint=hint)
    return replace(found, path=masked("/".join(map(str, (*path[:-1], _name(path) or "...")))))


def _version(document: Document, found: Any, path: Path) -> Diagnostic:
    if isinstance(found, int) and found > 1:
        return document.diagnostic(path, f"unsupported manifest version {found}", expected="1", hint="upgrade dynoctl")
    hint = type_hints.of_version(found)
    return document.diagnostic(path, f"invalid value for version: {_show(found)}", expected="1", hint=hint)


def _choices(values: list[str]) -> str:
    return f"one of: {', '.join(values)}" if len(values) > 1 else values[0]


def _bounds(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    unit = f" {schema['x-unit']}" if "x-unit" in schema else ""
    return (f"{least} to {most}" if most is not None else f"at least {least}") + unit


def _last(path: Path) -> str:
    named = [str(part) for part in path if isinstance(part, str)]
    if not path:
        return "the manifest"
    return f"{named[-1]}[{path[-1]}]" if isinstance(path[-1], int) and named else named[-1]


def _invalid(path: Path, found: str) -> str:
    return f"{_last(path)} is empty" if found == "empty" else f"invalid value for {_last(path)}: {found}"


def _found(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "a mapping"


def _show(value: Any) -> str:
    """A value for a message: strings shortened and quoted, lists and mappings by their type only."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    return (
        str(value).lower()
        if isinstance(value, bool)
        else str(value)
        if isinstance(value, int | float)
        else _found(value)
    )


def _shown(path: Path, value: Any) -> str:
    """As ``_show``; only the type of a value that may be secret."""
    return _show(value) if masking.is_shown(path, value) else _found(value)


def _typed(path: Path, value: Any) -> str:
    """What is of the wrong type: a text that cannot be a secret, the type of anything else."""
    shown = isinstance(value, str) and not masking.is_in_secret_section(path) and masking.is_shown(path, value)
    return f"the string {_show(value)}" if shown else _found(value)
