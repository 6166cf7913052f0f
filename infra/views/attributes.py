"""Attributes as text: dotted names and printable values, with secrets as ``(sensitive)``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from infra.model.resource import Attribute, Attributes, Fingerprint, Scalar, same
from infra.sensitive import REDACTED, Sensitive

HIDDEN = "(not read)"
"""Shown for a value that never left its server and is not recorded, such as one that was set by hand."""

Value = Scalar | tuple[str, ...]


def flat(attributes: Attributes | None) -> dict[str, Value]:
    """Attributes by dotted name, such as ``unit.Service.ExecStart`` or ``variables.LOG_LEVEL``."""
    found: dict[str, Value] = {}
    for name, value in (attributes or {}).items():
        if isinstance(value, Mapping):
            found.update({f"{name}.{key}": item for key, item in value.items()})
        else:
            found[name] = value
    return found


def differences(before: Attributes, after: Attributes) -> Iterator[tuple[str, Value, Value]]:
    """Name, value before and value after of every attribute that differs; None if it is absent."""
    had, has = flat(before), flat(after)
    declared = set(after)
    names = [*has, *(name for name in had if name not in has and name.partition(".")[0] in declared)]
    for name in names:
        old, new = had.get(name), has.get(name)
        if not same(new, old):
            yield name, old, new


def text(value: Attribute) -> str:
    """A value as text for people."""
    if isinstance(value, Sensitive):
        return str(value)
    if isinstance(value, Fingerprint):
        if value.known is None:
            return REDACTED if value.secret else HIDDEN
        value = value.known
    if isinstance(value, Mapping):
        return json.dumps({key: text(item) for key, item in value.items()}, ensure_ascii=False)
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def plain(value: object) -> object:
    """A value as JSON."""
    if isinstance(value, Fingerprint):
        return value.known if value.known is not None else {"sensitive" if value.secret else "hidden": True}
    if isinstance(value, Sensitive):
        return {"sensitive": True}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
