"""Manifests that may be taken for each other: another one with the same app name, and one that had another app name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from infra.errors import Diagnostic
from infra.fleet.facts import Facts
from infra.fleet.identity import Connections
from infra.manifest.files import read_regular
from infra.model import naming
from infra.model.origin import Origin, same, same_repository
from infra.model.target import host_port

LARGEST = 1 << 20
"""Bytes of another manifest that are searched for its app name."""

NAMED = 4
"""Maximum number of dynos or servers named in a note."""


def is_recorded(app: str, origin: Origin, facts: Facts) -> bool:
    """Whether a server has a record of an origin that need not be written again."""
    recorded = facts.origins.get(app)
    return recorded is not None and (same(recorded, origin) or not is_other(app, recorded, origin))


def is_other(app: str, recorded: Origin, origin: Origin) -> bool:
    """Whether a manifest with the same app name is known to be another one: it is in another repository, or it is still
    where it was. One that cannot be found may have been moved, and is no other."""
    if recorded.environment != origin.environment or same(recorded, origin):
        return False  # another destination is an error of its own
    shared = same_repository(recorded, origin)
    if shared is False:
        return True
    file = Path(origin.file)
    if shared:
        top = Path(*file.parts[: len(file.parts) - len(Path(origin.path).parts)])
        return _names(top / recorded.path, app)
    return recorded.host == origin.host and recorded.file != origin.file and _names(Path(recorded.file), app)


def taken_over(app: str, origin: Origin | None, found: Mapping[str, Facts]) -> list[Diagnostic]:
    """The errors of servers on which another manifest with this app name was applied last."""
    if origin is None:
        return []
    recorded = {name: facts.origins.get(app) for name, facts in found.items()}
    # Most servers have the same record, and each one that differs has to be looked for in files.
    others = {other for other in set(recorded.values()) if other is not None and is_other(app, other, origin)}
    return [
        Diagnostic(
            f"{name} runs {app} of another manifest: {other}",
            path="app/name",
            hint="set another app.name; or if this manifest replaces that one: dynoctl apply --take-over",
        )
        for name, other in recorded.items()
        if other in others
    ]


def renamed(app: str, origin: Origin | None, found: Mapping[str, Facts], hint: Mapping[str, Connections]) -> list[str]:
    """A note for each other app that this manifest was applied as before, and that still runs or may still run."""
    notes = []
    running: dict[str, list[str]] = {}
    for name, facts in found.items():
        for other, recorded in facts.origins.items():
            dynos = sorted(facts.dynos(other), key=naming.dyno_order)
            if origin is not None and other != app and dynos and same(recorded, origin):
                running.setdefault(other, []).extend(f"{dyno} on {name}" for dyno in dynos)
    for other in sorted({*running, *hint} - {app}):
        unseen = hint.get(other, {}).keys() - {facts.machine_id for facts in found.values()}
        places = [
            f"{way['name']} ({_address(way)})" for machine, way in hint.get(other, {}).items() if machine in unseen
        ]
        what = [f"still runs {_some(running[other])}"] if other in running else []
        what += [f"was applied to {_some(places)}, which this plan does not see"] if places else []
        if what:
            notes.append(
                f"this manifest was applied as {other} before, which {' and '.join(what)}; to remove it, set app.name: "
                f"{other} and run dynoctl destroy"
            )
    return notes


def _names(file: Path, app: str) -> bool:
    """Whether a file is a manifest of the app."""
    try:
        data = read_regular(file, LARGEST)
        text = data.decode()
    except (OSError, ValueError):
        return False
    if len(data) > LARGEST:
        return False
    return re.search(rf"""\bname:\s*["']?{re.escape(app)}["']?\s*(?:[,}}#]|$)""", text, re.MULTILINE) is not None


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _address(way: Mapping[str, str]) -> str:
    port = way.get("port", "")
    return host_port(way.get("host", ""), int(port)) if port.isdecimal() else way.get("host", "")
