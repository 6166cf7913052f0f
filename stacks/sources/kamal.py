"""Kamal: config/deploy.yml, with .kamal/secrets for where the values of secrets come from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from infra.manifest.addresses import is_no_ipv4
from stacks.sources import kamal_services
from stacks.sources.documents import Data, Document, computed, from_yaml, listed, mapping, text_of
from stacks.sources.found import Found, Login, Machine, Note, Process, Secret, seconds, shortened, size
from stacks.sources.variables import in_the_clear

FILE = "config/deploy.yml"

_WHY: Mapping[str, str] = {
    "builder": "no image is built; app.build makes the slug",
    "asset_path": "a release with other assets serves them from its own slug",
    "hooks_path": "there are no hooks; release_command runs before any dyno moves",
    "logging": "dynos log to the journal of their server",
    "aliases": "use dynoctl run COMMAND",
    "labels": "dynos have no labels",
    "boot": "see rollout.max_parallel",
    "run_directory": "dynoctl has its own directories",
    "error_pages_path": "routers have their own error pages",
    "sshkit": "see ssh.connect_timeout",
    "readiness_delay": "see rollout.min_healthy_time",
    "primary_role": "the process type of the app server is web",
}
_SILENT = {
    *("service", "image", "servers", "registry", "env", "proxy", "ssh", "volumes", "accessories", "retain_containers"),
    *("deploy_timeout", "drain_timeout", "minimum_version", "require_destination", "allow_empty_roles", "secrets_path"),
    *("hooks_output", "traefik", "healthcheck"),
}


class Kamal:
    """config/deploy.yml as Kamal 1 and 2 read it, without running its ERB tags."""

    name = "kamal"
    files: Sequence[str] = (FILE, ".kamal/secrets", ".kamal/secrets-common", "config/deploy.*.yml", "Dockerfile")
    platform = True

    def read(self, files: Mapping[str, str]) -> Found:
        document = from_yaml(FILE, files[FILE], erb=True)
        if document.data is None:
            return Found(notes=document.notes)
        data = mapping(document.data)
        notes = [*document.notes, *_left_out(document, data, files)]
        machines, processes = _servers(document, data, notes)
        env, secrets = _environment(document, data, files, notes)
        proxy = kamal_services.proxy(document, data, notes)
        retain = data.get("retain_containers")
        return Found(
            name=text_of(data.get("service")),
            machines=machines,
            processes=processes,
            login=_login(document, mapping(data.get("ssh")), notes),
            env=env,
            secrets=secrets,
            health=proxy.health,
            hosts=proxy.hosts,
            routed="proxy" in data or "traefik" in data,
            tls=proxy.tls,
            timeout=proxy.timeout,
            volumes=kamal_services.volumes(document, data, notes),
            keep=min(max(retain, 1), 100) if isinstance(retain, int) else None,
            max_parallel=kamal_services.batch(mapping(data.get("boot")).get("limit")),
            deadline=seconds(data["deploy_timeout"]) if "deploy_timeout" in data else None,
            notes=(*notes, *kamal_services.accessories(document, mapping(data.get("accessories")))),
        )


def _left_out(document: Document, data: Mapping[str, Data], files: Mapping[str, str]) -> list[Note]:
    notes = []
    for key in data:
        if key == "boot" and kamal_services.batch(mapping(data[key]).get("limit")) is not None:
            continue
        if key in _WHY:
            notes.append(document.note(f"{key} is not carried over: {_WHY[key]}", key))
        elif key not in _SILENT and not key.startswith("x-"):
            notes.append(document.note(f"{shortened(key)} is not carried over: dynoctl has no such setting", key))
    for file in sorted(files):
        found = re.fullmatch(r"config/deploy\.([\w-]{1,40})\.yml", file)
        if found:
            notes.append(Note(f"not read: write dyno.{found[1]}.yaml, and use it with -d {found[1]}", file))
    return notes


def _servers(
    document: Document, data: Mapping[str, Data], notes: list[Note]
) -> tuple[tuple[Machine, ...], dict[str, Process]]:
    """The hosts of all roles, and a process type for each role with as many dynos as it has hosts."""
    servers = data.get("servers")
    primary = text_of(data.get("primary_role")) or "web"
    roles: dict[str, Data] = {primary: servers} if isinstance(servers, list) else mapping(servers)
    hosts: dict[str, list[str]] = {}
    processes: dict[str, Process] = {}
    for role, value in roles.items():
        settings = mapping(value)
        found = _hosts(document, settings.get("hosts") if settings else value, ("servers", role), notes)
        for host in found:
            hosts.setdefault(host, []).append(role)
        options = mapping(settings.get("options"))
        command = text_of(settings.get("cmd"))
        if role != primary and not command:
            notes.append(document.note(f"role {shortened(role)} is left out: it has no cmd", "servers", role))
            continue
        drain = seconds(data["drain_timeout"]) if "drain_timeout" in data else None
        processes["web" if role == primary else role] = Process(
            command,
            len(found) or None,
            _cores(options.get("cpus")),
            size(options.get("memory", "")),
            None if drain is None else min(drain, 600),
            document.note(role, "servers", role),
        )
        for key in settings:
            if key not in ("hosts", "cmd", "options", "proxy", "env", "stop_wait_time"):
                text = f"{shortened(key)} of role {shortened(role)} is not carried over: dynoctl has no such setting"
                notes.append(document.note(text, "servers", role, key))
        if "env" in settings:
            text = f"env of role {shortened(role)} is not carried over: env is the same for all process types"
            notes.append(document.note(text, "servers", role, "env"))
    if len(roles) > 1 and len(hosts) > 1:
        text = "the hosts of roles are not carried over: the dynos of all process types are placed on all servers"
        notes.append(document.note(text, "servers"))
    return tuple(Machine(host, roles=tuple(names)) for host, names in hosts.items()), processes


def _hosts(document: Document, value: Data, path: tuple[str, ...], notes: list[Note]) -> list[str]:
    found = []
    for entry in listed(value):
        host = next(iter(mapping(entry)), "") if isinstance(entry, dict) else text_of(entry)
        if computed(host) is not None:
            notes.append(document.note("a host is computed, and not carried over: add it to servers", *path))
        elif re.fullmatch(r"[A-Za-z0-9:][A-Za-z0-9._:%-]{0,252}", host) and not is_no_ipv4(host):
            found.append(host)
        elif host:
            notes.append(document.note(f"host {shortened(host)} is not carried over: it is invalid", *path))
    return found


def _cores(value: Data) -> float | None:
    try:
        cores = float(text_of(value))
    except ValueError:
        return None
    return cores if 0.05 <= cores <= 64 else None


def _environment(
    document: Document, data: Mapping[str, Data], files: Mapping[str, str], notes: list[Note]
) -> tuple[Mapping[str, str], dict[str, Secret]]:
    env = mapping(data.get("env"))
    clear = mapping(env.get("clear")) if {"clear", "secret"} & env.keys() else env
    values: dict[str, str] = {}
    secrets: dict[str, Secret] = {}
    for name, value in clear.items():
        if name in ("clear", "secret", "tags"):
            continue
        variable = computed(value)
        if variable is not None:
            secrets[name] = Secret()
            notes.append(document.note(f"{name} is computed, so dyno.yaml has a reference", "env", "clear", name))
        else:
            values[name] = text_of(value)
    where = {name: document.note("", "env", "clear", name) for name in values}
    sorted_out = in_the_clear(values, where)
    notes += sorted_out.notes
    if "tags" in env:
        notes.append(document.note("env.tags is not carried over: env is the same on all servers", "env", "tags"))
    sources = _sources(files)
    for entry in listed(env.get("secret")):
        name, _, alias = text_of(entry).partition(":")  # NAME:KEY takes NAME from KEY
        secrets[name] = Secret(sources.get(alias or name, ""))
    return sorted_out.env, {**secrets, **sorted_out.secrets}


def _sources(files: Mapping[str, str]) -> dict[str, str]:
    """The files that .kamal/secrets reads values from with $(cat FILE). Values in it are not looked at."""
    found: dict[str, str] = {}
    for file in (".kamal/secrets-common", ".kamal/secrets"):
        for line in files.get(file, "").splitlines()[:500]:
            read = re.fullmatch(r"\s*([A-Za-z_]\w{0,80})=[\"']?\$\(cat ([\w./-]{1,200})\)[\"']?\s*", line)
            if read and not read[2].startswith("/"):
                found[read[1]] = read[2]
    return found


def _login(document: Document, ssh: Mapping[str, Data], notes: list[Note]) -> Login:
    for key in ssh:
        if key not in ("user", "port", "proxy"):
            text = f"ssh.{shortened(key)} is not carried over: dynoctl reads ssh_config and uses the SSH agent"
            notes.append(document.note(text, "ssh", key))
    gateway = text_of(ssh.get("proxy"))
    user, port = text_of(ssh.get("user")), ssh.get("port")
    return Login(user or "root", gateway, port if isinstance(port, int) else None)
