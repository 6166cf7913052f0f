"""Defaults that most resource types share: no effect on dynos, and a record that equals the attributes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from infra.model.provider import Brief, Scope
from infra.model.resource import Attributes, Change, Command, Effect

CUT_OFF = "left by an apply that was cut off"
"""Why something that has no mark is removed."""


class Base:
    """The parts of a provider that only some resource types override."""

    headline: Sequence[str] = ()
    brief = Brief()
    first = False
    last = False
    alone = False

    def effect(self, change: Change) -> Effect | None:
        return None

    def triggers(self, change: Change) -> bool:
        return True

    def files(self, scope: Scope, change: Change) -> Sequence[str]:
        return ()

    def free(self, scope: Scope, change: Change) -> Command | None:
        return None

    def undo(self, scope: Scope, change: Change) -> Sequence[Command]:
        return ()

    def was_up(self, change: Change) -> bool:
        return change.effect is None or (
            change.restarts and (change.before or {}).get("state") in ("running", "outdated")
        )

    def dormant(self, attributes: Attributes) -> bool:
        return False

    def rehearse(self, scope: Scope, change: Change) -> Sequence[Command]:
        return ()

    def pause(self, scope: Scope, change: Change) -> Sequence[Command]:
        return ()

    def resume(self, scope: Scope, change: Change) -> Sequence[Command]:
        return ()

    def among(self, change: Change, dynos: Mapping[str, str | None]) -> Change:
        return change

    def upstreams(self, change: Change) -> Mapping[str, str]:
        return {}

    def alive(self, scope: Scope, change: Change) -> Command | None:
        return None

    def explain(self, scope: Scope, change: Change) -> Command | None:
        return None

    def spontaneous(self, found: Attributes) -> Collection[str]:
        return ()

    def recorded(self, attributes: Attributes, salt: str) -> Mapping[str, object]:
        return {name: _plain(value) for name, value in attributes.items()}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
