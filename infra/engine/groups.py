"""Which changes are made together: a plan's changes as groups, in the plan's order."""

from __future__ import annotations

from dataclasses import dataclass

from infra.model.resource import Change
from infra.plan.plan import Plan


@dataclass(frozen=True)
class Group:
    """Changes that are made together, in order, in one batch: a dyno's, or one resource's that dynos stand on."""

    server: str
    dyno: str | None
    changes: tuple[Change, ...]

    @property
    def subject(self) -> str:
        # A dyno that loses one of its files is not what goes.
        moves = self.dyno is not None and (not goes(self) or any(change.effect for change in self.changes))
        return str(self.dyno) if moves else self.changes[0].resource.key


def group(plan: Plan) -> list[Group]:
    """The plan's changes as batches, in the plan's order."""
    groups: dict[tuple[str, str, bool], list[Change]] = {}
    for change in plan.changes:
        resource = change.resource
        goes = change.action == "delete"
        groups.setdefault((resource.server, resource.dyno or resource.key, goes), []).append(change)
    return [Group(server, changes[0].resource.dyno, tuple(changes)) for (server, _, _), changes in groups.items()]


def goes(one: Group) -> bool:
    """Whether it is taken away."""
    return one.changes[0].action == "delete"


def restarts(one: Group) -> bool:
    """Whether a dyno that runs restarts with it."""
    return any(change.effect == "restart" for change in one.changes)


def verb(one: Group) -> str:
    """What happened, in a word."""
    effects = [change.effect for change in one.changes if change.effect]
    if effects:
        return {"start": "started", "restart": "restarted", "stop": "stopped"}[effects[0]]
    return "removed" if goes(one) else "made"
