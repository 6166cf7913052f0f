"""Heroku: the output of ``heroku config --json`` and of ``heroku ps --json``, with app.json and the Procfile."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stacks.sources.app_json import FILE, AppJson
from stacks.sources.documents import from_json, listed, mapping, text_of
from stacks.sources.found import Found, Note, Process, Secret, merged
from stacks.sources.heroku_sizes import limits
from stacks.sources.variables import harmless, set_by_dynoctl

CONFIG = "heroku config --json"
PS = "heroku ps --json"

_MADE = re.compile(
    r"HEROKU_(APP_ID|APP_NAME|APP_DEFAULT_DOMAIN_NAME|BUILD_\w+|DYNO_ID|RELEASE_\w+|SLUG_\w+)|GEM_PATH|PATH|GEM_HOME|BUNDLE_GEMFILE"
)
_COLOR = re.compile(r"HEROKU_POSTGRESQL_[A-Z]+_URL")


class Heroku:
    """What Heroku says of the running app; app.json only adds to it."""

    name = "heroku"
    files: Sequence[str] = (CONFIG, PS, FILE)
    platform = True

    def read(self, files: Mapping[str, str]) -> Found:
        parts = []
        if CONFIG in files:
            parts.append(_config(files[CONFIG]))
        if PS in files:
            parts.append(_ps(files[PS]))
        else:
            text = "the number of dynos is not known: heroku ps --json > ps.json, and init with --ps ps.json"
            parts.append(Found(notes=(Note(text),)))
        if FILE in files:
            parts.append(AppJson().read(files))
        return merged([Found(routed=True), *parts])


def problem(name: str, text: str) -> str:
    """Why a text is not the output of a command of Heroku; "" if it is."""
    document = from_json(name, text)
    if document.data is None:
        note = document.notes[0]
        return f"line {note.line}: {note.text.removeprefix('not read: ')}" if note.line else note.text
    wanted, kind = (list, "a list of dynos") if name == PS else (dict, "an object of config vars")
    return "" if isinstance(document.data, wanted) else f"not {kind}"


def _config(text: str) -> Found:
    env: dict[str, str] = {}
    secrets: dict[str, Secret] = {}
    notes: list[Note] = []
    data = mapping(from_json(CONFIG, text).data)
    for name, value in data.items():
        content = text_of(value)
        if not re.fullmatch(r"[A-Za-z_]\w{0,200}", name):
            notes.append(Note("a variable with an invalid name is left out", CONFIG))
        elif _MADE.fullmatch(name):
            notes.append(Note(f"{name} is left out: Heroku sets it", CONFIG))
        elif _COLOR.fullmatch(name) and value == data.get("DATABASE_URL"):
            notes.append(Note(f"{name} is left out: it is the same database as DATABASE_URL", CONFIG))
        elif set_by_dynoctl(name, content):
            continue
        elif harmless(name, content):
            env[name] = content
        else:
            secrets[name] = Secret()
    if secrets:
        text = "no value is copied; to keep them: (umask 077; mkdir -p .dyno; heroku config --shell > .dyno/secrets)"
        notes.append(Note(text, CONFIG))
    if any(name in data for name in ("DATABASE_URL", "REDIS_URL")):
        text = (
            "its database and Redis end with the app: run your own, copy the data, and put their URLs in .dyno/secrets"
        )
        notes.append(Note(text, CONFIG))
    return Found(env=env, secrets=secrets, notes=tuple(notes))


def _ps(text: str) -> Found:
    """The number of dynos of each type. One-off dynos have the type run, or scheduler."""
    processes: dict[str, Process] = {}
    notes: list[Note] = []
    name = ""
    for entry in listed(from_json(PS, text).data)[:10_000]:
        dyno = mapping(entry)
        type_ = text_of(dyno.get("type")) or text_of(dyno.get("name")).partition(".")[0]
        name = name or text_of(mapping(dyno.get("app")).get("name"))
        if type_ in ("run", "scheduler", "release", ""):
            if type_ == "scheduler":
                notes.append(Note("Heroku Scheduler is not carried over: write its jobs as schedule", PS))
            continue
        before = processes.get(type_)
        cpu, memory = limits(text_of(dyno.get("size")))
        count = 1 if before is None or before.count is None else before.count + 1
        processes[type_] = Process(text_of(dyno.get("command")), count, cpu, memory, where=Note(type_, PS))
    return Found(name=name, processes=processes, notes=tuple(dict.fromkeys(notes)))
