"""The programs that the simulated providers call: each is a sequence of atomic effects on one server."""

from __future__ import annotations

from infra.model.dyno_status import LEFT_IDLE
from tests.simulation.scripts import Steps
from tests.simulation.server import ROUTES, STATE, DiskFull, OneOff, Release, SimServer

PATIENCE = 60.0
"""Seconds that a dyno has to answer."""

SKEW = 60.0
"""Seconds by which another server's clock may be ahead."""


def write(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    (path,) = argv
    if server.full:
        return 1, f"{path}: no space left on device"
    yield from server.put(f"{path}.dynoctl-new", path, stdin)
    return 0, ""


def remove(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    for path in argv:
        server.remove(path)
        yield
    return 0, ""


def seal(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """A slug counts once it is sealed; before that its upload must have arrived."""
    (path,) = argv
    yield
    return (0, "") if server.files.get(path) else (1, f"{path}: not found")


def enable(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    server.enabled.add(argv[0])
    server.version += 1
    yield
    return 0, ""


def start(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """Start or restart a dyno and wait for its answer: the status is its health. An idle one is only started."""
    unit, verb = argv
    if verb == "restart" and unit in server.idle:
        yield
        return 0, LEFT_IDLE
    server.stop(unit)
    yield
    process = server.start(unit)
    yield
    if process is None:
        return 1, f"{unit}: cannot start"
    if not process.healthy:
        server.fleet.clock.advance(PATIENCE)
        return 1, f"{unit}: no answer"
    return 0, ""


def stop(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    (unit,) = argv
    server.enabled.discard(unit)
    server.version += 1
    yield
    server.stop(unit)
    server.fleet.tell("left", server, unit)
    yield
    return 0, ""


def alive(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    yield
    process = server.processes.get(argv[0])
    if process is None:
        return (0, "") if argv[0] in server.idle else (1, "it does not run")
    fleet = server.fleet
    process.healthy = fleet.answers(process.release, server) and process.release.slug not in fleet.late
    server.version += 1
    return (0, "") if process.healthy and not process.restarts else (1, "it does not answer")


def free(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    yield
    taken = int(argv[0]) in server.listeners
    listener = f'LISTEN 0 128 0.0.0.0:{argv[0]} 0.0.0.0:* users:(("ruby",pid=7,fd=5))'
    return (1, f"port {argv[0]} is already in use\n{listener}") if taken else (0, "")


def journal(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """A dyno's last words hold whatever it has: also its secrets."""
    yield
    process = server.processes.get(argv[0])
    return 0, f"last words: {process.release.config if process else ''}"


def schedule(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """Start a timer from a time, from now, or ("") from its stamp. One in the future is waited for."""
    unit, since, app = argv
    if since:
        server.stamps[unit] = server.time if since == "now" else float(since)
        yield
        ahead = server.stamps[unit] - server.time
        if since != "now" and ahead >= 0:
            if ahead >= SKEW:
                return 1, f"the clock is {ahead:.0f} s behind"
            server.fleet.clock.advance(ahead + 1)
    server.enabled.add(unit)
    server.version += 1
    yield
    server.fleet.moments.begun(server, unit, anew=since == "now")
    server.schedule(unit)
    server.fleet.tell("scheduled", server, unit)
    yield
    server.remove(paused(app, unit))
    yield
    return 0, ""


def rehearse(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    yield
    return (1, "no space left on device") if server.full else (0, "")


def pause(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """Stop a timer in order to move it, and print the last time that it served."""
    unit, app, calendar = argv
    server.tick()
    if unit in server.timers:
        try:
            server.write(paused(app, unit), "")
        except DiskFull:
            return 1, "no space left on device"
        yield
    server.enabled.discard(unit)
    server.version += 1
    yield
    server.tick()
    server.timers.discard(unit)
    server.version += 1
    yield
    if paused(app, unit) not in server.files:
        return 0, ""
    return 0, f"{server.stamps[unit]} {calendar}"


def unschedule(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    unit, app = argv
    server.enabled.discard(unit)
    server.version += 1
    yield
    server.timers.discard(unit)
    server.stamps.pop(unit, None)
    server.fleet.moments.ended(server, unit)
    server.remove(paused(app, unit))
    server.version += 1
    yield
    return 0, ""


def paused(app: str, unit: str) -> str:
    """The marker of a schedule that was paused in order to move."""
    return f"{STATE}/{app}/moving/{unit}"


def install(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    for name in argv:
        if server.full:
            return 1, "no space left on device"
        if name in server.fleet.uninstallable:
            return 1, f"{name}: no such package"
        if server.outdated and name not in server.packages:
            return 1, "apt would have to upgrade other packages"
        server.packages.add(name)
        server.version += 1
        yield
    return 0, ""


def simulate(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    yield
    return 0, "\n".join(f"{name} {was} {new}" for name, (was, new) in server.outdated.items())


def upgrade(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    server.outdated.pop(argv[0], None)
    server.version += 1
    yield
    return 0, ""


def route(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    (app,) = argv
    if server.full:
        return 1, "no space left on device"
    server.write(f"{ROUTES}/{app}/mark.json", stdin)
    yield
    server.loaded[app] = stdin
    server.version += 1
    server.fleet.tell("routed", server, app)
    yield
    return 0, ""


def unroute(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    server.remove(f"{ROUTES}/{argv[0]}/mark.json")
    yield
    server.loaded.pop(argv[0], None)
    server.version += 1
    yield
    return 0, ""


def candidate(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """Boot a release in a one-off dyno, ask it once, and take it away."""
    app, name, slug, config = argv
    release, now = Release(slug, config), server.fleet.clock.seconds
    if server.slug(app, slug) is None:
        return 1, "its slug is not there"
    server.one_offs[name] = OneOff(name, "candidate", app, release, now, now + PATIENCE)
    server.version += 1
    yield
    answers = server.fleet.answers(release, server, candidate=True)
    del server.one_offs[name]
    yield
    if not answers:
        server.fleet.clock.advance(PATIENCE)
    return (0, "") if answers else (1, "the candidate did not answer")


def run_release(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """Run a release command: it goes on by itself where whoever waits for it is gone."""
    app, name, slug, config, mark = argv
    release, now = Release(slug, config), server.fleet.clock.seconds
    if server.slug(app, slug) is None:
        return 1, "its slug is not there"
    well = server.fleet.migrates(release)
    oneoff = OneOff(name, "release", app, release, now, now + server.fleet.release_seconds, mark, well)
    server.one_offs[name] = oneoff
    server.version += 1
    server.fleet.tell("commanded", server, name)
    yield
    server.fleet.clock.advance(server.fleet.release_seconds)
    server.settle()
    yield
    server.one_offs.pop(name, None)
    yield
    return (0, "migrated") if well else (1, "the migration failed")


def alone(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """Fails while a release command of an earlier apply is at work."""
    (app,) = argv
    yield
    busy = [
        one_off
        for one_off in server.one_offs.values()
        if one_off.kind == "release" and one_off.app == app and not one_off.over
    ]
    return (1, "the release command of an apply that was cut off still runs") if busy else (0, "")


def idle(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """Fails while a one-off dyno or a release command is at work."""
    (app,) = argv
    server.settle()
    yield
    busy = [one.name for one in server.one_offs.values() if one.app == app and one.kind != "candidate" and not one.over]
    return (1, f"{busy} still run") if busy else (0, "")


def sweep(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """Remove one-off dynos; a release command that still runs only with ``stop``."""
    app, stopping = argv
    left = []
    for name in sorted(server.one_offs):
        one = server.one_offs[name]
        if one.app != app or (one.kind == "run" and not stopping):
            continue
        if one.kind == "run" and not one.over:
            server.fleet.tell("ended", server, name)
        if stopping or one.over or one.kind == "candidate":
            del server.one_offs[name]
            server.version += 1
            yield
        else:
            left.append(f"{name} still runs")
    return 0, "\n".join(left)


PROGRAMS = {
    "write": write,
    "remove": remove,
    "seal": seal,
    "enable": enable,
    "start": start,
    "stop": stop,
    "alive": alive,
    "free": free,
    "journal": journal,
    "schedule": schedule,
    "rehearse": rehearse,
    "pause": pause,
    "unschedule": unschedule,
    "install": install,
    "simulate": simulate,
    "upgrade": upgrade,
    "route": route,
    "unroute": unroute,
    "candidate": candidate,
    "run-release": run_release,
    "alone": alone,
    "idle": idle,
    "sweep": sweep,
}
"""By the second word of ``sim VERB WORDS...``."""
