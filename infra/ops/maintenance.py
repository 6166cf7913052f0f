"""Maintenance mode: every router answers with a page instead of the app; the dynos keep running."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.errors import DynoctlError, Unreachable
from infra.fleet import facts
from infra.fleet.ask import ask_servers
from infra.fleet.facts import Facts
from infra.fleet.identity import NONE, Connections
from infra.fleet.inventory import departed_targets, leaving_targets, targets
from infra.fleet.lock import Identity, lock_reachable
from infra.fleet.witnesses import names
from infra.manifest.files import read_regular
from infra.manifest.model import Manifest
from infra.model import routing
from infra.model.events import Event, Listener
from infra.model.invocation import Invocation
from infra.model.resource import Command
from infra.model.shell import LockTaken, Shell
from infra.model.stack import Registry
from infra.model.target import Target
from infra.plan import preconditions
from infra.plan.unseen import unseen_routers
from infra.remote.parallel import each
from infra.remote.session import Session
from infra.state import audit_log

LARGEST = {"haproxy": 15 * 1024}
"""Maximum size of a page in bytes, by kind of router; LARGEST_ELSE for all others."""

LARGEST_ELSE = 1 << 20

PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Back soon</title>
<style>
  html { color-scheme: light dark; font: 1.1rem/1.5 system-ui, sans-serif }
  body { display: grid; min-height: 90vh; place-content: center; text-align: center; padding: 1rem }
</style>
<h1>Back soon</h1>
<p>This site is down for maintenance. Please try again in a few minutes.</p>
</html>
"""


def read_page(file: Path | None, kind: str) -> str:
    """The text of the page. Raises DynoctlError if a router of this kind cannot show it."""
    if file is None:
        return PAGE
    try:
        data = read_regular(file, LARGEST_ELSE)
        text = data.decode(errors="replace" if len(data) > LARGEST_ELSE else "strict")  # it may be cut in a character
    except OSError as error:
        hint = f"a page is one HTML file that you can read: ls -l {file}"
        raise DynoctlError(f"cannot read {file}: {error.strerror}", hint) from None
    except UnicodeDecodeError:
        raise DynoctlError(
            f"invalid page {file}: not UTF-8", "a page is one HTML file with its images embedded"
        ) from None
    refuse_large(text, kind, f"invalid page {file}")
    return text


def refuse_large(page: str, kind: str, what: str) -> None:
    """Raise DynoctlError for ``what`` if a router of this kind cannot show the page."""
    size, most = len(page.encode()), LARGEST.get(kind, LARGEST_ELSE)
    if not page.strip() or size > most:
        by = f"with {kind}, a page" if kind else "a page"
        raise DynoctlError(
            f"{what}: {size} bytes; {by} has 1 to {most} bytes",
            "remove embedded images, or link to images on another host",
        )


LOOK = Command(("sh", "-c", f"{routing.SCRIPT}:\n"), label="read the state of the router")


def switch(
    manifest: Manifest,
    registry: Registry,
    page: str | None,
    *,
    lock_timeout: float | None = None,
    listener: Listener = lambda _: None,
    stop: threading.Event | None = None,
    history: Connections = NONE,
) -> dict[str, DynoctlError | None]:
    """Show the page (None: the app again) on every reachable router of the app, while holding the app's lock: those of
    the manifest, and those that an edit of it removes, as that was not applied yet. ``lock_timeout`` is in seconds,
    and None waits only for applies of other apps; ``stop`` ends the wait. ``history`` are the machines to which the app
    was applied from here.

    Returns the error of each server, or None. Raises DynoctlError, with nothing changed, if there is no router or the
    lock is held."""
    sessions: dict[str, Session] = {}
    try:
        routers, unreachable = _find(manifest, sessions, history)
        if not routers and not unreachable:
            raise DynoctlError(
                f"maintenance mode needs a router, and {manifest.file.name} has none",
                "add router: {kind: nginx, servers: [...]} and run dynoctl apply",
            )
        chosen = {name: sessions[name] for name in sorted(routers)}
        switched = _switch(
            chosen, registry, manifest.app.name, page, lock_timeout=lock_timeout, listener=listener, stop=stop
        )
        return {**switched, **unreachable}
    finally:
        for session in sessions.values():
            session.close()


def _find(
    manifest: Manifest, sessions: dict[str, Session], history: Connections = NONE
) -> tuple[set[str], dict[str, DynoctlError]]:
    """The servers to switch, and the errors of those that are or may be routers and are unreachable. The sessions of
    all servers that answered are added to ``sessions``."""
    app, wanted = manifest.app.name, () if manifest.router is None else manifest.router.servers

    def look(session: Session) -> Facts:
        status, output = session.observe({"records": fragment}).get("records", (1, ""))
        if status != 0:
            raise Unreachable(f"{session.name}: cannot read its records: {output.strip()[-200:]}")
        return facts.parse(output, app)

    fragment = facts.records_fragment(app)
    found, errors = ask_servers(targets(manifest), look, keep=sessions)
    newest = facts.newest_meta(found.values())
    recorded = newest.get("routers", ())
    # dynoctl 0.1 did not record which servers are routers.
    departed = {
        machine: target
        for machine, target in leaving_targets(manifest, found, history=history).items()
        if machine in recorded or not recorded
    }
    answers, silent = ask_servers(departed.values(), look, keep=sessions)
    for machine, target in departed.items():
        seen = answers.pop(target.name, None)
        if seen is not None and seen.machine_id == machine:
            found[target.name] = seen
        elif seen is not None:
            silent[target.name] = Unreachable(
                f"{target.name}: {target.host} is another machine now, which is not switched",
                f"if the recorded machine is gone: dynoctl apply --forget {target.name}",
            )
    unproven = {
        target.name: _unproven(target, names(machine, newest["servers"][machine], found), app)
        for machine, target in departed_targets(manifest, found).items()
        if machine in recorded and machine not in departed
    }
    preconditions.refuse_others(manifest, {name: seen.meta for name, seen in found.items()})
    errors |= silent
    unseen = unseen_routers(manifest, found.values(), errors)
    routers = {name for name, seen in found.items() if name in wanted or any(route.app == app for route in seen.routes)}
    return routers, {**{name: errors[name] for name in unseen}, **unproven}


def _unproven(target: Target, witnesses: Sequence[str], app: str) -> DynoctlError:
    """The error of a router that a single server knows of: that may be a lie to be logged in to it."""
    by = ", ".join(witnesses) or "one server"
    return DynoctlError(
        f"{target.name} ({target.host}) may route to {app}, and is known from {by} alone: it is not logged in to, and "
        "not switched",
        f"see what the plan says of {target.name}: dynoctl plan",
    )


def _switch(
    sessions: Mapping[str, Session],
    registry: Registry,
    app: str,
    page: str | None,
    *,
    lock_timeout: float | None = None,
    listener: Listener = lambda _: None,
    stop: threading.Event | None = None,
) -> dict[str, DynoctlError | None]:
    """Switch every router that can be; one that fails keeps none of the others from it."""
    to, began = "off" if page is None else "on", time.monotonic()
    identity = Identity.current(doing=f"switching maintenance mode {to}")

    def waits(taken: LockTaken) -> None:
        listener(Event("note", taken.server, "lock", f"{taken.what}; waiting for it to end"))

    listener(Event("phase", text="lock", total=len(sessions)))
    shells, errors = lock_reachable(sessions, app, identity, timeout=lock_timeout, waits=waits, stop=stop)
    listener(Event("phase", text="router", total=len(shells)))

    def work(name: str) -> None:
        listener(Event("step", name, "router", "switch the router"))
        try:
            _switch_one(shells[name], registry, app, page)
        except DynoctlError as error:
            listener(Event("failed", name, "router", error.summary))
            raise
        listener(Event("done", name, "router", f"routes to {app}" if page is None else "shows the maintenance page"))

    try:
        results = each(work, shells)
        answers = {name: answer if isinstance(answer, DynoctlError) else None for name, answer in results.items()}
        failed = {name for name, answer in {**answers, **errors}.items() if answer is not None}
        entry = audit_log.switched(
            identity,
            Invocation("maintenance", (to,)),
            seconds=time.monotonic() - began,
            done=answers.keys() - failed,
            failed=failed,
        )
        told = [name for name in shells if not isinstance(answers[name], Unreachable)]
        each(lambda name: shells[name].run([audit_log.append(app, entry)]), told)
        return {**answers, **errors}
    finally:
        each(lambda name: shells[name].close(), shells)


def _switch_one(shell: Shell, registry: Registry, app: str, page: str | None) -> None:
    routes = routing.read(shell.run([LOOK]))
    route = next((route for route in routes if route.app == app), None)
    if route is None:
        raise DynoctlError(f"the router on {shell.name} has no route to {app} yet", "run dynoctl apply first")
    if page is not None:
        refuse_large(page, route.kind, f"cannot show the page on {shell.name}")
    if page is not None or route.closed:
        shell.run(registry.closing(route.kind, app, page))
