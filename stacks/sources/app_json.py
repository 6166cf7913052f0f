"""app.json, which Heroku and Dokku read: formation, add-ons, variables, scripts, health checks and cron."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from stacks.sources.documents import Data, Document, from_json, listed, mapping, text_of
from stacks.sources.found import Found, Note, Process, Schedule, Secret, seconds, shortened
from stacks.sources.heroku_sizes import limits
from stacks.sources.variables import harmless, set_by_dynoctl

FILE = "app.json"

_WHY: Mapping[str, str] = {
    "stack": "your servers have their own distribution",
    "environments": "write an overlay for each, such as dyno.staging.yaml",
    "image": "no image is run; app.build makes the slug",
}
_SILENT = {
    *("name", "description", "keywords", "website", "repository", "logo", "success_url", "$schema", "env"),
    *("formation", "addons", "buildpacks", "scripts", "healthchecks", "cron"),
}
_ADDONS = (
    ("postgres", "DATABASE_URL", "PostgreSQL", "database"),
    ("mysql", "DATABASE_URL", "MySQL", "database"),
    ("cleardb", "DATABASE_URL", "MySQL", "database"),
    ("jawsdb", "DATABASE_URL", "MySQL", "database"),
    ("redis", "REDIS_URL", "Redis", "cache"),
    ("key-value", "REDIS_URL", "Redis", "cache"),
    ("memcache", "CACHE_URL", "memcached", "cache"),
)


class AppJson:
    """The keys of Heroku and those that Dokku adds."""

    name = "app.json"
    files: Sequence[str] = (FILE,)
    platform = True

    def read(self, files: Mapping[str, str]) -> Found:
        document = from_json(FILE, files[FILE])
        data = mapping(document.data)
        notes = [*document.notes]
        if document.data is not None and not isinstance(document.data, dict):
            return Found(notes=(Note("not read: not an object", FILE, 1),))
        for key in data:
            if key not in _SILENT:
                why = _WHY.get(key, "dynoctl has no such setting")
                notes.append(document.note(f"{shortened(key)} is not carried over: {why}", key))
        env, secrets = _environment(document, mapping(data.get("env")), notes)
        notes += _around(document, data)
        health, deadline = _health(document, mapping(data.get("healthchecks")), notes)
        scripts = mapping(data.get("scripts"))
        release, hooks = _scripts(document, scripts)
        schedules = _cron(document, data, notes)
        return Found(
            name=text_of(data.get("name")),
            processes=_formation(document, mapping(data.get("formation")), notes),
            release=release,
            env=env,
            secrets=secrets,
            health=health,
            deadline=deadline,
            routed=True,
            schedules=schedules,
            notes=(*notes, *hooks),
        )


def _environment(
    document: Document, entries: Mapping[str, Data], notes: list[Note]
) -> tuple[dict[str, str], dict[str, Secret]]:
    env: dict[str, str] = {}
    secrets: dict[str, Secret] = {}
    for name, entry in entries.items():
        settings = mapping(entry)
        value = text_of(settings.get("value")) if settings else text_of(entry)
        if not re.fullmatch(r"[A-Za-z_]\w{0,200}", name) or set_by_dynoctl(name, value):
            continue
        if "generator" in settings or not harmless(name, value) or not value:
            if settings.get("required") is False and not value and "generator" not in settings:
                notes.append(document.note(f"{name} is optional and has no value: it is left out", name))
                continue
            secrets[name] = Secret()
        else:
            env[name] = value
    return env, secrets


def _formation(document: Document, formation: Mapping[str, Data], notes: list[Note]) -> dict[str, Process]:
    found: dict[str, Process] = {}
    for name, entry in formation.items():
        settings = mapping(entry)
        quantity = settings.get("quantity")
        cpu, memory = limits(text_of(settings.get("size")))
        count = quantity if isinstance(quantity, int) and 0 <= quantity <= 10000 else None
        found[name] = Process("", count, cpu, memory, where=document.note(shortened(name), name))
        if "autoscaling" in settings:
            text = f"autoscaling of {shortened(name)} is not carried over: dynos run until you change their number"
            notes.append(document.note(text, name))
    return found


def _around(document: Document, data: Mapping[str, Data]) -> Iterator[Note]:
    for entry in listed(data.get("addons")):
        addon = text_of(mapping(entry).get("plan")) or text_of(entry)
        known = next((rest for word, *rest in _ADDONS if word in addon.lower()), None)
        where = f"it needs {known[1]} that you run, and its address in {known[2]}" if known else "find another provider"
        yield document.note(f"add-on {shortened(addon)} is not carried over: {where}", "addons")
    for entry in listed(data.get("buildpacks")):
        url = text_of(mapping(entry).get("url")) or text_of(entry)
        if re.search(r"ruby|procfile", url) or re.search(r"\bapt\b", url):
            continue
        node = "nodejs" in url
        why = "Node.js must be installed where app.build runs" if node else "add what it does to app.build or packages"
        yield document.note(f"buildpack {shortened(url)} is not carried over: {why}", "buildpacks")


def _scripts(document: Document, scripts: Mapping[str, Data]) -> tuple[str, list[Note]]:
    """Dokku's predeploy is the closest to a release command. A postdeploy script runs after each deploy in Dokku, and
    once for a new app in Heroku."""
    dokku = mapping(scripts.get("dokku"))
    release, notes = text_of(dokku.get("predeploy")), []
    if text_of(dokku.get("postdeploy")):
        text = "scripts.dokku.postdeploy is not carried over: nothing runs after a release; use release_command"
        notes.append(document.note(text, "postdeploy"))
    if text_of(scripts.get("postdeploy")):
        text = "scripts.postdeploy is not carried over: run it once, after the first apply, with dynoctl run"
        notes.append(document.note(text, "postdeploy"))
    return release, notes


def _health(document: Document, checks: Mapping[str, Data], notes: list[Note]) -> tuple[str, int | None]:
    path, deadline = "", None
    for type_, entries in checks.items():
        for entry in listed(entries):
            check = mapping(entry)
            kind = text_of(check.get("type")) or "startup"
            found = text_of(check.get("path"))
            if type_ == "web" and kind in ("startup", "readiness") and re.fullmatch(r"/[!-~]{0,200}", found):
                path = path or found
                wait, attempts = seconds(check.get("wait", 5)) or 5, check.get("attempts", 3)
                if isinstance(attempts, int) and wait * attempts > 60:
                    deadline = min(wait * attempts, 3600)
            elif not (type_ == "web" and "uptime" in check):
                what = f"the {shortened(kind)} check of {shortened(type_)}"
                text = f"{what} is not carried over: web dynos are checked by HTTP"
                notes.append(document.note(text, "healthchecks"))
    return path, deadline


def _cron(document: Document, data: Mapping[str, Data], notes: list[Note]) -> tuple[Schedule, ...]:
    found = []
    for entry in listed(data.get("cron")):
        settings = mapping(entry)
        command, cron = text_of(settings.get("command")), text_of(settings.get("schedule"))
        if command and cron:
            found.append(Schedule("", cron, command, document.note("cron", "cron")))
    if found:
        notes.append(document.note("the times of cron were in the time zone of the server, and are in UTC", "cron"))
    return tuple(found)
