"""What to do about a value of another type than the schema wants: a list in place of a mapping, a quoted number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from infra.manifest import masking
from infra.manifest.document import Document, Path
from schemas import load


def hint(document: Document, path: Path, kinds: list[str], instance: Any, schema: Mapping[str, Any]) -> str:
    """What to do, or "". ``kinds`` are the types that the ``schema`` of the value allows."""
    sample = _section(path) if {"object", "array"} & set(kinds) else ""
    if path == ("env",) and not isinstance(instance, dict):
        return "write each variable on a line of its own below env, without a dash: LOG_LEVEL: info"
    if masking.is_hidden(path):
        return ""
    text = document.scalars.get(path, "")
    if "boolean" in kinds and text.lower() in ("yes", "no", "on", "off", "y", "n"):
        return f"use {'true' if text.lower() in ('yes', 'on', 'y') else 'false'}: {text} is a string"
    if "boolean" in kinds and text in ("true", "false"):
        return "remove the quotes"
    fits = re.search(schema.get("pattern", ""), text) is not None
    if kinds == ["string"] and isinstance(instance, int | float) and fits:
        return f'quote the value: "{text}"'
    if {"integer", "number"} & set(kinds) and isinstance(instance, str):
        return _number(instance)
    if (
        path[:1] == ("dynos",)
        and isinstance(instance, str)
        and instance.partition(" ")[0] not in schema.get("properties", {})
    ):
        return of_alternatives(path, instance)
    if "object" in kinds and isinstance(instance, str) and re.fullmatch(r"[\w.-]+\s+\S+", instance):
        return "add a colon after the key"
    if "object" in kinds and isinstance(instance, str) and re.fullmatch(r"[\w.-]+:\S+", instance):
        return "add a space after the colon"
    if path[:1] == ("servers",) and len(path) == 2 and isinstance(instance, str):
        return "use a mapping: - {name: grid-1, host: 10.0.0.11}"
    if path == ("servers",) and isinstance(instance, dict):
        return "use a list item for each server: - {name: grid-1, host: 10.0.0.11}"
    if "object" in kinds and isinstance(instance, list):
        return f"remove the dashes or brackets: {sample}" if sample else "remove the dashes or brackets"
    return f"such as {sample}" if sample else ""


def of_alternatives(path: Path, instance: Any) -> str:
    """What to do about a value for which there are several types, such as a count or a mapping."""
    if not isinstance(instance, str):
        return ""
    if path[:1] == ("dynos",) and len(path) == 2 and re.match(r"[A-Za-z/.]\S*\s+\S", instance):
        return f"such as {path[1]}: {{count: 1, command: ...}}"
    return _number(instance)


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


def of_text(path: Path, instance: Any) -> str:
    """What to do about a text of another form."""
    if path[:1] != ("servers",) or path[-1] != "host" or not isinstance(instance, str):
        return ""
    found = re.fullmatch(r"(?:([A-Za-z_][\w.-]*)@)?([^@:\s]+)(?::([0-9]{1,5}))?", instance)
    if found is None or not (found[1] or found[3]):
        return ""
    keys = {"user": found[1], "host": found[2], "port": found[3]}
    return "write each in a key of its own: " + ", ".join(f"{key}: {value}" for key, value in keys.items() if value)


def example(schema: Mapping[str, Any], name: str) -> str:
    """The first example of a key of a mapping, as YAML on one line; "" if it has none."""
    import yaml

    examples = schema.get("properties", {}).get(name, {}).get("examples", [])
    if not examples:
        return ""
    return (
        yaml.safe_dump(examples[0], default_flow_style=True, width=1000, sort_keys=False).removesuffix("...\n").strip()
    )


def _section(path: Path) -> str:
    """A section of the top level with its example."""
    found = example(load("dyno.schema.json"), str(path[0])) if len(path) == 1 else ""
    return f"{path[0]}: {found}" if found else ""


def _number(text: str) -> str:
    if text.strip().isdigit():
        return "remove the quotes and leading zeros of the number"
    found = re.fullmatch(r"\s*\d+\s*([;,.])\s*", text)
    return f"remove the {found[1]}" if found else ""
