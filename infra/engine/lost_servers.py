"""Recorded servers that the manifest does not reach: which of them left it, are lost, or have a wrong address in it.

Nothing is taken from a machine that may be a server of the manifest, and only what is silent can be given up: the dynos
of a server that answers in any way keep running, and would run twice."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace

from infra.engine.other_manifests import is_other
from infra.engine.prepared import Request
from infra.engine.unproven_servers import leave_alone
from infra.errors import Diagnostic, DynoctlError, Unreachable
from infra.fleet.facts import Facts, newest_meta
from infra.fleet.identity import identify, recorded_connections
from infra.fleet.inventory import departed_targets, leaving_targets
from infra.fleet.observe import Fleet, Observer, observe
from infra.manifest.model import Manifest
from infra.model.shell import Connect
from infra.model.target import Target, host_port
from infra.model.text import quantity
from infra.state.last_applied import IDLE

FORCE = "if it is certain that its dynos do not run, or may run twice, add --force"
FORCE_DESTROY = "if its dynos do not run, or may go on, add --force"


@dataclass(frozen=True)
class Departed:
    """``leaving`` are the targets of servers that left the manifest, by machine-id; they were observed. ``forgotten``
    are the machine-ids of those that are given up. ``problems`` are servers that may have a wrong address, and
    ``remarks`` are notes of those that cannot be seen."""

    leaving: Mapping[str, Target]
    forgotten: frozenset[str] = frozenset()
    problems: tuple[Diagnostic, ...] = ()
    remarks: tuple[str, ...] = ()


def look(
    manifest: Manifest,
    request: Request,
    fleet: Fleet,
    observer: Observer,
    connect: Connect,
    progress: Callable[[str], None],
) -> Departed:
    """Observe the recorded servers that are not at an address of the manifest, and add those that left it to ``fleet``.

    Raises DynoctlError if a server to be forgotten or evacuated answers."""
    search = _Search(manifest, request, fleet)
    if search.targets:
        progress(f"Observing {quantity(len(search.targets), 'server')} no longer in the manifest")
    return search.run(observer, connect)


class _Search:
    def __init__(self, manifest: Manifest, request: Request, fleet: Fleet) -> None:
        self._manifest = manifest
        self._request = request
        self._fleet = fleet
        self._verb = "destroy" if request.destroy else "apply"
        facts = _facts(fleet)
        meta = newest_meta(facts.values())
        recorded = recorded_connections(meta)
        known = {server.machine_id for server in facts.values()} | recorded.keys()
        hint = request.hint.get(manifest.app.name, {})
        self._hinted = {machine: way for machine, way in hint.items() if machine not in known and IDLE not in way}
        """Where this computer applied the app last, as far as no server that was reached knows of it."""
        self._known = identify(manifest, facts, self._hinted)
        self._recorded = {**self._hinted, **recorded}
        self._carrying = set(meta.get("dynos", {}).values())
        departed = departed_targets(manifest, facts, self._hinted)
        proven = leaving_targets(manifest, facts, self._hinted, hint, request.trust)
        named = request.forget | request.evacuate
        self.targets = {
            machine: target
            for machine, target in departed.items()
            if machine in proven or {target.name, self._recorded[machine].get("name", "")} & named
        }
        """Those that are observed: proven, or named by the user."""
        self._unproven = {machine: target for machine, target in departed.items() if machine not in self.targets}
        self._forgotten = self._to_forget()
        self._problems: list[Diagnostic] = []
        self._remarks: list[str] = []

    def run(self, observer: Observer, connect: Connect) -> Departed:
        observe(list(self.targets.values()), observer, self._fleet, connect)
        for machine, target in self.targets.items():
            self._refuse_another(machine, target)
        leaving = {machine: target for machine, target in self.targets.items() if self._leaves(machine, target)}
        self._refuse_ignorance()
        alone = {machine: target for machine, target in self._unproven.items() if machine not in self._known.displaced}
        leaving |= leave_alone(self._manifest, self._fleet, alone, self._recorded, self._verb)
        forgotten = frozenset(self._forgotten - leaving.keys())
        return Departed(leaving, forgotten, tuple(self._problems), tuple(self._remarks))

    def _to_forget(self) -> set[str]:
        """The machines that --forget means, by the name that they have or had. At the address of some, another machine
        answers now."""
        names: dict[str, set[str]] = {}
        for machine in self._known.replaced:
            names.setdefault(self._known.servers[machine], set()).add(machine)
        for machine, target in self.targets.items():
            names.setdefault(target.name, set()).add(machine)
        shown = set(names)
        for machine in self.targets:
            name = self._recorded[machine].get("name", "")
            if name not in shown:  # a name in the plan means that server, and not another one that had it
                names.setdefault(name, set()).add(machine)
        unknown = self._request.forget - names.keys() - self._give_up(names)
        if unknown and self._request.destroy:
            raise DynoctlError(
                f"cannot forget {', '.join(sorted(unknown))}: no unreachable server of {self._manifest.app.name} has "
                "this name",
                "list the servers that are unreachable: dynoctl ps",
            )
        if unknown:
            raise DynoctlError(
                f"cannot forget {', '.join(sorted(unknown))}: not an unreachable server that left "
                f"{self._manifest.file.name}",
                "list the servers that can be forgotten: dynoctl plan",
            )
        evacuated = {
            machine for machine in self._known.replaced if self._known.servers[machine] in self._request.evacuate
        }
        return evacuated.union(*(names.get(name, ()) for name in self._request.forget))

    def _give_up(self, departed: Container[str]) -> set[str]:
        """The servers of the manifest that a destroy gives up: they are no longer waited for. ``departed`` are the
        names of machines that --forget can mean as well."""
        given_up: set[str] = set()
        for name in sorted(self._request.forget & {server.name for server in self._manifest.servers}):
            why = self._fleet.unreachable.get(name)
            if not self._request.destroy or (why is None and name in departed):
                continue
            if why is None:
                raise _reachable(name, "destroy")
            _refuse_noise("forget", name, why, self._request, self._manifest.app.name)
            del self._fleet.unreachable[name]
            given_up.add(name)
        return given_up

    def _refuse_another(self, machine: str, target: Target) -> None:
        """Leave a machine alone that has the address of another one now."""
        seen = self._fleet.found.get(target.name)
        if seen is None or seen.facts.machine_id == machine:
            return
        self._drop(target)
        if machine in self._hinted:
            del self._hinted[machine]
            return
        self._fleet.unreachable[target.name] = Unreachable(
            f"{target.name}: {_address(target)} is another machine now (machine-id {seen.facts.machine_id}, "
            f"recorded {machine})",
            f"if the recorded machine is gone: dynoctl {self._verb} --forget {target.name}",
            silent=True,
        )

    def _leaves(self, machine: str, target: Target) -> bool:
        """Whether a recorded server left the manifest and is to be emptied once it can be reached. It is not if it may
        be a server of the manifest, or is forgotten."""
        why = self._fleet.unreachable.get(target.name)
        forgotten = machine in self._forgotten
        if (
            machine in self._recorded
            and machine not in self._hinted
            and target.name not in self._fleet.found
            and not why
        ):
            return False  # a hint led to another machine
        if machine in self._hinted and why is None and not self._is_ours(target):
            self._drop(target)
            del self._hinted[machine]
            return False
        if why is None and self._known.may_be_of(machine) and not self._request.destroy:
            if forgotten:
                return True  # it is not that server: the user said so
            self._drop(target)
            self._problems.append(self._wrong_address(machine, target))
            return False
        if why is None and forgotten:
            raise _reachable(target.name, self._verb)
        if forgotten:
            _refuse_noise("forget", target.name, why, self._request, self._manifest.app.name)
            del self._fleet.unreachable[target.name]
            return False
        if machine in self._known.displaced and not self._request.destroy:
            name = self._known.servers[machine]
            if name in self._request.evacuate:
                _refuse_noise("evacuate", name, why, self._request)
            del self._fleet.unreachable[target.name]
            return False
        if why is not None and machine in self._hinted:
            del self._fleet.unreachable[target.name]
            self._remarks.append(
                f"{self._manifest.app.name} was applied from here to {target.name} ({_address(target)}), which is "
                "unreachable, and of which no server knows: what runs there is not seen; if it is gone: "
                f"dynoctl {self._verb} --forget {target.name}"
            )
            return False
        if why is not None and not _silent(why) and machine in self._carrying and not self._request.destroy:
            self._problems.append(_out_of_reach(target, why))
        return True

    def _is_ours(self, target: Target) -> bool:
        """Whether a server to which a hint led has records of this manifest: they decide, not the hint."""
        facts, origin = self._fleet.found[target.name].facts, self._request.origin
        recorded = facts.origins.get(self._manifest.app.name)
        environment = str(facts.meta.get("environment", "default"))
        other = recorded is not None and origin is not None and is_other(self._manifest.app.name, recorded, origin)
        return bool(facts.meta) and environment == self._manifest.environment and not other

    def _refuse_ignorance(self) -> None:
        """Refuse to start everything anew where no server that was reached has records, and others may run dynos."""
        if self._request.destroy or newest_meta(_facts(self._fleet).values()):
            return
        present = self._known.servers.keys() - self._known.displaced
        away = {
            machine: self._known.servers.get(machine) or way.get("name", "")
            for machine, way in self._hinted.items()
            if machine not in self._forgotten
            and machine not in self._known.replaced
            and self._known.servers.get(machine) not in self._request.evacuate
        }
        if away:
            given_up = " ".join(
                f"{'--evacuate' if machine in present else '--forget'} {away[machine]}" for machine in away
            )
            self._problems.append(
                Diagnostic(
                    f"no reachable server has records of {self._manifest.app.name}, and it was applied from here to "
                    f"{', '.join(away.values())}: its dynos may be running there and would run twice",
                    path="servers",
                    hint=f"make one of them reachable; or if they are gone: dynoctl apply {given_up}",
                )
            )

    def _wrong_address(self, machine: str, target: Target) -> Diagnostic:
        """The error for a server that answers at its recorded address, while one of the manifest is unreachable."""
        name = self._known.may_be_of(machine)
        index, server = next(
            (index, server) for index, server in enumerate(self._manifest.servers) if server.name == name
        )
        was, now = _address(target), _address(replace(target, host=server.host, port=server.port))
        if machine in self._known.displaced:
            summary = f"{name} is unreachable at {now}, and still answers at {was}, where it was applied last"
            hint = f"correct its address; or if {name} is a new server: dynoctl apply --forget {name}"
        else:
            summary = f"{name} is unreachable at {now}, and {target.name}, which left the manifest, answers at {was}"
            hint = f"correct the address if they are one server; else, to empty {target.name}: dynoctl apply --forget "
            hint += target.name
        return Diagnostic(f"{summary}; nothing is removed from it", path=f"servers/{index}/host", hint=hint)

    def _drop(self, target: Target) -> None:
        """Let go of a server that must not be changed."""
        self._fleet.sessions.pop(target.name).close()
        del self._fleet.found[target.name]


def refuse_evacuation(request: Request, manifest: Manifest, fleet: Fleet) -> None:
    """Raise DynoctlError if a server to be evacuated answers or is not in the manifest: its dynos would run twice. One
    whose address another machine has now can be evacuated; that means the old machine."""
    known = identify(manifest, _facts(fleet))
    replaced = {known.servers[machine] for machine in known.replaced}
    for name in sorted(request.evacuate - replaced):
        if name not in {server.name for server in manifest.servers}:
            names = ", ".join(server.name for server in manifest.servers)
            raise DynoctlError(
                f"cannot evacuate {name}: no such server in {manifest.file.name}",
                f"available: {names}; for a server that left the manifest: dynoctl apply --forget {name}",
            )
        why = fleet.unreachable.get(name)
        if why is None:
            raise DynoctlError(
                f"cannot evacuate {name}: reachable, so its dynos can be moved without downtime",
                f"set drain: true for {name} in {manifest.file.name}, then: dynoctl apply",
            )
        _refuse_noise("evacuate", name, why, request)


def _reachable(name: str, verb: str) -> DynoctlError:
    return DynoctlError(
        f"cannot forget {name}: reachable",
        f"{verb} without --forget, which removes the app from it: dynoctl {verb}",
    )


def _refuse_noise(verb: str, name: str, why: DynoctlError | None, request: Request, app: str = "") -> None:
    """Raise DynoctlError if a server is to be given up although something at its address answers."""
    if why is None or _silent(why) or request.force:
        return
    cause = f"{why.hint}; or " if why.hint else ""
    runs = f"what it has of {app} may go on" if request.destroy else "its dynos may be running and would run twice"
    raise DynoctlError(
        f"cannot {verb} {name}: it answers, so {runs}: {why.summary}",
        f"{cause}{FORCE_DESTROY if request.destroy else FORCE}",
    )


def _out_of_reach(target: Target, why: DynoctlError) -> Diagnostic:
    """The error for a server that left the manifest, answers, and cannot be emptied."""
    return Diagnostic(
        f"{target.name} left the manifest and cannot be emptied, and its dynos may be running: {why.summary}",
        hint=f"make it reachable, or put it back; or if its dynos do not run, or may run twice: "
        f"dynoctl apply --forget {target.name} --force",
    )


def _silent(why: DynoctlError) -> bool:
    return isinstance(why, Unreachable) and why.silent


def _facts(fleet: Fleet) -> dict[str, Facts]:
    return {name: observed.facts for name, observed in fleet.found.items()}


def _address(target: Target) -> str:
    return target.host if target.port is None else host_port(target.host, target.port)
