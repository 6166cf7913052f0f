"""What must be true of a fleet at every moment, after every command, and once everything has settled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from infra.model.paths import STATE
from infra.model.release import parse
from infra.model.resource import Effect
from infra.plan.plan import Plan
from tests.simulation.fleet import SimFleet
from tests.simulation.harness import APP, KILLED, Outcome
from tests.simulation.providers import config_text
from tests.simulation.registry import digest
from tests.simulation.server import ROUTES, UNITS, Release, SimServer
from tests.simulation.wanted import SHARING, Run, Wanted

PREFIX = f"dyno-{APP}-"


@dataclass(frozen=True)
class Snapshot:
    """What runs where, before a command: by machine and unit; and each server's version."""

    running: Mapping[tuple[str, str], Release]
    stopped: Mapping[tuple[str, str], Release]
    """What dynos would run that are down."""
    healthy: frozenset[tuple[str, str]]
    versions: Mapping[str, int]
    files: Mapping[str, Mapping[str, str]]
    """By machine: the files of schedules, routes and slugs, which go back with a release."""


def snapshot(fleet: SimFleet) -> Snapshot:
    running, healthy = {}, set()
    for server in fleet.servers.values():
        for unit, process in server.processes.items():
            running[(server.machine_id, unit)] = process.release
            if process.healthy:
                healthy.add((server.machine_id, unit))
    versions = {server.machine_id: server.version for server in fleet.servers.values()}
    files = {server.machine_id: _kept_files(server) for server in fleet.servers.values()}
    return Snapshot(running, _stopped(fleet), frozenset(healthy), versions, files)


def _stopped(fleet: SimFleet) -> dict[tuple[str, str], Release]:
    found = {}
    for server in fleet.servers.values():
        for path in [path for path in server.files if path.startswith(f"{UNITS}/{PREFIX}")]:
            unit = path.removeprefix(f"{UNITS}/").removesuffix(".service")
            if is_ours(unit) and unit not in server.processes and (settings := server.unit(unit)):
                found[server.machine_id, unit] = server.release(settings)
    return found


def _kept_files(server: SimServer) -> dict[str, str]:
    found = {path: str(bool(text)) for path, text in server.files.items() if path.startswith(f"{STATE}/{APP}/slugs/")}
    found |= {path: text for path, text in server.files.items() if path.startswith(f"{UNITS}/{PREFIX}nightly-")}
    return found | upstreams(server)


class Watch:
    """Sees every dyno that starts or stops while a command of dynoctl is at work."""

    def __init__(self, fleet: SimFleet) -> None:
        self.fleet = fleet
        self.plan: Plan | None = None
        self.active = False
        self.machines: dict[str, str] = {}
        self.servers: Mapping[str, SimServer] = {}
        self.duplicates: set[tuple[str, str]] = set()
        """Machines and units that may run beside another: they were given up while nobody could ask them."""
        self.given_up: set[str] = set()
        """Machines that the user says are lost, or that nothing leads to."""
        self.ends_runs = False
        self.before = Snapshot({}, {}, frozenset(), {}, {})
        self.calm = False
        self.most = 1
        self.guarded: set[str] = set()
        self.members: set[str] = set()
        """The addresses of the servers of the manifest."""
        self.evacuated: set[str] = set()
        """Machines whose dynos were started elsewhere, and that no command has reached since then."""
        self.informed = False
        """Whether a server that this command asked has records."""
        fleet.watch.append(self.hear)

    def begin(self, before: Snapshot, wanted: Wanted, guarded: set[str], *, calm: bool) -> None:
        """A command begins; it is ``calm`` if no fault will strike. ``guarded`` are machines that it must not change."""
        self.guarded = guarded
        self.active, self.plan, self.before, self.calm = True, None, before, calm
        self.most = max(wanted.parallel, wanted.canary, 1) + wanted.failures
        where = dict(wanted.addresses)
        self.members = {where.get(name, name) for name in wanted.servers if name not in wanted.mistyped}

    def planned(self, plan: Plan, servers: Mapping[str, SimServer]) -> None:
        self.plan = plan
        self.servers = servers
        self.machines = {server.machine_id: name for name, server in servers.items()}

    def end(self) -> None:
        self.active = False

    def hear(self, what: str, server: SimServer, unit: str) -> None:
        if not is_ours(unit) and (what not in ("commanded", "ended") or unit.startswith(f"{PREFIX}admin-")):
            return
        getattr(self, what)(server, unit)

    def started(self, server: SimServer, unit: str) -> None:
        """No dyno comes up beside one of a server that answers, but has a wrong address in the manifest."""
        for other in self.fleet.servers.values() if self.active else ():
            beside = other is not server and other.machine_id in self.guarded and other.up and unit in other.processes
            assert not beside, (
                f"{unit} was started on {server.host} and runs on {other.host}, whose address is mistyped"
            )
            away = other.host in self.members and not self.known(other) and self.informed
            away = away and other.machine_id not in self.given_up | self.evacuated
            twice = away and other is not server and unit in other.processes and "-web-" not in unit
            assert not twice, f"{unit} was started on {server.host} and runs on {other.host}, which is unreachable"

    def stopped(self, server: SimServer, unit: str) -> None:
        """Nothing stops that the plan does not restart or stop."""
        if not self.active or not server.powered:
            return
        assert self.plan is not None, f"{unit} was stopped on {server.host} before there was a plan"
        effects = self.plan.effects()
        name, dyno = self.machines[server.machine_id], dyno_of(unit)
        effect = effects.get((name, dyno))
        assert effect is not None, f"{dyno} was stopped on {name}, and the plan does not say so"
        if self.calm and effect is Effect.RESTART:
            down = [one for one in self.before.healthy if self.is_down(*one)]
            assert len(down) <= self.most, f"{len(down)} dynos are down at once: {down}"

    def is_down(self, machine: str, unit: str) -> bool:
        """Whether a dyno that was up, and that the plan does not stop, does not run now."""
        assert self.plan is not None
        if machine not in self.machines or not is_ours(unit):
            return False
        server = next(server for server in self.fleet.servers.values() if server.machine_id == machine)
        process = server.processes.get(unit)
        stops = self.plan.effects().get((self.machines[machine], dyno_of(unit))) is Effect.STOP
        return not stops and (process is None or not process.healthy)

    def scheduled(self, server: SimServer, unit: str) -> None:
        """A schedule is on one server at any moment."""
        if self.active:
            others = [
                one.host
                for one in self.fleet.servers.values()
                if one is not server and unit in one.timers and self.known(one)
            ]
            assert not others, f"the schedule {unit} was started on {server.host} while it is on {others}"

    def known(self, server: SimServer) -> bool:
        """Whether this command could ask the server: of others, nobody knows what they do."""
        return server.machine_id in self.machines

    def routed(self, server: SimServer, app: str) -> None:
        """A router leads to dynos that run, as far as this command could ask."""
        for dyno, address in upstreams(server).items():
            host, _, port = address.rpartition(":")
            other = self.fleet.at(host)
            if other is None or not other.up or not self.known(other):
                continue
            unit = f"{PREFIX}{dyno.replace('.', '-')}"
            process = other.processes.get(unit)
            assert process is not None or self.was_down(other, unit), (
                f"the router on {server.host} leads to {dyno}, which does not run on {host}"
            )
            if process is not None:
                assert process.port == int(port), (
                    f"the router on {server.host} leads to port {port}, and {dyno} is at {process.port}"
                )

    def was_down(self, server: SimServer, unit: str) -> bool:
        """Whether a dyno did not run when this command began."""
        return (server.machine_id, unit) not in self.before.running

    def left(self, server: SimServer, unit: str) -> None:
        """No router leads to a dyno that was taken away, whether it could be asked or not."""
        if not self.active or self.plan is None or self.was_down(server, unit):
            return
        dyno = dyno_of(unit)
        for router in self.fleet.servers.values():
            if router.machine_id not in self.given_up and (self.plan.formation.homes or not self.known(router)):
                host = upstreams(router).get(dyno, "").rpartition(":")[0]
                assert host not in (server.address, *server.others.values()), (
                    f"{dyno} was taken away from {host} while the router on {router.host} leads to it"
                )

    def ended(self, server: SimServer, name: str) -> None:
        """A one-off dyno ends by itself, or because somebody said so."""
        assert self.ends_runs, f"{name} was ended on {server.host}"

    def commanded(self, server: SimServer, name: str) -> None:
        """Release commands never run at the same time."""
        busy = [
            server.host
            for server in self.fleet.servers.values()
            for other in server.one_offs.values()
            if other.kind == "release"
            and other.name != name
            and not other.over
            and other.ends > self.fleet.clock.seconds
        ]
        assert not busy, f"a release command was started on {server.host} while one runs on {busy}"


def upstreams(server: SimServer) -> dict[str, str]:
    """Where the process of the app's router on a server leads, by dyno; while it is off, where it will lead."""
    text = server.loaded.get(APP) if server.powered else server.files.get(f"{ROUTES}/{APP}/mark.json")
    return dict(json.loads(text)["upstreams"]) if text else {}


def is_ours(unit: str) -> bool:
    """Whether a unit is of the app, and not of the one whose name begins as the app's does."""
    return unit.startswith(PREFIX) and not unit.startswith(f"{PREFIX}admin-")


def dyno_of(unit: str) -> str:
    type_, _, number = unit.removeprefix(PREFIX).rpartition("-")
    return f"{type_}.{number}"


def release_of(wanted: Wanted) -> Release:
    return Release(digest(f"/{wanted.slug}"), config_text({"MODE": wanted.mode} if wanted.mode else {}))


def check_outcome(watch: Watch, wanted: Wanted, run: Run, outcome: Outcome) -> None:
    """What the report says is what the servers say."""
    fleet, before = watch.fleet, watch.before
    for server in fleet.servers.values():
        assert APP not in server.locks, f"the lock on {server.host} has no owner"
        for one in server.one_offs.values():
            if one.kind == "run" and not run.faults:
                assert server.slug(one.app, one.release.slug), f"{one.name} on {server.host} has lost its slug"
    report, plan = outcome.report, outcome.plan
    if report is None or plan is None:
        if outcome.code != KILLED and not run.faults and run.between is None:
            for server in fleet.servers.values():
                assert server.version == before.versions.get(server.machine_id), f"{server.host} was touched"
        return
    now = snapshot(fleet)
    if run.command in ("apply", "over", "target", "evacuate", "forget") and (report.rejected or report.fully_reverted):
        new = release_of(wanted)
        for (machine, unit), release in now.running.items():
            if release == new and unit.startswith(PREFIX) and f"{dyno_of(unit)}" not in "".join(report.stranded):
                word = "rejected" if report.rejected else "reverted"
                was = {**before.stopped, **before.running}.get((machine, unit))
                assert was == new, f"{unit} runs a release that was {word}"
        _check_went_back(watch, outcome, before, now)
    _check_changes(watch.servers, outcome, before, now)


def _check_went_back(watch: Watch, outcome: Outcome, before: Snapshot, now: Snapshot) -> None:
    """After a release that was rejected or reverted, routers, schedules and slugs are as before, and nothing runs twice
    that did not."""
    report, plan = outcome.report, outcome.plan
    assert report is not None and plan is not None
    lost = {failure.server for failure in report.failures}  # also those on which nothing could be removed
    moved = plan.release is not None and plan.release.moved
    # The slug of an earlier release may be sent again, and stays on servers that have dynos.
    known = {path for server in watch.servers.values() for path in _earlier_slugs(server)}
    for name, server in watch.servers.items():
        machine = server.machine_id
        units = [
            path.removeprefix(f"{UNITS}/") for path, text in server.files.items() if text and path.startswith(UNITS)
        ]
        known_here = known if any(is_ours(unit) for unit in units) else set()
        if server.up and machine in before.files and name not in lost and not moved and not report.interrupted:
            files = {path: text for path, text in now.files[machine].items() if path not in known_here}
            was = {path: text for path, text in before.files[machine].items() if path not in known_here}
            assert files == was, f"{name} keeps something of a release that failed"
    for unit in {unit for _, unit in now.running}:
        runs, ran = ({m for m, u in shot.running if u == unit and m in watch.machines} for shot in (now, before))
        assert len(runs) < 2 or len(runs) <= len(ran), f"{unit} runs on {len(runs)} servers"


def _earlier_slugs(server: SimServer) -> set[str]:
    """The paths of the slugs of releases that ran, by the records of a server."""
    home = f"{STATE}/{APP}"
    records = [server.files[path] for path in server.below(f"{home}/releases") if path.endswith(".json")]
    releases = [parse(json.loads(text)) for text in records if text]
    return {f"{home}/slugs/{one.slug}.squashfs" for one in releases if one is not None and one.ran}


def _check_changes(servers: Mapping[str, SimServer], outcome: Outcome, before: Snapshot, now: Snapshot) -> None:
    report, plan = outcome.report, outcome.plan
    assert report is not None and plan is not None
    lost = {failure.server for failure in report.failures if failure.unreachable or failure.subject == "apply"}
    failed = {(failure.server, failure.subject) for failure in report.failures}
    for change in report.done:
        server = servers.get(change.resource.server)
        if server is None or not server.up or change.resource.server in lost or change.resource.dyno is None:
            continue
        unit = f"{PREFIX}{change.resource.dyno.replace('.', '-')}"
        process = server.processes.get(unit)
        if change.effect is Effect.STOP:
            assert process is None, f"{change.resource.dyno} is reported as stopped, and runs"
        elif change.effect is not None and change.after is not None and "calendar" not in str(change.after):
            assert process is not None, f"{change.resource.dyno} is reported as up, and does not run"
            slug = dict(change.after["unit"])["Service.Slug"]  # type: ignore[arg-type]
            assert process.release.slug == slug, f"{change.resource.dyno} is reported as moved, and runs what it ran"
    for change in report.skipped:
        server = servers.get(change.resource.server)
        dyno = change.resource.dyno
        if server is None or not server.up or change.resource.server in lost or dyno is None or change.effect is None:
            continue
        if (change.resource.server, dyno) in failed:
            continue
        key = (server.machine_id, f"{PREFIX}{dyno.replace('.', '-')}")
        here, was = now.running.get(key), before.running.get(key)
        if dyno in report.reverted and was is None:
            continue  # it was down, and runs what it ran last
        if dyno in report.reverted and here is not None and was is not None:
            here, was = replace(here, config=""), replace(was, config="")  # a file that was edited by hand stays so
        assert here == was, f"{dyno} is reported as not begun, and changed"


def check_running(fleet: SimFleet, wanted: Wanted | None, outcome: Outcome, ignored: set[str]) -> dict[str, set[str]]:
    """After an apply that ended well with all servers there: every dyno runs once, where it is to run, and what is
    wanted. Returns each machine's dynos."""
    homes = {} if wanted is None or outcome.plan is None else outcome.plan.formation.homes
    names = {} if wanted is None else {host: name for name, host in wanted.addresses}
    if wanted is not None and wanted.volume:
        sharing = {home for dyno, home in homes.items() if dyno.partition(".")[0] in SHARING}
        assert len(sharing) < 2, f"the dynos of one volume run on {sorted(sharing)}"
    found = {}
    for server in fleet.servers.values():
        if server.machine_id in ignored:
            continue
        name = names.get(server.host, server.host)
        here = {dyno for dyno, home in homes.items() if home == name}
        ours = {dyno_of(unit): process for unit, process in server.processes.items() if process.app == APP}
        timers = {dyno_of(unit) for unit in server.timers}
        assert {*ours, *timers} == here, f"{name} runs {sorted(ours)} {sorted(timers)}, not {sorted(here)}"
        found[server.machine_id] = here
        for dyno, process in ours.items():
            assert wanted is not None
            assert process.release == release_of(wanted), f"{dyno} on {name} runs {process.release}"
            assert process.healthy, f"{dyno} on {name} does not answer"
        if wanted is not None and name in wanted.router and name in wanted.servers:
            web = {dyno for dyno in homes if dyno.startswith("web.")}
            assert set(upstreams(server)) == web, f"the router on {name} leads to {upstreams(server)}"
    return found


def check_settled(fleet: SimFleet, wanted: Wanted | None, outcome: Outcome, ignored: set[str]) -> None:
    """After an apply that ended well with all servers there: nothing is left over anywhere."""
    dynos = check_running(fleet, wanted, outcome, ignored)
    names = {} if wanted is None else {host: name for name, host in wanted.addresses}
    for server in fleet.servers.values():
        if server.machine_id not in ignored:
            name = names.get(server.host, server.host)
            assert not server.one_offs, f"{name} keeps {list(server.one_offs)}"
            _check_files(server, name, wanted, dynos[server.machine_id])


def _check_files(server: SimServer, name: str, wanted: Wanted | None, here: set[str]) -> None:
    home = f"{STATE}/{APP}"
    router = wanted is not None and name in wanted.router and name in wanted.servers
    member = wanted is not None and name in wanted.servers and (here or router or name not in wanted.drains)
    allowed = {f"/etc/dyno/{APP}/{dyno}.env" for dyno in here}
    allowed |= {f"{UNITS}/{PREFIX}{dyno.replace('.', '-')}.service" for dyno in here}
    allowed |= {f"{ROUTES}/{APP}/mark.json"} if router else set()
    strays = []
    for path in server.files:
        ours = path.startswith((f"{home}/", f"/etc/dyno/{APP}/", f"{UNITS}/{PREFIX}", f"{ROUTES}/{APP}/"))
        if not ours or path in allowed or path.startswith(f"{UNITS}/{PREFIX}admin-"):
            continue
        directory, _, file = path.removeprefix(f"{home}/").rpartition("/")
        state = directory == "" and file in ("salt", "meta.json", "audit.jsonl", "origin")
        release = directory == "releases" and file.endswith((".json", ".body"))
        release = release or path.replace(".commanded", ".json") in server.files
        slug = directory == "slugs" and here and file.endswith(".squashfs") and server.files[path]
        applied = directory == "applied" and _is_there(server, file)
        if not (member and (state or release or slug or applied)):
            strays.append(path)
    assert not strays, f"{name} keeps what nobody owns: {strays}"


def _is_there(server: SimServer, file: str) -> bool:
    """Whether what a record is about is on the server."""
    kind, _, name = file.removesuffix(".json").partition(".")
    match kind:
        case "slug":
            return any(path.rpartition("/")[2].startswith(name.partition("@")[2]) for path in server.files)
        case "config":
            return f"/etc/dyno/{APP}/{name.removeprefix(f'{APP}-')}.env" in server.files
        case "unit" | "schedule":
            return f"{UNITS}/{PREFIX}{name.removeprefix(f'{APP}-').replace('.', '-')}.service" in server.files
        case "router":
            return f"{ROUTES}/{APP}/mark.json" in server.files
    return False
