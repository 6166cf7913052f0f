"""Select a subset of a plan's changes by server, dyno or process type, together with what they depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from infra.errors import DynoctlError
from infra.model import naming
from infra.model.resource import Action, Change, Effect, Found, Resource


@dataclass(frozen=True)
class Selection:
    """Shell patterns for servers (``grid-1``), dynos (``web.1``) and process types (``web``). Without ``targets``,
    everything is selected. ``replaces`` are dynos that restart even if they do not change."""

    targets: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    starting: bool = False
    """Whether only dynos that start, stop or move are selected, with what they need, and none that restarts."""
    types: tuple[str, ...] = ()
    """With ``starting``: the process types of these dynos; () is all."""

    @property
    def partial(self) -> bool:
        """Whether changes may be left out."""
        return bool(self.targets or self.excludes or self.starting)

    def __str__(self) -> str:
        options = (("--target", self.targets), ("--exclude", self.excludes), ("--replace", self.replaces))
        return " ".join(f"{option} {pattern}" for option, patterns in options for pattern in patterns)

    def check_patterns(self, servers: Iterable[str], dynos: Iterable[str], declared: Iterable[str] = ()) -> None:
        """Raise DynoctlError if a pattern matches nothing. ``declared`` are the process types of the manifest."""
        servers, dynos, declared = list(servers), list(dynos), list(declared)
        types = sorted({naming.parse_dyno(dyno)[0] for dyno in dynos})
        for option, patterns, names in (
            ("--target", self.targets, [*servers, *dynos, *types]),
            ("--exclude", self.excludes, [*servers, *dynos, *types]),
            ("--replace", self.replaces, [*dynos, *types]),
        ):
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in names):
                    names_shown = ", ".join([*servers[:5], *types, *dynos[:5]])
                    kinds = "dyno or process type" if option == "--replace" else "server, dyno or process type"
                    if any(fnmatchcase(name, pattern.partition(".")[0]) for name in declared):
                        raise DynoctlError(
                            f"{option} {pattern} matches no dyno that runs or can be placed",
                            "the servers of its dynos are unreachable: dynoctl doctor checks the connections",
                        )
                    raise DynoctlError(
                        f"{option} {pattern} matches no {kinds} of this app",
                        f"use shell patterns such as 'web.*'; available: {names_shown}",
                    )

    def check_replaced(self, changes: Iterable[Change], reasons: Mapping[str, str]) -> None:
        """Raise DynoctlError if a pattern of ``replaces`` starts no dyno. ``reasons`` are, by dyno, why it may not."""
        started = {change.resource.dyno for change in changes if change.effect is not None and change.effect.boots}
        for pattern in self.replaces:
            matched = [dyno for dyno in reasons if _any((pattern,), (dyno, naming.parse_dyno(dyno)[0]))]
            if not started.intersection(matched):
                why = "; ".join(f"{dyno} {reasons[dyno]}" for dyno in matched[:5])
                raise DynoctlError(
                    f"--replace {pattern} restarts nothing: {why}", "list the dynos and their states: dynoctl ps"
                )

    def restarts(self, wanted: Sequence[Resource], found: Mapping[str, Found]) -> list[Change]:
        """A restart for each existing dyno that matches ``replaces``. Other changes of the dyno take precedence."""
        return [
            Change(
                resource,
                Action.RESTART,
                found[resource.key].attributes,
                resource.attributes,
                "requested with --replace",
            )
            for resource in wanted
            if resource.triggers and resource.key in found and self._replaces(resource.dyno)
        ]

    def choose(self, changes: Sequence[Change]) -> list[Change]:
        """The selected changes, in order. A dyno is selected with everything that it depends on; what other dynos may
        still depend on is not removed."""
        if not self.partial:
            return list(changes)
        # A dyno that moves is selected on both servers: it is not removed from one without being created on the other.
        dynos: dict[str, set[str]] = {}
        for change in changes:
            if change.resource.dyno is not None:
                dynos.setdefault(change.resource.dyno, set()).add(change.resource.server)
        wanted = {dyno for dyno, servers in dynos.items() if self._selects(dyno, servers)}
        if self.starting:
            moving = _starting(changes)
            wanted = {dyno for dyno in wanted & moving if not self.types or naming.parse_dyno(dyno)[0] in self.types}
        busy = {server for dyno in wanted for server in dynos[dyno]}
        needed = {server for dyno in dynos.keys() - wanted for server in dynos[dyno]}

        def selected(change: Change) -> bool:
            server, dyno = change.resource.server, change.resource.dyno
            if dyno is not None:
                return dyno in wanted
            if self.starting and not change.resource.follows and server not in busy:
                return False
            if self.starting and change.resource.follows and change.action is not Action.UPDATE:
                return False  # another router is a change of its own
            if change.resource.follows:  # also if it is removed: it may route to a selected dyno on another server
                return bool(wanted) or not self.targets or _any(self.targets, (server,))
            named = not self.targets or _any(self.targets, (server,))
            if change.action.removes:
                return named and server not in needed and not _any(self.excludes, (server,))
            return server in busy or (named and not _any(self.excludes, (server,)))

        return [change for change in changes if selected(change)]

    def _selects(self, dyno: str, servers: Iterable[str]) -> bool:
        names = (dyno, naming.parse_dyno(dyno)[0], *servers)
        return (not self.targets or _any(self.targets, names)) and not _any(self.excludes, names)

    def _replaces(self, dyno: str | None) -> bool:
        return dyno is not None and _any(self.replaces, (dyno, naming.parse_dyno(dyno)[0]))


def _starting(changes: Iterable[Change]) -> set[str]:
    """The dynos that start, stop or move. A schedule has no effect on a process: it is new on a server, or goes."""
    actions: dict[tuple[str, str], set[Action]] = {}
    found = set()
    for change in changes:
        dyno = change.resource.dyno
        if dyno is not None:
            actions.setdefault((change.resource.server, dyno), set()).add(change.action)
            found |= {dyno} if change.effect in (Effect.START, Effect.STOP) else set()
    return found | {dyno for (_, dyno), what in actions.items() if what in ({Action.CREATE}, {Action.DELETE})}


EVERYTHING = Selection()


def _any(patterns: Iterable[str], names: Iterable[str]) -> bool:
    names = tuple(names)
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)
