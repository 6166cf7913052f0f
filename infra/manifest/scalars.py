"""The values of YAML scalars: those of YAML 1.2, in which ``no`` and ``010`` are strings."""

from __future__ import annotations

import re

import yaml

from infra.manifest.model import Json

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_TRUE, _FALSE, _NULL = (
    {"true", "True", "TRUE"},
    {"false", "False", "FALSE"},
    {"", "~", "null", "Null", "NULL"},
)


def scalar(node: yaml.ScalarNode) -> Json:
    """The value of a scalar. Unquoted ``no``, ``010``, ``12:30`` and dates are strings, unlike in YAML 1.1."""
    text = node.value
    if node.style or node.tag == "tag:yaml.org,2002:str":
        return str(text)
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.fullmatch(text) and len(text) <= 20:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return str(text)
