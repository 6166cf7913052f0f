"""Group the changes of a plan that are made together, in the order of the plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from infra.model.resource import Action, Change, Effect
from infra.plan.plan import Plan

_VERBS = {Effect.START: "started", Effect.RESTART: "restarted", Effect.STOP: "stopped"}


@dataclass(frozen=True)
class Group:
    """Changes that are made together, in order: those of a dyno, or of a resource that dynos depend on."""

    server: str
    dyno: str | None
    changes: tuple[Change, ...]

    @property
    def subject(self) -> str:
        """The dyno of the group, or the key of its resource."""
        # If a dyno only loses one of its files, the dyno itself is not removed.
        moves = self.dyno is not None and (not self.leaves or any(change.effect for change in self.changes))
        return str(self.dyno) if moves else self.changes[0].resource.key

    @property
    def leaves(self) -> bool:
        """Whether it is removed."""
        return self.changes[0].action.removes

    @property
    def restarts(self) -> bool:
        """Whether a running dyno restarts with it."""
        return any(change.restarts for change in self.changes)

    @property
    def boots(self) -> bool:
        """Whether it belongs to a dyno that is not removed."""
        return self.dyno is not None and not self.leaves

    @property
    def verb(self) -> str:
        """What was done, as a participle."""
        effects = [change.effect for change in self.changes if change.effect]
        if effects:
            return _VERBS[effects[0]]
        updated = all(change.action is Action.UPDATE for change in self.changes)
        return "removed" if self.leaves else "changed" if updated else "made"


def group(plan: Plan) -> list[Group]:
    """The groups of a plan's changes, in the order of the plan."""
    groups: dict[tuple[str, str, bool], list[Change]] = {}
    for change in plan.changes:
        resource = change.resource
        groups.setdefault((resource.server, resource.dyno or resource.key, change.action.removes), []).append(change)
    return [Group(server, changes[0].resource.dyno, tuple(changes)) for (server, _, _), changes in groups.items()]


def by_server(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """The groups of each server, in their order."""
    found: dict[str, list[Group]] = {}
    for one in groups:
        found.setdefault(one.server, []).append(one)
    return found
