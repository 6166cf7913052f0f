"""Maintenance mode: every router answers with a page instead of the app; the dynos keep running."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from infra.errors import DynoctlError
from infra.fleet.ask import ask_servers
from infra.fleet.inventory import targets
from infra.fleet.lock import Identity, lock_reachable
from infra.manifest.model import Manifest
from infra.model import routing
from infra.model.resource import Command
from infra.model.shell import LockTaken
from infra.model.stack import Registry
from infra.remote.parallel import each
from infra.remote.session import Session

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
        text = file.read_bytes().decode()
    except OSError as error:
        raise DynoctlError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DynoctlError(
            f"invalid page {file}: not UTF-8", "a page is one HTML file with its images embedded"
        ) from None
    most = LARGEST.get(kind, LARGEST_ELSE)
    if not text.strip() or len(text.encode()) > most:
        raise DynoctlError(
            f"invalid page {file}: {len(text.encode())} bytes; with {kind}, a page has 1 to {most} bytes",
            "remove embedded images, or link to images on another host",
        )
    return text


Waits = Callable[[LockTaken], None]

LOOK = Command(("sh", "-c", f"{routing.SCRIPT}:\n"), label="read the state of the router")


def switch(
    manifest: Manifest, registry: Registry, page: str | None, waits: Waits = lambda _: None
) -> dict[str, DynoctlError | None]:
    """Show the page (None: the app again) on every reachable server of the router, while holding the app's lock. These
    are also the servers of the manifest that still have a router of the app, as an edit of ``router.servers`` was not
    applied yet. ``waits`` is called if the apply of another app is waited for.

    Returns the error of each server, or None. Raises DynoctlError, with nothing changed, if there is no router or the
    lock is held."""
    router, app = manifest.router, manifest.app.name
    if router is None:
        raise DynoctlError(
            f"maintenance mode needs a router, and {manifest.file.name} has none",
            "add router: {kind: nginx, servers: [...]} and run dynoctl apply",
        )
    sessions: dict[str, Session] = {}
    try:
        answers, errors = ask_servers(targets(manifest), lambda session: _routes(session, app), keep=sessions)
        switched = {name: sessions[name] for name in sorted(sessions) if answers[name] or name in router.servers}
        unreachable = {name: error for name, error in errors.items() if name in router.servers}
        return {**_switch(switched, registry, app, page, waits), **unreachable}
    finally:
        for session in sessions.values():
            session.close()


def _routes(session: Session, app: str) -> bool:
    """Whether the router on a server routes to the app."""
    return any(route.app == app for route in routing.read(session.execute(LOOK)[1]))


def _switch(
    sessions: Mapping[str, Session], registry: Registry, app: str, page: str | None, waits: Waits = lambda _: None
) -> dict[str, DynoctlError | None]:
    """Switch every router that can be; one that fails keeps none of the others from it."""
    doing = f"switching maintenance mode {'off' if page is None else 'on'}"
    shells, errors = lock_reachable(sessions, app, Identity.current(doing=doing), waits=waits)
    try:

        def work(name: str) -> None:
            routes = routing.read(shells[name].run([LOOK]))
            route = next((route for route in routes if route.app == app), None)
            if route is None:
                raise DynoctlError(f"the router on {name} has no route to {app} yet", "run dynoctl apply first")
            if page is not None or route.closed:
                shells[name].run(registry.closing(route.kind, app, page))

        results = each(work, shells)
        failed = {name: answer if isinstance(answer, DynoctlError) else None for name, answer in results.items()}
        return {**failed, **errors}
    finally:
        each(lambda name: shells[name].close(), shells)
