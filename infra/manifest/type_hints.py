"""What to do about a value of another type than the schema wants: a list in place of a mapping, a quoted number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from infra.manifest import addresses, conversions, masking, spellings
from infra.manifest.document import Document, Path
from infra.manifest.replaced_values import is_replaced
from schemas import load


def hint(document: Document, path: Path, kinds: list[str], instance: Any, schema: Mapping[str, Any]) -> str:
    """What to do, or "". ``kinds`` are the types that the ``schema`` of the value allows."""
    if path == ("env",) and not isinstance(instance, dict):
        return "write each variable on a line of its own below env, without a dash: LOG_LEVEL: info"
    if masking.is_hidden(path):
        return f"such as {_sample(path, schema)}" if _sample(path, schema) else ""
    return (
        _of_scalar(document.scalars.get(path, ""), path, kinds, instance, schema)
        or (_of_line(path, instance, schema) if "object" in kinds and isinstance(instance, str) else "")
        or of_container(path, kinds, instance, schema)
    )


def _of_scalar(text: str, path: Path, kinds: list[str], instance: Any, schema: Mapping[str, Any]) -> str:
    """What to do about one word or number of another type. ``text`` is as it was written."""
    if "boolean" in kinds and text.lower() in ("yes", "no", "on", "off", "y", "n"):
        return f"use {'true' if text.lower() in ('yes', 'on', 'y') else 'false'}: {text} is a string"
    if "boolean" in kinds and text in ("true", "false"):
        return "remove the quotes"
    if path == ("ruby", "version") and re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return f"use '~> {text}.0', which is any {text}.x"
    if {"integer", "number"} & set(kinds) and isinstance(instance, str):
        return _number(instance) or of_notation(instance, schema)
    if kinds != ["string"] or not isinstance(instance, int | float):
        return ""
    if not isinstance(instance, bool) and (meant := conversions.convert(f"{text}s", schema)):
        return f"use {meant}"
    free = "x-expected" not in schema and "enum" not in schema
    fits = re.search(schema.get("pattern", ""), text) is not None and path[-1] != "host"
    return f'quote the value: "{text}"' if fits and (free or not isinstance(instance, bool)) else ""


def _of_line(path: Path, text: str, schema: Mapping[str, Any]) -> str:
    """What to do about a text in place of a mapping: a key that has lost its colon or the space after it."""
    keys = schema.get("properties", {})
    if path[:1] == ("dynos",) and text.partition(" ")[0] not in keys:
        return of_alternatives(path, text)
    found = re.fullmatch(r"([\w.-]+)(\s+|:)(\S+)", text)
    if found is None or (keys and found[1] not in keys) or found[3].startswith(("//", ":")):
        return ""
    return "add a space after the colon" if found[2] == ":" else "add a colon after the key"


def of_container(path: Path, kinds: list[str], instance: Any, schema: Mapping[str, Any]) -> str:
    """What to do about a list in place of a mapping, or a word in place of a list or a mapping."""
    sample = _sample(path, schema)
    if path == ("servers",) and isinstance(instance, dict):
        return f"use a list item for each server: - {_item(path)}"
    if len(path) == 2 and isinstance(path[1], int) and "object" in kinds and isinstance(instance, str):
        return f"use a mapping: - {_item(path)}" if _item(path) else ""
    if "object" in kinds and isinstance(instance, list) and all(isinstance(item, dict) for item in instance):
        return f"remove the dashes or brackets{f': {sample}' if sample else ''}"
    of_words = isinstance(instance, str) and _map(schema.get("items")).get("type") != "object"
    words = instance.split(",") if of_words and instance != "all" else []
    if "array" in kinds and words and all(re.fullmatch(r" *[A-Za-z0-9_./][A-Za-z0-9_./ -]*", word) for word in words):
        return f"such as {path[-1]}: [{', '.join(word.strip() for word in words)}]"
    if isinstance(instance, list) and len(instance) == 1 and "string" in kinds:
        return "remove the dash or the brackets"
    if path[0] in ("cache", "caches") and path[-1] == "host" and isinstance(instance, list):
        return 'several servers of memcached are one text: host: "10.0.0.20,10.0.0.21"'
    said = "such as" in str(schema.get("x-expected", "")) and len(path) > 1 and "patternProperties" not in schema
    return f"such as {sample}" if sample and not said else ""


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def of_alternatives(path: Path, instance: Any) -> str:
    """What to do about a value for which there are several types, such as a count or a mapping."""
    if path[:1] == ("dynos",) and len(path) == 2 and isinstance(instance, list | dict):
        return "remove the dash or the brackets" if isinstance(instance, list) else ""
    if not isinstance(instance, str):
        return ""
    if path == ("dynos", "web") and re.match(r"[A-Za-z/.]\S*\s+\S", instance):
        return "such as web: 1; the app server starts by itself: app_server: puma"
    if path[:1] == ("dynos",) and len(path) == 2 and re.match(r"[A-Za-z/.]\S*\s+\S", instance):
        return f"such as {path[1]}: {{count: 1, command: ...}}"
    return _number(instance)


def of_notation(text: Any, schema: Mapping[str, Any]) -> str:
    """What to do about a size, a duration or a share of cores in another notation."""
    meant = conversions.convert(text, schema) if isinstance(text, str) else ""
    return f"use {meant}" if meant else ""


def of_name(name: str) -> str:
    """What to do about the invalid name of a variable."""
    if re.match(r"[\w.-]+=", name):
        return "write a colon and a space: KEY: ..."
    return "add a space after the colon" if ":" in name else ""


def of_mapping(path: Path) -> str:
    """What to do about a mapping that is no reference."""
    return "if it is a text, such as JSON, put all of it in quotes" if path[0] == "env" else ""


def of_version(found: Any) -> str:
    """What to do about an invalid version of the manifest."""
    return "remove the quotes" if found == "1" else ""


def of_text(path: Path, instance: Any, schema: Mapping[str, Any]) -> str:
    """What to do about a text of another form."""
    if not isinstance(instance, str):
        return ""
    if hint := of_notation(instance, schema):
        return hint
    if path[0] in ("cache", "caches") and path[-1] == "host" and re.search(r"\S[\s;,]+\S", instance):
        several = re.sub(r"[\s;,]+", ",", instance.strip())
        return f'use "{several}"' if re.search(str(schema.get("pattern", "")), several) else ""
    if path[-1] == "user" and is_replaced(path, instance):
        return "write the user alone: dynoctl logs in with keys, and has no password"
    if path[-1] in ("host", "gateway", "user"):
        return addresses.hint(path, instance, str(schema.get("pattern", "")))
    meant = spellings.nearest(instance, str(path[-1]), str(schema.get("pattern", "")))
    return f"use {meant}" if meant else ""


def example(schema: Mapping[str, Any], name: str) -> str:
    """The first example of a key of a mapping, as YAML on one line; "" if it has none."""
    import yaml

    examples = schema.get("properties", {}).get(name, {}).get("examples", [])
    if not examples:
        return ""
    return (
        yaml.safe_dump(examples[0], default_flow_style=True, width=1000, sort_keys=False).removesuffix("...\n").strip()
    )


def _sample(path: Path, schema: Mapping[str, Any]) -> str:
    """A key with its example; "" if it has none."""
    found = example({"properties": {"": schema}}, "") if path and isinstance(path[-1], str) else ""
    return f"{path[-1]}: {found}" if found else ""


def _item(path: Path) -> str:
    """The first item in the example of a list of the top level."""
    section = load("dyno.schema.json")["properties"][str(path[0])]
    return example({"properties": {"": {"examples": section.get("examples", [[]])[0][:1]}}}, "")


def _number(text: str) -> str:
    if text.strip().isdigit():
        return "remove the quotes and leading zeros of the number"
    found = re.fullmatch(r"\s*\d+\s*([;,.])\s*", text)
    return f"remove the {found[1]}" if found else ""
