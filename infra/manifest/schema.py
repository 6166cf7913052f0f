"""Check a document against the schema, and say what is wrong in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from infra.errors import Diagnostic
from infra.manifest.document import Document, joined
from infra.manifest.model import Json
from infra.manifest.secrets import shown_key
from infra.manifest.source import Path
from infra.manifest.wording import described, listed, quoted, suggestion

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_SECRET = ("env", "database", "cache")
"""Top-level keys whose values are not repeated in messages."""

_MOST_LISTED = 8
"""Keys that are listed as what was expected; the whole top level would fill the screen."""


def check(document: Document) -> list[Diagnostic]:
    """Everything that the schema does not allow. Marks what it complains about as broken in the document."""
    version = document.get(int, "version")
    if version is not None and version > 1:
        # Its keys may be others: nothing else can be said about it.
        return [
            document.diagnostic(
                ("version",),
                f"Version {version if version < 10**9 else 'of this file'} is newer than this dynoctl reads",
                expected="version: 1",
                hint="Upgrade dynoctl.",
            )
        ]
    found: dict[tuple[Path, str], Diagnostic] = {}
    for error in _validator().iter_errors(document.data):
        for path, diagnostic in _Explanation(document, error).diagnostics():
            if path not in document.broken:
                found.setdefault((path, diagnostic.summary), diagnostic)
    document.broken.update(path for path, _ in found)
    return list(found.values())


def is_newer(document: Document) -> bool:
    """Whether the document is of a version that is not known here."""
    version = document.get(int, "version")
    return version is not None and version > 1


def _validator() -> Validator:
    # Imported here: it takes longer than everything else together.
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend as untyped

    from schemas import load

    def is_integer(_: object, value: object) -> bool:
        """4.0 is an integer to JSON Schema, and a number of dynos to nobody."""
        return isinstance(value, int) and not isinstance(value, bool)

    def pattern(_: object, wanted: str, value: object, __: object) -> Iterator[ValidationError]:
        """To Python a $ also matches before a newline at the end; a name with a newline is none."""
        if isinstance(value, str) and not re.search(wanted.removesuffix("$") + r"\Z", value):
            yield ValidationError("")

    extend: Any = untyped
    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", is_integer)
    strict = extend(Draft202012Validator, {"pattern": pattern}, type_checker=checker)
    schema = load("dyno.schema.json")
    validator: Validator = strict(schema)
    return validator


class _Explanation:
    """One error of the validator, taken apart."""

    def __init__(self, document: Document, error: ValidationError) -> None:
        self._document = document
        self._path: Path = tuple(error.absolute_path)
        self._value: Any = error.instance
        self._schema: Mapping[str, Any] = error.schema if isinstance(error.schema, dict) else {}
        self._rule = str(error.validator)
        self._wanted: Any = error.validator_value
        self._of_key = "propertyNames" in error.absolute_schema_path
        self._hint = str(self._schema.get("x-hint", ""))

    def diagnostics(self) -> Iterator[tuple[Path, Diagnostic]]:
        """What to say, each with the path that it is about."""
        if self._of_key:
            path = (*self._path, self._value)
            summary = f"{quoted(shown_key(self._value))} cannot be a name here"
            yield path, self._document.diagnostic(path, summary, key=True, expected=self._expected())
        elif self._rule == "additionalProperties":
            yield from self._unknown()
        elif self._rule == "required":
            yield from self._missing()
        else:
            yield self._path, self._wrong()

    def _unknown(self) -> Iterator[tuple[Path, Diagnostic]]:
        known = list(self._schema.get("properties", {}))
        where = f" in {joined(self._path)}" if self._path else ""
        for key in self._value:
            if key in known or (not self._path and key.startswith("x-")):
                continue
            path = (*self._path, key)
            meant = self._meant(key)
            hint = f"Did you mean {meant}?" if meant else ""
            if key.startswith(f"{meant}:"):
                hint = f"Put a space after the colon: {meant}: ..."
            expected = "" if meant or len(known) > _MOST_LISTED else f"one of {listed(known)}"
            if len(known) == 1 and expected:
                expected = known[0]
            summary = f"There is no key {quoted(shown_key(key))}{where}"
            yield path, self._document.diagnostic(path, summary, key=True, expected=expected, hint=hint)

    def _meant(self, key: str) -> str:
        """The known key that an unknown one was probably meant to be, or ""."""
        known = list(self._schema.get("properties", {}))
        before_colon = key.partition(":")[0]
        return before_colon if before_colon in known else suggestion(key, known)

    def _missing(self) -> Iterator[tuple[Path, Diagnostic]]:
        known: Mapping[str, Any] = self._schema.get("properties", {})
        misspelt = {self._meant(key) for key in self._value if key not in known}
        for key in self._wanted:
            if key in self._value or key in misspelt:
                continue
            summary = f"The key {key} is missing" + (f" from {joined(self._path)}" if self._path else "")
            example = _example(known.get(key, {}))
            expected = f"{key}: {example}" if example else key
            path = (*self._path, key)
            at_top = self._document.diagnostic(self._path, summary, key=True, expected=expected)
            yield path, Diagnostic(summary, joined(path), at_top.location, expected)

    def _wrong(self) -> Diagnostic:
        secret = bool(self._path) and self._path[0] in _SECRET and self._path[1:] != ("adapter",)
        thing = described(self._value, secret=secret)
        if secret and self._rule != "type":
            thing = "this"
        hint = self._hint
        if self._rule == "enum" and isinstance(self._value, str):
            meant = suggestion(self._value, [str(each) for each in self._wanted])
            refused: Mapping[str, str] = self._schema.get("x-refused", {})
            hint = refused.get(self._value.lower(), f"Did you mean {meant}?" if meant else "")
        summary = f"{_name(self._path)} cannot be {thing}"
        if self._value is None:
            summary = f"{_name(self._path)} has no value"
        elif self._value in ("", [], {}):
            summary = f"{_name(self._path)} is empty"
        elif self._rule == "maxLength":
            summary = f"{_name(self._path)} has {len(self._value)} characters"
        elif self._rule == "maxProperties":
            summary = f"{_name(self._path)} has {len(self._value)} keys"
        expected = self._expected()
        if self._rule == "const":
            expected = f"{_name(self._path)}: {self._wanted}"
        return self._document.diagnostic(self._path, summary, expected=expected, hint=hint)

    def _expected(self) -> str:
        given = self._schema.get("x-expected")
        if given:
            return str(given)
        wanted = self._wanted
        match self._rule:
            case "type":
                return listed([_TYPES[each] for each in ([wanted] if isinstance(wanted, str) else wanted)])
            case "enum":
                return listed([str(each) for each in wanted])
            case "minimum":
                return f"{wanted} or more"
            case "maximum":
                return f"{wanted} or less"
            case "maxLength":
                return f"at most {wanted} characters"
        return ""


def _name(path: Path) -> str:
    """The last key of a path, with the place in a list after it: ``servers/0``."""
    start = max((index for index, step in enumerate(path) if isinstance(step, str)), default=0)
    return joined(path[start:]) or "The manifest"


def _example(schema: Mapping[str, Json]) -> str:
    examples = schema.get("examples")
    first = examples[0] if isinstance(examples, list) and examples else ""
    return _flow(first)


def _flow(value: Json) -> str:
    """A value as YAML on one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case bool():
            return "true" if value else "false"
    return str(value)
