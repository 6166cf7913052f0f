"""Fly.io: fly.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stacks.sources.documents import Data, Document, from_toml, listed, mapping, text_of
from stacks.sources.found import Found, Note, Process, Volume, seconds, shortened, size
from stacks.sources.paths import in_app, volume_name
from stacks.sources.variables import in_the_clear

FILE = "fly.toml"

_WHY: Mapping[str, str] = {
    "primary_region": "your servers are where you list them",
    "statics": "the app serves its files",
    "files": "use credentials for files with secrets",
    "metrics": "dynos have no address for metrics; see dynos.web.bind",
    "swap_size_mb": "dynos have a memory limit and no swap of their own",
    "experimental": "dynoctl has no such setting",
    "restart": "systemd restarts a dyno that ends",
    "console_command": "use dynoctl run COMMAND",
    "host_dedication_id": "your servers are where you list them",
}
_SILENT = {
    *("app", "build", "deploy", "env", "processes", "http_service", "services", "mounts", "vm", "checks"),
    *("kill_signal", "kill_timeout"),
}


class Fly:
    """fly.toml of version 2, and the services of version 1."""

    name = "fly"
    files: Sequence[str] = (FILE, "Dockerfile")
    platform = True

    def read(self, files: Mapping[str, str]) -> Found:
        document = from_toml(FILE, files[FILE])
        if document.data is None:
            return Found(notes=document.notes)
        data = mapping(document.data)
        notes = [document.note(f"{key} is not carried over: {_WHY[key]}", key) for key in data if key in _WHY]
        for key in data:
            if key not in _WHY and key not in _SILENT:
                text = f"{shortened(key)} is not carried over: dynoctl has no such setting"
                notes.append(document.note(text, key))
        values = {name: text_of(value) for name, value in mapping(data.get("env")).items()}
        variables = in_the_clear(values, {name: document.note("", name) for name in values})
        deploy = mapping(data.get("deploy"))
        if "strategy" in deploy and text_of(deploy["strategy"]) not in ("rolling", "canary"):
            name = shortened(text_of(deploy["strategy"]))
            text = f"strategy {name} is not carried over: releases are rolled out in batches"
            notes.append(document.note(text, "strategy"))
        notes.append(Note("its secrets are not in it: fly secrets list shows their names", FILE))
        return Found(
            name=text_of(data.get("app")),
            processes=_processes(document, data, notes),
            release=text_of(deploy.get("release_command")),
            env=variables.env,
            secrets=variables.secrets,
            health=_health(data),
            routed=True,
            volumes=_volumes(document, data, notes),
            notes=(*notes, *variables.notes),
        )


def _processes(document: Document, data: Mapping[str, Data], notes: list[Note]) -> dict[str, Process]:
    """The process groups. The one behind the HTTP service is web; without groups there is only that."""
    service, found = _service(data), dict[str, Process]()
    for name, command in _groups(data).items():
        web = name == _fronted(data)
        machine = _machine(data, name)
        least = service.get("min_machines_running")
        found["web" if web else name] = Process(
            command,
            least if web and isinstance(least, int) and 1 <= least <= 10000 else None,
            machine[0],
            machine[1],
            _stop(data),
            document.note(name, name),
        )
    if text_of(service.get("auto_stop_machines")) not in ("", "off", "false"):
        text = "auto_stop_machines is not carried over: dynos run until you change their number"
        notes.append(document.note(text, "auto_stop_machines"))
    if "concurrency" in service:
        text = "concurrency is not carried over: set the threads and workers in app_server.options"
        notes.append(document.note(text, "concurrency"))
    return found


def _groups(data: Mapping[str, Data]) -> dict[str, str]:
    return {name: text_of(command) for name, command in mapping(data.get("processes")).items()} or {"app": ""}


def _service(data: Mapping[str, Data]) -> dict[str, Data]:
    return mapping(data.get("http_service")) or mapping(next(iter(listed(data.get("services"))), None))


def _fronted(data: Mapping[str, Data]) -> str:
    """The process group that answers HTTP requests."""
    groups = _groups(data)
    named = [name for name in map(text_of, listed(_service(data).get("processes"))) if name in groups]
    return next(iter(named or groups))


def _machine(data: Mapping[str, Data], group: str) -> tuple[float | None, str]:
    """The cores and the memory of a process group. A shared CPU is the share that a dyno has by default."""
    for entry in listed(data.get("vm")):
        settings = mapping(entry)
        names = [text_of(name) for name in listed(settings.get("processes"))]
        if names and group not in names:
            continue
        preset = re.fullmatch(r"(shared|performance)-(?:cpu-)?(\d{1,2})x", text_of(settings.get("size")))
        kind = preset[1] if preset else text_of(settings.get("cpu_kind")) or "shared"
        cpus = settings.get("cpus") or (int(preset[2]) if preset else None)
        cores = float(cpus) if kind == "performance" and isinstance(cpus, int) and 1 <= cpus <= 64 else None
        memory = size(settings.get("memory") or settings.get("memory_mb") or "")
        if not memory and preset:
            memory = size((2048 if kind == "performance" else 256) * int(preset[2]))
        return cores, memory if memory != "512M" else ""
    return None, ""


def _stop(data: Mapping[str, Data]) -> int | None:
    timeout = seconds(data["kill_timeout"]) if "kill_timeout" in data else None
    return None if timeout is None or timeout <= 5 else min(timeout, 600)  # 5 s is what Fly has by default


def _health(data: Mapping[str, Data]) -> str:
    """The path of the first HTTP check."""
    checks = listed(mapping(data.get("http_service")).get("checks"))
    for service in listed(data.get("services")):
        checks += listed(mapping(service).get("http_checks"))
    checks += [check for check in mapping(data.get("checks")).values() if mapping(check).get("type") == "http"]
    paths = [text_of(mapping(check).get("path")) for check in checks]
    return next((path for path in paths if re.fullmatch(r"/[!-~]{0,200}", path)), "")


def _volumes(document: Document, data: Mapping[str, Data], notes: list[Note]) -> tuple[Volume, ...]:
    found = []
    for entry in listed(data.get("mounts")):
        settings = mapping(entry)
        target = text_of(settings.get("destination"))
        path, inside = in_app(target)
        if not path:
            text = f"mount {shortened(target)} is not carried over: it is not a directory of the app"
            notes.append(document.note(text, "mounts"))
            continue
        name = volume_name(text_of(settings.get("source")) or path)
        groups = [text_of(group) for group in listed(settings.get("processes"))]
        types = tuple("web" if group == _fronted(data) else group for group in groups)
        found.append(Volume(name, path, types))
        notes.append(document.note(f"copy its data to the volume {name} before the first apply", "mounts"))
        if not inside:
            text = f"mount {target} is {path} in the directory of the app: change what names {target}"
            notes.append(document.note(text, "mounts"))
    return tuple(found)
