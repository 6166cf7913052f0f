"""Maintenance: every router shows a page instead of the app, whose dynos go on as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from infra.errors import DynoctlError
from infra.fleet.inventory import targets
from infra.fleet.lock import Identity, lock_all
from infra.manifest.model import Manifest
from infra.model import routing
from infra.model.resource import Command
from infra.model.stack import Registry
from infra.remote.parallel import each
from infra.remote.session import Session

LARGEST = {"haproxy": 15 * 1024}
"""Bytes of a page that a kind of router can hold; LARGEST_ELSE with all others."""

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
    """The page's text. Raises DynoctlError where no router of the kind could show it."""
    if file is None:
        return PAGE
    try:
        text = file.read_bytes().decode()
    except OSError as error:
        raise DynoctlError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DynoctlError(f"{file} is not UTF-8", "A page is one HTML file, with its pictures inside it.") from None
    most = LARGEST.get(kind, LARGEST_ELSE)
    if not text.strip() or len(text.encode()) > most:
        raise DynoctlError(
            f"{file} has {len(text.encode())} bytes, and a page with {kind} has 1 to {most}",
            "Leave out pictures, or take them from another place.",
        )
    return text


def switch(manifest: Manifest, registry: Registry, page: str | None) -> dict[str, DynoctlError | None]:
    """Show the page (None: the app again) on every server of the router, under the lock of an apply. Gives back by
    server what went wrong. Raises DynoctlError, with nothing changed, where there is no router, or somebody applies."""
    router, app = manifest.router, manifest.app.name
    if router is None:
        raise DynoctlError(
            "There is no router in the manifest, so nothing could show the page",
            "Maintenance is at the router: add router: {kind: nginx, servers: [...]} and apply.",
        )
    wanted = [target for target in targets(manifest) if target.name in router.servers]
    sessions: dict[str, Session] = {target.name: Session(target) for target in wanted}
    try:
        lost = {
            name: answer
            for name, answer in each(lambda name: sessions[name].channel().close(), sessions).items()
            if isinstance(answer, DynoctlError)
        }
        there = {name: session for name, session in sorted(sessions.items()) if name not in lost}
        return {**_switch(there, registry, app, page), **lost}
    finally:
        for session in sessions.values():
            session.close()


def _switch(
    sessions: Mapping[str, Session], registry: Registry, app: str, page: str | None
) -> dict[str, DynoctlError | None]:
    shells = lock_all(sessions, app, Identity.here())
    try:
        look = Command(("sh", "-c", f"{routing.SCRIPT}:\n"), says="look at the router")
        found = {name: routing.read(shell.run([look])) for name, shell in shells.items()}
        mine = {name: next((one for one in routes if one.app == app), None) for name, routes in found.items()}
        strange = [name for name, one in mine.items() if one is None]
        if strange:
            raise DynoctlError(
                f"The router on {', '.join(strange)} does not lead to {app} yet", "Run dynoctl apply first."
            )

        def work(name: str) -> None:
            one = mine[name]
            if one is not None and not (page is None and not one.closed):
                shells[name].run(registry.closing(one.kind, app, page))

        results = each(work, shells)
        return {name: answer if isinstance(answer, DynoctlError) else None for name, answer in results.items()}
    finally:
        each(lambda name: shells[name].close(), shells)
