"""A user, a fleet and the engine: performs operations one by one, and looks after each whether all is as promised."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from infra.engine.prepared import Prepared
from infra.errors import ERROR, OK, UNREACHABLE
from infra.fleet.facts import newest_meta
from infra.manifest.model import Manifest
from infra.model.origin import Origin
from infra.plan.selection import Selection
from tests.simulation import other_users
from tests.simulation import wanted as words
from tests.simulation.as_running import act, go_back
from tests.simulation.harness import APP, KILLED, Outcome, Simulation
from tests.simulation.invariants import Watch, check_outcome, check_running, check_settled, snapshot
from tests.simulation.neighbour import OTHER, of_other, other_app
from tests.simulation.registry import digest
from tests.simulation.server import STATE, UNITS, SimServer
from tests.simulation.wanted import HOSTS, Edit, Happen, Operation, Pass, Run, Wanted

HOUR = 3600

SKEWS = {"s1": 0.0, "s2": 20.0, "s3": -25.5}
"""Seconds by which clocks are ahead of that of s1."""

WRONG = 600.0
"""Seconds by which a clock is wrong: more than dynoctl waits for."""


class World:
    """One life of a fleet. ``applies`` counts the commands of dynoctl that planned or changed something. The user's
    computer ``remembers`` where it applied last, or is another one each time."""

    def __init__(self, *, remembers: bool = False) -> None:
        self.simulation = Simulation(*HOSTS, cores=3)
        self.simulation.origin = Origin("example.org/shop", "", "dyno.yaml", "here", "/nowhere") if remembers else None
        self.simulation.remembers = remembers
        self.believes = not remembers
        self.fleet = fleet = self.simulation.fleet
        self.wanted = Wanted()
        self.applies = 0
        self.codes: Counter[int] = Counter()
        self.watch = Watch(fleet)
        self.forgotten: set[str] = set()
        """Machines that were given up by name: nobody looks for what they carry."""
        self.heard: dict[str, set[str]] = {}
        self.parent = ""
        self.forwarded = 0
        self.ways: Mapping[str, Mapping[str, str]] = {}
        self.named = {host: self.simulation[host] for host in HOSTS}
        fleet.bad |= {_digest(words.BAD), f"MODE={words.BROKEN}"}
        fleet.bad.add(f"{_digest(words.PARTLY)}@{self.named['s2'].machine_id}")
        fleet.late.add(_digest(words.LATE))
        fleet.crashing |= {_digest(words.CRASHING), f"{_digest(words.UNLUCKY)}@{self.named['s2'].machine_id}"}
        fleet.bad_commands.add(_digest(words.UNMIGRATED))
        fleet.clock.skew = -HOUR
        for host, skew in SKEWS.items():
            self.named[host].skew = skew
        other_app(self.named["s1"])
        self.other = of_other(self.named["s1"])
        self.rolled_back: Wanted | None = None
        """The manifest that was rolled back from: until somebody decides so, nothing brings it back."""
        self.neighbours = 0

    def perform(self, operation: Operation) -> None:
        """Do one thing. Raises AssertionError if a promise is broken."""
        match operation:
            case Edit(key, value):
                self.wanted = replace(self.wanted, **{key: value})
            case Run():
                self._run(operation)
            case Happen(what, host):
                self._happen(what, self.named[host])
            case Pass(seconds):
                self.fleet.clock.advance(seconds)

    def settle(self) -> None:
        """All servers are back, the release works: one apply without faults must make everything as it is wanted, and a
        destroy must leave nothing."""
        for host, server in self.named.items():
            server.tick()
            server.connected, server.full, server.refuses, server.skew = True, False, "", SKEWS[host]
            _clear(server)
            if not server.powered:
                server.boot_up()
        self.fleet.clock.advance(24 * HOUR)
        self.wanted = self.wanted.mended()
        unknown = self._unknown()
        outcome = self._run(Run("over"))
        if outcome.plan and any("is not logged in to" in str(why) for why in outcome.plan.unreachable.values()):
            # A record that was not written again names a server that was emptied: the user believes it, as it is true.
            self.believes = True
            outcome = self._run(Run("over"))
        if outcome.code == UNREACHABLE and outcome.plan and not {*outcome.plan.unreachable} & {*self.wanted.servers}:
            # It left the manifest before it got another address: nobody can find it.
            gone = tuple(outcome.plan.unreachable)
            outcome = self._run(Run("forget", names=gone))
        if "no reachable server has records" in _why(outcome):
            # None of those to which it was applied is to be found, or has records.
            hint = self.simulation.hint[APP]
            here = {server.machine_id for name in self.wanted.servers if (server := self.called(name))}
            gone = tuple(sorted({way["name"] for machine, way in hint.items() if machine not in here}))
            outcome = self._run(Run("forget", names=gone))
        assert outcome.code == OK, f"the last apply failed: {outcome.code} {_why(outcome)}"
        pending = self.simulation.pending(self.wanted.manifest())
        assert pending == [], f"the last apply did not converge: {pending}"
        check_settled(self.fleet, self.wanted, outcome, self.forgotten | unknown)
        if of_other(self.named["s1"]) != self.other and not self._rebuilt("s1"):
            raise AssertionError("another app was touched")
        outcome = self._run(Run("destroy"))
        assert outcome.code == OK, f"destroy failed: {outcome.code} {_why(outcome)}"
        check_settled(self.fleet, None, outcome, self.forgotten | unknown)
        for server in self.watch.servers.values() if outcome.report is not None else ():
            assert APP not in server.lock_files, f"{server.host} keeps the files of a lock"

    def called(self, name: str) -> SimServer:
        """The server that has a name in the manifest."""
        return self.fleet.servers[dict(self.wanted.addresses).get(name, name)]

    def _guarded(self, run: Run) -> set[str]:
        """The machines of the manifest that a command must not change, as their address in it is wrong."""
        if run.command in ("destroy", "end", "forget"):
            return set()
        return {self.called(name).machine_id for name in self.wanted.mistyped & {*self.wanted.servers}}

    def _unknown(self) -> set[str]:
        """Machines outside the manifest to which nothing leads: the newest record does not know them, nor does any that
        it was made from."""
        here = [self.called(name) for name in self.wanted.servers]
        newest = max((_meta(server) for server in here), key=lambda meta: int(meta.get("serial", 0)))
        hosts = {server.machine_id: server.host for server in self.named.values()}
        ways = {**newest.get("spares", {}), **newest.get("servers", {})}
        # One that got another address since it was recorded answers at none that is known.
        lost = {machine for machine, way in ways.items() if not self._leads(way, machine)}
        known = (self.heard.get(_key(newest), set()) | {*newest.get("spares", {})}) - lost
        return set(hosts) - known - {server.machine_id for server in here}

    def _leads(self, way: Mapping[str, str], machine: str) -> bool:
        """Whether a recorded address is one of the machine."""
        written = f"{way['host']}:{way['port']}" if way.get("port") else way.get("host", "")
        return any(one.machine_id == machine and written in (one.host, *one.others) for one in self.named.values())

    def _listen(self) -> None:
        """Note which machines each new record knows, and those that the record knew from which it was made."""
        for server in self.named.values():
            meta = _meta(server)
            if meta and _key(meta) not in self.heard:
                self.heard[_key(meta)] = self.heard.get(self.parent, set()) | {*meta.get("servers", {})}

    def _rebuilt(self, host: str) -> bool:
        return f"{UNITS}/dyno-{OTHER}-web-1.service" not in self.named[host].files

    # Commands.

    def _run(self, run: Run) -> Outcome:
        simulation, fleet = self.simulation, self.fleet
        manifest = self.wanted.manifest()
        fleet.faults = {fleet.count + number: fault for number, fault in run.faults}
        for server in fleet.servers.values():
            server.settle()
        before = snapshot(fleet)
        guarded = self._guarded(run)
        held = {
            server.machine_id: (server.boot, dict(server.files), set(server.timers)) for server in self.named.values()
        }
        self.watch.begin(before, self.wanted, guarded, calm=not run.faults and run.between is None)
        self.watch.ends_runs = run.command == "end"
        self.watch.given_up = self.forgotten | self._unknown()
        if run.command in ("evacuate", "forget", "evacuate as running"):
            self.watch.given_up |= {server.machine_id for name, server in self.named.items() if name in run.names}
            self.watch.evacuated |= {
                server.machine_id for name in self.wanted.servers if name in run.names and (server := self.called(name))
            }
        simulation.on_ready = self._ready
        known = any(_meta(self.called(name)) for name in self.wanted.servers)
        left = run.stop

        def stop(_: object) -> bool:
            nonlocal left
            left -= 1
            return left == 0

        self.applies += 1

        def between() -> None:
            if run.between is not None:
                self.watch.active = False
                self._happen(run.between.what, self.named[run.between.host])
                self.watch.active = True

        # Another computer each time knows no server by itself, and its user believes what those of the manifest record.
        trust = frozenset(self.wanted.servers) if self.believes else frozenset()
        options: dict[str, Callable[[], Outcome]] = {
            "apply": lambda: simulation.apply(manifest, trust=trust, stop=stop, before=between),
            "over": lambda: simulation.apply(manifest, trust=trust, stop=stop, before=between, over_rollback=True),
            "target": lambda: simulation.apply(manifest, trust=trust, selection=Selection(run.names)),
            "replace": lambda: simulation.apply(manifest, trust=trust, selection=Selection(replaces=run.names)),
            "evacuate": lambda: simulation.apply(manifest, trust=trust, evacuate=frozenset(run.names)),
            "forget": lambda: simulation.apply(manifest, trust=trust, forget=frozenset(run.names)),
            "rollback": lambda: simulation.rollback(manifest),
            "restart": lambda: simulation.restart(manifest, *run.names),
            "scale": lambda: self._scale(manifest, run, trust),
            "rebalance": lambda: act(simulation, manifest, trust=trust, rebalance=True),
            "evacuate as running": lambda: act(simulation, manifest, trust=trust, evacuate=frozenset(run.names)),
            "roll back as running": lambda: go_back(simulation, manifest, trust=trust),
            "destroy": lambda: simulation.destroy(manifest, trust=trust),
            "end": lambda: simulation.destroy(manifest, trust=trust, end_runs=True),
        }
        outcome = options[run.command]()
        fleet.faults = {}
        self.watch.end()
        self._listen()
        self.codes[outcome.code] += 1
        if run.command == "forget" and (outcome.report is not None or outcome.code == KILLED):
            self.forgotten |= {machine for machine, way in self.ways.items() if way.get("name") in run.names}
        for server in self.named.values():
            if server.machine_id in guarded and server.boot == held[server.machine_id][0] and run.between is None:
                now = (server.boot, server.files, server.timers)
                assert now == held[server.machine_id], f"{server.host} was changed, and its address is mistyped"
        check_outcome(self.watch, self.wanted, run, outcome)
        other_users.check_rollback(self, run, outcome, known=known)
        if run.between is not None and run.between.what == "neighbour":
            other_users.check_stale(self, run, outcome)
        if self._whole(run, outcome):
            check_running(fleet, self.wanted, outcome, self.forgotten | self._unknown())
        return outcome

    def _scale(self, manifest: Manifest, run: Run, trust: frozenset[str]) -> Outcome:
        """``dynoctl scale`` of the type and to the number in the names; it edits the manifest, too."""
        key, number = run.names[0], int(run.names[1])
        if key not in manifest.dynos:
            return Outcome(ERROR)
        scaled = replace(self.wanted, **{key: number})
        edited = (manifest.digest, scaled.manifest().digest)
        outcome = act(self.simulation, manifest, {key: number}, trust=trust, edited=edited)
        if outcome.report is not None or outcome.code == OK:
            self.rolled_back = scaled if self.rolled_back == self.wanted else self.rolled_back
            self.wanted = scaled
        return outcome

    def _whole(self, run: Run, outcome: Outcome) -> bool:
        """Whether a command says that everything is as it is wanted, with nobody away who could know better."""
        up = all(server.up and not server.refuses for server in self.named.values())
        calm = not run.faults and not run.stop and run.between is None
        return run.command in ("apply", "over", "replace") and outcome.code == OK and up and calm

    def _ready(self, ready: Prepared) -> None:
        newest = newest_meta(seen.facts for seen in ready.fleet.found.values())
        self.parent, self.ways = _key(newest), newest.get("servers", {})
        self.watch.informed = bool(newest)
        self.watch.evacuated -= {seen.facts.machine_id for seen in ready.fleet.found.values()}
        # Of others, no server that was reached knows anything; what is nowhere to be found may be evacuated.
        ways = {**ready.request.hint.get(APP, {}), **newest.get("spares", {}), **newest.get("servers", {})}
        lost = {machine for machine in ways if ready.request.evacuate and not self._leads(ways[machine], machine)}
        self.watch.guarded &= ways.keys() - lost
        self.fleet.moments.reached = {seen.facts.machine_id for seen in ready.fleet.found.values()}
        self.watch.planned(ready.plan, {name: session.server for name, session in ready.fleet.sessions.items()})

    # What happens to servers.

    def _name(self, server: SimServer) -> str:
        """The name of a server in the manifest."""
        return next(name for name in HOSTS if self.called(name) is server)

    def _move(self, server: SimServer, to: str) -> None:
        name = self._name(server)
        self.fleet.move(server.host, to)
        addresses = {**dict(self.wanted.addresses), name: to}
        self.wanted = replace(self.wanted, addresses=tuple(addresses.items()), detours=self._detours())

    def _detours(self) -> tuple[tuple[str, str], ...]:
        return tuple((one.host, next(iter(one.others))) for one in self.named.values() if one.others)

    def _happen(self, what: str, server: SimServer) -> None:
        if what in ("wipe", "rebuild"):
            self.rolled_back = None  # it may have had the only record
        match what:
            case "neighbour":
                other_users.apply_neighbour(self)
            case "reboot":
                if server.powered:
                    server.shut_down()
                    server.boot_up()
            case "off":
                if server.powered:
                    server.shut_down()
            case "on":
                if not server.powered:
                    server.boot_up()
            case "cut":
                server.connected = False
            case "join":
                server.connected = True
            case "full":
                server.full = True
            case "free":
                server.full = False
            case "wipe":
                server.wipe()
            case "rebuild":
                self.fleet.rebuild(server.host)
            case "readdress":
                self._move(server, f"{server.machine_id}-{server.boot}")
            case "forward":
                self.forwarded += 1
                self._move(server, f"gate:{2200 + self.forwarded}")
            case "detour":
                address = f"192.168.{server.machine_id.removesuffix('machine').lstrip('0')}.{server.boot}"
                server.others = {} if server.others else {f"{server.machine_id}.lan": address}
                self.wanted = replace(self.wanted, detours=self._detours())
            case "rename":
                names = [self.called(name).host for name in HOSTS]
                self.wanted = replace(self.wanted, addresses=tuple(zip(HOSTS, names[1:] + names[:1], strict=True)))
            case "mistype":
                self.wanted = replace(self.wanted, mistyped=self.wanted.mistyped | {self._name(server)})
            case "correct":
                self.wanted = replace(self.wanted, mistyped=self.wanted.mistyped - {self._name(server)})
            case "refuse":
                server.refuses = "authentication failed"
            case "admit":
                server.refuses = ""
            case "crash":
                for unit in [one for one, process in server.processes.items() if process.app == APP][:1]:
                    server.stop(unit)
            case "tear":
                used = {one.release.slug for one in server.one_offs.values()}  # a power cut would have ended them
                slugs = [one for one in server.below(f"{STATE}/{APP}/slugs") if one.endswith(".squashfs")]
                for path in [one for one in slugs if not any(slug in one for slug in used)][:1]:
                    server.empty(path)
                    # A timer without a calendar knows no last time of it, either.
                    self.fleet.moments.ended(server, path.rpartition("/")[2].removesuffix(".service"))
            case "empty":
                prefix = f"{UNITS}/dyno-{APP}-"
                own = [one for one in sorted(server.files) if one.startswith(prefix) and one.endswith(".service")]
                for path in [one for one in own if not one.startswith(f"{prefix}admin-")][-1:]:
                    server.empty(path)
                    # A timer without a calendar knows no last time of it, either.
                    self.fleet.moments.ended(server, path.rpartition("/")[2].removesuffix(".service"))
            case "run":
                server.run(APP, HOUR / 6)
            case "squat":
                dynos = [f"{APP}-{dyno}".replace(".", "-") for dyno in ("web.1", "web.2")]
                for unit in [f"dyno-{dyno}" for dyno in dynos if f"dyno-{dyno}" not in server.processes]:
                    settings = server.unit(unit)
                    server.listeners |= {int(settings["port"])} if settings else set()
            case "starve":
                server.memory = 0
            case "clear":
                _clear(server)
            case "ahead":
                server.skew += WRONG
            case "behind":
                server.skew -= WRONG
            case "edit":
                for path in server.below(f"/etc/dyno/{APP}")[:1]:
                    server.version += 1
                    server.files[path] = "MODE=by-hand\n"
            case _:
                raise ValueError(what)


def _clear(server: SimServer) -> None:
    server.listeners.clear()
    server.memory = 4 * 2**30


def _meta(server: SimServer) -> dict[str, Any]:
    text = server.files.get(f"{STATE}/{APP}/meta.json")
    return json.loads(text) if text else {}


def _key(meta: Mapping[str, Any]) -> str:
    return json.dumps(meta, sort_keys=True)


def _digest(slug: str) -> str:
    return digest(f"/{slug}")


def _why(outcome: Outcome) -> str:
    errors = [] if outcome.plan is None else [error.summary for error in outcome.plan.errors]
    return f"{outcome.said} {errors} {dict(outcome.plan.unreachable) if outcome.plan else ''}"
