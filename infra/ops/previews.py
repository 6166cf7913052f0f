"""The previews of an app that run, by the records on their servers, and the local commands for their data."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

from infra.errors import DynoctlError
from infra.fleet.ask import ask_servers, summaries
from infra.fleet.inventory import targets
from infra.fleet.meta_record import parse
from infra.manifest.model import Manifest
from infra.manifest.previews import destination, is_name
from infra.model import answer, paths
from infra.model.command_line import argv
from infra.model.provider import Fragment
from infra.model.shell import Session


@dataclass(frozen=True)
class Running:
    """A preview, with its servers. ``released`` is when its last release was, in seconds since 1970 by this computer's
    clock; how long ago that was, the servers' clocks say."""

    name: str
    host: str
    servers: tuple[str, ...]
    released: float
    expires: float


def running(manifest: Manifest) -> tuple[list[Running], dict[str, str]]:
    """Every preview, by name, and why some servers are unreachable. ``manifest`` is that of the overlay."""
    settings, app = manifest.preview, manifest.app.name
    if settings is None:
        raise DynoctlError("missing key 'preview'", "add to dyno.preview.yaml: preview: {host: preview.example.org}")
    fragment = Fragment(_SCRIPT, {"homes": f"{paths.STATE}/{app}-"})

    def ask(session: Session) -> Mapping[str, float]:
        status, text = session.observe({"previews": fragment}).get("previews", (1, ""))
        if status != 0:
            raise DynoctlError(f"cannot list the previews of {session.name}: {text.strip()[-200:]}")
        return _parse(app, text)

    answers, errors = ask_servers(targets(manifest), ask)
    found: list[Running] = []
    for name in sorted({name for names in answers.values() for name in names}):
        servers = tuple(server for server, names in answers.items() if name in names)
        released = time.time() - min(answers[server][name] for server in servers)
        found.append(Running(name, f"{name}.{settings.host}", servers, released, released + settings.expires))
    return found, summaries(errors)


def _parse(app: str, text: str) -> Mapping[str, float]:
    """How long ago each preview on a server was released last, in seconds, by name."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        home, _, rest = line.partition(" ")
        age, _, record = rest.partition(" ")
        name = home.removeprefix(f"{app}-")
        if is_name(name) and parse(record).get("environment") == destination(name):
            found[name] = answer.decimal(age)
    return found


def prepare_data(manifest: Manifest, command: str | tuple[str, ...] | None) -> None:
    """Run a command of ``preview.database`` on this computer; what it prints goes to stderr. Raises DynoctlError if it
    fails."""
    if command is None:
        return
    name = (manifest.destination or "").partition(":")[2].replace("-", "_")
    environment = {**os.environ, "PREVIEW": name, "APP": manifest.app.name}
    try:
        directory = manifest.file.resolve().parent
        done = subprocess.run(argv(command), cwd=directory, env=environment, stdout=2, check=False)  # noqa: S603  # from the manifest
    except OSError as error:
        raise DynoctlError(f"cannot run {argv(command)[0]}: {error.strerror}") from None
    if done.returncode:
        shown = command if isinstance(command, str) else " ".join(command)
        raise DynoctlError(
            f"the command for the data of the preview failed with {done.returncode}: {shown}",
            f"run it by hand with PREVIEW={name} and APP={manifest.app.name}",
        )


# The directory of releases changes with each of them.
_SCRIPT = """\
for home in "$homes"*; do
  [ -s "$home/meta.json" ] || continue
  at=$(stat -c %Y "$home/releases" 2>/dev/null || stat -c %Y "$home/meta.json") || continue
  printf '%s %s ' "${home##*/}" "$(($(date +%s) - at))"
  tr -d '\\n' < "$home/meta.json"; echo
done
:
"""
