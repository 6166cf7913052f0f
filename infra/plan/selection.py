"""Which of a plan's changes are wanted: chosen by server, dyno or process type, with what they stand on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from infra.errors import DynoctlError
from infra.model import naming
from infra.model.resource import Action, Change, Found, Resource


@dataclass(frozen=True)
class Selection:
    """Patterns as the shell's, over names of servers (``grid-1``), dynos (``web.1``) and process types (``web``).
    ``targets`` none: everything. ``replaces`` are dynos that restart though nothing of them changes."""

    targets: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether something may be left out."""
        return bool(self.targets or self.excludes)

    def __str__(self) -> str:
        words = (("--target", self.targets), ("--exclude", self.excludes), ("--replace", self.replaces))
        return " ".join(f"{option} {pattern}" for option, patterns in words for pattern in patterns)

    def refuse_strangers(self, servers: Iterable[str], dynos: Iterable[str]) -> None:
        """Raise DynoctlError where a pattern is of nothing that there is."""
        servers, dynos = list(servers), list(dynos)
        types = sorted({naming.parse_dyno(dyno)[0] for dyno in dynos})
        for option, patterns, names in (
            ("--target", self.targets, [*servers, *dynos, *types]),
            ("--exclude", self.excludes, [*servers, *dynos, *types]),
            ("--replace", self.replaces, [*dynos, *types]),
        ):
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in names):
                    known = ", ".join([*servers[:5], *types, *dynos[:5]])
                    raise DynoctlError(
                        f"{option} {pattern} is no server, dyno or process type of this app"
                        if option != "--replace"
                        else f"--replace {pattern} is no dyno or process type of this app",
                        f"There is, among others: {known}. Patterns are as the shell's: 'web.*'",
                    )

    def restarts(self, wanted: Sequence[Resource], found: Mapping[str, Found]) -> list[Change]:
        """A restart for each dyno that is to be replaced and is there. Changes of it that are due anyway win."""
        return [
            Change(
                resource,
                Action.RESTART,
                found[resource.key].attributes,
                resource.attributes,
                "asked for with --replace",
            )
            for resource in wanted
            if resource.triggers and resource.key in found and self._replaces(resource.dyno)
        ]

    def choose(self, changes: Sequence[Change]) -> list[Change]:
        """The changes that are wanted, in their order. A dyno comes with all that it stands on; what dynos that stay as
        they are may still stand on does not go."""
        if not self.partial:
            return list(changes)
        # One that changes its server is a dyno all the same: it does not go here without coming there.
        dynos: dict[str, set[str]] = {}
        for one in changes:
            if one.resource.dyno is not None:
                dynos.setdefault(one.resource.dyno, set()).add(one.resource.server)
        wanted = {dyno for dyno, servers in dynos.items() if self._wants(dyno, servers)}
        busy = {server for dyno in wanted for server in dynos[dyno]}
        held = {server for dyno in dynos.keys() - wanted for server in dynos[dyno]}

        def wants(one: Change) -> bool:
            server, dyno = one.resource.server, one.resource.dyno
            if dyno is not None:
                return dyno in wanted
            if one.resource.follows:  # also one that goes: it may lead to a dyno that is wanted elsewhere
                return bool(wanted) or not self.targets or _any(self.targets, (server,))
            named = not self.targets or _any(self.targets, (server,))
            if one.action.removes:
                return named and server not in held and not _any(self.excludes, (server,))
            return server in busy or (named and not _any(self.excludes, (server,)))

        return [one for one in changes if wants(one)]

    def _wants(self, dyno: str, servers: Iterable[str]) -> bool:
        names = (dyno, naming.parse_dyno(dyno)[0], *servers)
        return (not self.targets or _any(self.targets, names)) and not _any(self.excludes, names)

    def _replaces(self, dyno: str | None) -> bool:
        return dyno is not None and _any(self.replaces, (dyno, naming.parse_dyno(dyno)[0]))


EVERYTHING = Selection()


def _any(patterns: Iterable[str], names: Iterable[str]) -> bool:
    names = tuple(names)
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)
