"""The reference of the manifest is generated from the schema, and its examples are valid."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from schemas import load

ROOT = Path(__file__).parents[2]
HEAD = """# The manifest

<!-- Generated: DYNOCTL_GOLDEN=write pytest tests/golden/test_docs.py -->

Every key of `dyno.yaml`, version 1.

```yaml
# yaml-language-server: $schema=schemas/dyno.schema.json
version: 1
app: {name: shop, source: .}
framework: {name: sinatra, require: ./app, app: Shop}
dynos: {web: 4}
servers:
  - {name: grid-1, host: 10.0.0.11}
  - {name: grid-2, host: 10.0.0.12}
```

The first line lets your editor complete and check keys, with the schema that `dynoctl schema` prints.

**YAML.** Only `true` and `false` are booleans; `no`, `on`, `010`, `12:30` and dates are strings. A duplicate key is an
error, and tags are not allowed. Anchors and `<<` work. Top-level keys that start with `x-` are ignored.

**References.** A value that must not be in the file is written as `{from_env: NAME}`, `{from_file: PATH}` or
`{from_command: [argv]}`, and what it returns is secret ([Secrets](../how-to/secrets.md)).
"""


def keys(parent: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Every key with its path, its schema, and whether it is required."""
    for name, schema in parent.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield path, schema, name in parent.get("required", ())
        yield from below(schema, path)


def below(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    for part in [schema, *schema.get("anyOf", ())]:
        yield from keys(part, f"{path}.")
        for named in part.get("patternProperties", {}).values() if "x-names" in part else ():
            yield f"{path}.{part['x-names']}", named, False
            yield from below(named, f"{path}.{part['x-names']}")
        for items in [part["items"], *part["items"].get("anyOf", ())] if "items" in part else ():
            yield from keys(items, f"{path}[].")


def flow(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def reference() -> str:
    lines = [HEAD]
    for path, schema, required in keys(load("dyno.schema.json")):
        lines.append(f"\n## `{path}`\n")
        lines.append(schema["description"] + (" Required." if required else ""))
        if "default" in schema:
            lines.append(f"Default: `{flow(schema['default'])}`.")
        lines += ["", "```yaml fragment"]
        lines += [f"{path.rpartition('.')[2].removesuffix('[]')}: {flow(example)}" for example in schema["examples"]]
        lines.append("```")
    return "\n".join(lines) + "\n"


def test_the_reference_is_generated_from_the_schema() -> None:
    file = ROOT / "docs/reference/manifest.md"
    if os.environ.get("DYNOCTL_GOLDEN") == "write":
        file.write_text(reference())
    assert file.read_text() == reference(), "stale: DYNOCTL_GOLDEN=write pytest tests/golden/test_docs.py"


def test_the_schema_is_valid() -> None:
    Draft202012Validator.check_schema(load("dyno.schema.json"))


@pytest.mark.parametrize("path", [path for path, _, _ in keys(load("dyno.schema.json"))])
def test_every_key_has_a_description_and_valid_examples(path: str) -> None:
    schema = load("dyno.schema.json")
    key = next(found for other, found, _ in keys(schema) if other == path)
    assert key["description"].endswith((".", '"1.10".'))
    assert key["examples"]
    validator = Draft202012Validator({**key, "$defs": schema["$defs"]})
    for example in key["examples"]:
        validator.validate(example)
    if "default" in key:
        validator.validate(key["default"])


def test_the_example_manifest_is_valid_except_for_files_of_the_lab() -> None:
    from infra.manifest import check

    _, diagnostics = check(ROOT / "dyno.yaml")
    assert [diagnostic for diagnostic in diagnostics if not diagnostic.path.startswith("ssh/")] == []
