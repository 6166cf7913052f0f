"""Which process types, schedules and volumes an app gets, with names that the manifest allows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from stacks.detect_backings import Backings
from stacks.sources.found import Found, Note, Process, Schedule, Secret, Volume, holds_secret, secret
from stacks.sources.procfile import helper
from stacks.suggestion import Rules

LONGEST_TYPE = 16
"""Characters of a process type. Its name and that of the app are parts of a user name of at most 32."""

_WORKERS: tuple[tuple[str, str, str], ...] = (
    ("sidekiq", "sidekiq", "bundle exec sidekiq"),
    ("resque", "resque", "bundle exec rake resque:work QUEUE=*"),
    ("good_job", "worker", "bundle exec good_job start"),
    ("solid_queue", "worker", "bin/jobs"),
    ("delayed_job", "worker", "bundle exec rake jobs:work"),
    ("que", "worker", "bundle exec que"),
)
"""Gems that work off a queue: the gem, the process type and its command."""


@dataclass(frozen=True)
class Processes:
    web: Process = field(default_factory=lambda: Process(count=2))
    types: Mapping[str, Process] = field(default_factory=dict)
    schedules: tuple[Schedule, ...] = ()
    volumes: tuple[Volume, ...] = ()
    notes: tuple[Note, ...] = ()


def processes(found: Found, backings: Backings, rules: Rules) -> Processes:
    """The process types other than web by valid names, web with its number, schedules and volumes."""
    notes: list[Note] = []
    names: dict[str, str] = {"web": "web"}
    types: dict[str, Process] = {}
    for name, process in found.processes.items():
        if name in ("web", "release"):
            continue
        valid = type_name(name, {*types, "web"})
        at = process.where
        why = helper(process.command) if process.command else "no file says what it runs"
        if why or not valid:
            reason = why or "its name is invalid or already used"
            notes.append(Note(f"process type {name[:80]} is left out: {reason}", at.file, at.line))
            continue
        if valid != name:
            why = "a name has lowercase letters and digits only, and starts with a letter"
            if len(valid) == LONGEST_TYPE:
                why = f"a name has lowercase letters and digits only, at most {LONGEST_TYPE}"
            notes.append(Note(f"process type {name[:80]} is renamed to {valid}: {why}", at.file, at.line))
        names[name] = valid
        types[valid] = process
    if not types:
        types, worker_notes = _worker(found)
        notes += worker_notes
    volumes = tuple(_volumes((*found.volumes, *backings.volumes), names, notes))
    web = found.processes.get("web", Process())
    shared = any(not volume.types or "web" in volume.types for volume in volumes)
    if shared and (web.count or 2) > 1:
        if web.count is not None or len(found.machines) > 1:
            before = f"one web dyno instead of {web.count}" if web.count is not None else "one web dyno"
            notes.append(Note(f"{before}: a volume is on one server, and so are the dynos that use it"))
        web = replace(web, count=1)
    elif web.count is None:
        web = replace(web, count=2)
    schedules = tuple(_schedules(found, types, rules, notes))
    return Processes(web, types, schedules, volumes, tuple(notes))


_BEFORE = re.compile(r"(?:env\s+)?([A-Za-z_]\w{0,80})=[\"']?([^\s$\"']+)[\"']?\s+(?=\S)")


def without_secrets(found: Found) -> Found:
    """Without secrets in commands: a variable before a command becomes a reference, and a command that holds another
    secret is left out."""
    secrets, notes = dict(found.secrets), list(found.notes)

    def checked(command: str, what: str, where: Note) -> str:
        before = _BEFORE.match(command)
        while before and secret(before[1], before[2]):
            secrets[before[1]] = Secret()
            text = f"{before[1]} of {what} looks like a secret, so dyno.yaml has a reference"
            notes.append(Note(text, where.file, where.line))
            command = command[before.end() :]
            before = _BEFORE.match(command)
        if holds_secret(command):
            notes.append(Note(f"the command of {what} is left out: it holds a secret", where.file, where.line))
            return ""
        return command

    kept = {
        name: replace(process, command=checked(process.command, name[:80], process.where))
        for name, process in found.processes.items()
    }
    schedules = tuple(
        replace(one, command=checked(one.command, one.name or "a schedule", one.where)) for one in found.schedules
    )
    return replace(
        found,
        processes=kept,
        release=checked(found.release, "the release", Note("")),
        build=tuple(command for command in found.build if checked(command, "the build", Note(""))),
        schedules=schedules,
        secrets=secrets,
        notes=tuple(notes),
    )


def type_name(name: str, taken: Collection[str]) -> str:
    """A valid name of a process type; "" if it would be empty, or is ``taken``."""
    valid = re.sub(r"[^a-z0-9]", "", name.lower()).lstrip("0123456789")[:LONGEST_TYPE]
    return "" if valid in taken else valid


def _worker(found: Found) -> tuple[dict[str, Process], list[Note]]:
    """A process type for a gem that works off a queue, if no file has one."""
    for gem, name, command in _WORKERS:
        if gem in found.gems:
            if gem == "resque" and "rails" in found.gems:
                command = command.replace("rake ", "rake environment ")  # the jobs are classes of the app
            text = f"process type {name} is added for the gem {gem}: check its command"
            return {name: Process(command)}, [Note(text)]
    return {}, []


def _volumes(volumes: Collection[Volume], names: Mapping[str, str], notes: list[Note]) -> Iterator[Volume]:
    seen: list[Volume] = []
    for volume in volumes:
        overlap = any(
            f"{volume.path}/".startswith(f"{one.path}/") or f"{one.path}/".startswith(f"{volume.path}/") for one in seen
        )
        if overlap:
            if not any(one.path == volume.path for one in seen):
                notes.append(Note(f"volume {volume.path} is left out: it is inside of another one, or around it"))
            continue
        used = tuple(names[type_] for type_ in volume.types if type_ in names)
        name = volume.name
        while any(one.name == name for one in seen):
            name = f"{name[:36]}-{len(seen) + 1}"
        made = Volume(name, volume.path, used)
        seen.append(made)
        yield made


def _schedules(found: Found, types: Mapping[str, Process], rules: Rules, notes: list[Note]) -> Iterator[Schedule]:
    taken = {"web", *types}
    for schedule in found.schedules:
        at = schedule.where
        what = schedule.name or schedule.command
        problem = rules.cron(schedule.cron)
        if not schedule.command or problem:
            why = f"invalid cron expression: {problem}" if schedule.command else "it has no command"
            notes.append(Note(f"the schedule of {what[:80]} is not carried over: {why}", at.file, at.line))
            continue
        words = [
            word for word in re.findall(r"[A-Za-z0-9_:/.-]+", what) if word not in ("bundle", "exec", "rake", "rails")
        ]
        base = next((name for word in words if (name := type_name(word.rpartition("/")[2], ()))), "job")
        name = base
        for number in range(2, 1000):
            if name not in taken:
                break
            name = f"{base[: LONGEST_TYPE - 3]}{number}"
        taken.add(name)
        yield Schedule(name, schedule.cron, schedule.command)
