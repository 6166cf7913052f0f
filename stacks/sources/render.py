"""Render: the blueprint render.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from stacks.sources.documents import Data, Document, from_yaml, listed, mapping, text_of
from stacks.sources.found import Found, Note, Process, Schedule, Secret, Volume, seconds, shortened
from stacks.sources.paths import in_app, volume_name
from stacks.sources.variables import in_the_clear

FILE = "render.yaml"
SCRIPT = "bin/render-build.sh"

_PLANS: Mapping[str, tuple[float | None, str]] = {
    "free": (None, ""),
    "starter": (None, ""),
    "standard": (1, "2G"),
    "pro": (2, "4G"),
    "pro plus": (4, "8G"),
    "pro max": (4, "16G"),
    "pro ultra": (8, "32G"),
}
"""Cores and memory of Render's instance types; a dyno's own defaults for the smallest."""

_SILENT = {
    *("type", "name", "runtime", "env", "plan", "branch", "repo", "buildCommand", "startCommand", "preDeployCommand"),
    *("healthCheckPath", "numInstances", "scaling", "envVars", "disk", "domains", "domain", "schedule"),
    *("maxShutdownDelaySeconds", "autoDeploy", "autoDeployTrigger", "region", "previews", "pullRequestPreviewsEnabled"),
    *("initialDeployHook", "buildFilter"),
}


class Render:
    """The services of a blueprint that run this app: one web service, workers and cron jobs."""

    name = "render"
    files: Sequence[str] = (FILE, SCRIPT)
    platform = True

    def read(self, files: Mapping[str, str]) -> Found:
        document = from_yaml(FILE, files[FILE])
        if document.data is None:
            return Found(notes=document.notes)
        data = mapping(document.data)
        notes = list(document.notes)
        processes: dict[str, Process] = {}
        schedules: list[Schedule] = []
        env: dict[str, str] = {}
        secrets: dict[str, Secret] = {}
        web: Mapping[str, Data] = {}
        for index, entry in enumerate(listed(data.get("services"))):
            service, at = mapping(entry), ("services", index)
            kind, name = text_of(service.get("type")), text_of(service.get("name"))
            why = _other(service, taken=bool(web))
            if why:
                notes.append(document.note(f"service {shortened(name)} is left out: {why}", *at))
                continue
            where = document.note(shortened(name), *at, "name")
            if kind == "cron":
                schedules.append(
                    Schedule(name, text_of(service.get("schedule")), text_of(service.get("startCommand")), where)
                )
            else:
                web = service if kind == "web" else web
                processes["web" if kind == "web" else name] = _process(service, where)
            _variables(document, at, service, data, (env, secrets), notes)
            notes += _left_out(document, at, service)
        volumes = _volumes(document, data, notes)
        return Found(
            name=text_of(web.get("name")),
            processes=processes,
            schedules=tuple(schedules),
            release=text_of(web.get("preDeployCommand")),
            build=tuple(_build(text_of(web.get("buildCommand")), files)),
            env={name: value for name, value in env.items() if name not in secrets},
            secrets=secrets,
            health=path if re.fullmatch(r"/[!-~]{0,200}", path := text_of(web.get("healthCheckPath"))) else "",
            hosts=tuple(
                host
                for value in (*listed(web.get("domains")), *listed(web.get("domain")))
                if re.fullmatch(
                    r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+", host := text_of(value)
                )
            ),
            routed=bool(web),
            tls=bool(web),
            volumes=volumes,
            notes=tuple(notes),
        )


def _other(service: Mapping[str, Data], *, taken: bool) -> str:
    """Why a service is not a part of the app; "" if it is."""
    kind = text_of(service.get("type"))
    runtime = text_of(service.get("runtime")) or text_of(service.get("env"))
    if kind in ("redis", "keyvalue"):
        return "it needs Redis that you run, and its address in cache"
    if kind == "pserv":
        return "dynos other than web dynos listen on no port"
    if kind not in ("web", "worker", "cron"):
        return "dynoctl has no such kind of process"
    if runtime not in ("", "ruby", "docker"):
        return f"its runtime is {shortened(runtime)}"
    if kind == "web" and taken:
        return "an app has one web process type, and an earlier service is it"
    return ""


def _process(service: Mapping[str, Data], where: Note) -> Process:
    count = service.get("numInstances") or mapping(service.get("scaling")).get("minInstances")
    cpu, memory = _PLANS.get(text_of(service.get("plan")).lower(), (None, ""))
    stop = seconds(service["maxShutdownDelaySeconds"]) if "maxShutdownDelaySeconds" in service else None
    number = count if isinstance(count, int) and 1 <= count <= 10000 else None
    return Process(
        text_of(service.get("startCommand")) or text_of(service.get("dockerCommand")),
        number or (1 if service.get("type") == "web" else None),
        cpu,
        memory,
        None if stop is None else min(stop, 600),
        where,
    )


def _left_out(document: Document, at: tuple[str | int, ...], service: Mapping[str, Data]) -> Iterator[Note]:
    for key in service:
        if key == "scaling":
            yield document.note("scaling is not carried over: dynos run until you change their number", *at, key)
        elif key == "initialDeployHook":
            yield document.note("initialDeployHook is not carried over: run it once with dynoctl run", *at, key)
        elif key not in _SILENT:
            yield document.note(f"{shortened(key)} is not carried over: dynoctl has no such setting", *at, key)


def _variables(
    document: Document,
    at: tuple[str | int, ...],
    service: Mapping[str, Data],
    data: Mapping[str, Data],
    into: tuple[dict[str, str], dict[str, Secret]],
    notes: list[Note],
) -> None:
    env, secrets = into
    groups = {
        text_of(mapping(group).get("name")): listed(mapping(group).get("envVars"))
        for group in listed(data.get("envVarGroups"))
    }
    entries = []
    for index, entry in enumerate(listed(service.get("envVars"))):
        group = text_of(mapping(entry).get("fromGroup"))
        if group and group not in groups:
            text = f"the variables of group {shortened(group)} are not in the file: add them to env"
            notes.append(document.note(text, *at, "envVars", index))
        entries += groups.get(group, []) if group else [entry]
    values: dict[str, str] = {}
    for entry in entries:
        settings = mapping(entry)
        name = text_of(settings.get("key"))
        if name in secrets:
            continue
        if "value" in settings:
            values[name] = text_of(settings["value"])
        elif name:
            secrets[name] = Secret()
    found = in_the_clear(values, dict.fromkeys(values, document.note("", *at, "envVars")))
    for name, value in found.env.items():
        if env.setdefault(name, value) != value:
            text = f"{name} has several values, of which the first is used: env is the same for all process types"
            notes.append(document.note(text, *at, "envVars"))
    secrets |= found.secrets
    notes += [note for note in found.notes if note not in notes]


def _build(command: str, files: Mapping[str, str]) -> Iterator[str]:
    """The build commands besides those of the bundle, the assets and the database."""
    if SCRIPT in files and SCRIPT in command:
        command = files[SCRIPT][:20_000]
    for line in re.split(r"&&|;|\n", command[:20_000]):
        line = line.strip()
        if line and not re.match(
            r"#|set -|(\S*bundle exec )?\S*(rake|rails) (assets:|db:)|\S*bundle (install|config)|gem install bundler",
            line,
        ):
            yield line


def _volumes(document: Document, data: Mapping[str, Data], notes: list[Note]) -> tuple[Volume, ...]:
    found: list[Volume] = []
    for index, entry in enumerate(listed(data.get("services"))):
        service = mapping(entry)
        disk = mapping(service.get("disk"))
        if not disk or text_of(service.get("type")) not in ("web", "worker"):
            continue
        target = text_of(disk.get("mountPath"))
        path, inside = in_app(target)
        if not path:
            text = f"disk {shortened(target)} is not carried over: it is not a directory of the app"
            notes.append(document.note(text, "services", index, "disk"))
            continue
        type_ = "web" if service.get("type") == "web" else text_of(service.get("name"))
        found.append(Volume(volume_name(text_of(disk.get("name")) or path), path, (type_,)))
        notes.append(
            document.note(
                f"copy its data to the volume {found[-1].name} before the first apply", "services", index, "disk"
            )
        )
        if not inside:
            text = f"disk {target} is {path} in the directory of the app: change what names {target}"
            notes.append(document.note(text, "services", index, "disk"))
    return tuple(found)
