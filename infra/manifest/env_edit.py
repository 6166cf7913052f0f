"""Sets and removes variables in ``env:`` of a manifest's text, without changing any other character."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from infra.errors import DynoctlError
from infra.manifest.nodes import Unusable
from infra.manifest.yaml_edit import (
    add_section,
    as_mapping,
    compose,
    count_uses,
    data_of,
    insert_last,
    line_ending,
    pair_of,
    refuse_alias,
    remove,
    value_of,
)

_PLAIN = re.compile(r"[A-Za-z0-9_/.][A-Za-z0-9_./@%+-]*(?::[A-Za-z0-9_./@%+-]+)*")
_NULL = ("null", "Null", "NULL", ".", "..")


def scalar(text: str) -> str:
    """A text as a YAML scalar of one line, unquoted if it is then still that text."""
    if _PLAIN.fullmatch(text) and text not in _NULL:
        return text
    return json.dumps(text, ensure_ascii=False)


def set_variable(text: str, key: str, entry: str, file: str) -> str:
    """The text of ``file`` with ``env.KEY`` set to ``entry``, a YAML scalar or flow mapping.

    Raises DynoctlError if it cannot be set without changing something else."""
    edited = _guarded(text, lambda: _set(text, key, entry, file), key, file)
    before, after = data_of(text, file), data_of(edited, file)
    wanted = data_of(f"env:\n  {key}: {entry}\n", file)["env"][key]
    before["env"] = {**(before.get("env") or {}), key: wanted}
    if after != before:
        raise _refusal(key, file)
    return edited


def unset_variable(text: str, key: str, file: str) -> str:
    """The text of ``file`` without ``env.KEY``. Raises DynoctlError as ``set_variable`` does."""
    edited = _guarded(text, lambda: _unset(text, key, file), key, file)
    before, after = data_of(text, file), data_of(edited, file)
    before["env"].pop(key)
    if after != before:
        raise _refusal(key, file)
    return edited


def own_variables(text: str, file: str) -> dict[str, Any]:
    """The variables that the text itself sets."""
    return dict(data_of(text, file).get("env") or {})


def _guarded(text: str, edit: Any, key: str, file: str) -> str:
    try:
        edited: str = edit()
        data_of(edited, file)
    except (yaml.YAMLError, Unusable, StopIteration, ValueError):
        raise _refusal(key, file) from None
    return edited


def _refusal(key: str, file: str) -> DynoctlError:
    return DynoctlError(
        f"cannot change {key} in {file} without changing something else", f"edit env: of {file} by hand"
    )


def _set(text: str, key: str, entry: str, file: str) -> str:
    root = compose(text)
    if not isinstance(root, yaml.MappingNode):  # an overlay that has only comments
        return add_section(text, None, "env", f"{key}: {entry}")
    node = value_of(root, "env")
    if node is None:
        return add_section(text, root, "env", f"{key}: {entry}")
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        start, end = node.start_mark.index, node.end_mark.index
        return f"{text[:start]}{' ' * (start == end)}{{{key}: {entry}}}{text[end:]}"
    uses = count_uses(root)
    variables = as_mapping(node, uses, "env", file)
    old = value_of(variables, key)
    if old is None:
        return insert_last(text, variables, f"{key}: {entry}")
    refuse_alias(old, uses, f"env.{key}", file)
    start, end = old.start_mark.index, old.end_mark.index
    if start == end:  # KEY: without a value
        return f"{text[:start]} {entry}{text[end:]}"
    block = isinstance(old, yaml.ScalarNode) and old.style in ("|", ">")
    return f"{text[:start]}{entry}{line_ending(text) if block else ''}{text[end:]}"


def _unset(text: str, key: str, file: str) -> str:
    root = compose(text)
    pair = pair_of(root, "env") if isinstance(root, yaml.MappingNode) else None
    if pair is None or root is None:
        raise _refusal(key, file)
    uses = count_uses(root)
    variables = as_mapping(pair[1], uses, "env", file)
    value = value_of(variables, key)
    if value is None:  # it comes from a << merge
        raise _refusal(key, file)
    refuse_alias(value, uses, f"env.{key}", file)
    return remove(text, variables, key, pair[0])
