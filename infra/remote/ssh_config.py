"""What ssh_config says about a host. OpenSSH itself is asked (``ssh -G``), so that dynoctl connects as ``ssh`` does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

from infra.errors import DynoctlError
from infra.manifest import programs
from infra.model.target import Target
from infra.remote import ssh_config_file
from infra.remote.ssh_config_groups import Answer, Groups
from infra.remote.ssh_settings import Raw, Settings, Unsupported, home, settings, split_files

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")

LIMIT = 20
"""Seconds for ``ssh -G``, which runs the commands of ``Match exec``."""

MOST_HOPS = 16

_NOTES = ("debug1: ", "OpenSSH_")
"""What the lines begin with that ``ssh -v`` prints besides errors."""

_READ = "debug1: Reading configuration data "

_LISTS = ("userknownhostsfile", "globalknownhostsfile")

_UNSAFE = re.compile(r"""[\s'`"$\\;&<>|(){}\x00-\x1f\x7f\ud800-\udfff]""")
"""Characters that OpenSSH does not allow in the names of hosts, because commands may have them."""

T = TypeVar("T")


class ConfigError(DynoctlError):
    """ssh_config is invalid, or has a setting that dynoctl cannot honour."""


@dataclass(frozen=True)
class Question:
    """A host as it is asked for: settings that are None come from ssh_config."""

    host: str
    user: str | None = None
    port: int | None = None
    jump: str | None = None
    config: Path | None = None
    """The only ssh_config to read (``ssh -F``), instead of the user's and the system's."""


def route(target: Target, config: Path | None = None) -> tuple[Settings, ...]:
    """The settings of every host on the way to ``target``, which is the last. Raises ConfigError."""
    hops = _hops(Question(target.host, target.user, target.port, target.gateway, config), ())
    named = len(jump_hosts(target.gateway or "")) + 1
    # What the manifest says of keys holds for the hosts that the manifest names; the others are ssh_config's own.
    return tuple(_of_manifest(hop, target) if len(hops) - place <= named else hop for place, hop in enumerate(hops))


def _of_manifest(hop: Settings, target: Target) -> Settings:
    """``hop`` with the key and the known_hosts file of the manifest."""
    if target.key is not None:
        # Only the configured key is tried: with others first, sshd may stop with "too many authentication failures".
        hop = replace(hop, identity_files=(target.key,), identities_only=True)
    if target.known_hosts is not None:
        hop = replace(hop, known_hosts=(target.known_hosts,))
    return hop


def _hops(question: Question, passed: tuple[Question, ...]) -> tuple[Settings, ...]:
    if question in passed or len(passed) >= MOST_HOPS:
        names = " -> ".join(step.host for step in (*passed, question))
        raise ConfigError(f"ProxyJump of ssh_config leads in a circle: {names}", "set ProxyJump none for the jump host")
    found = resolve(question)
    jumps = jump_hosts(found.proxy_jump)
    if not jumps:
        return (found,)
    # As OpenSSH does it: it runs ssh for the last jump host, with those before it as -J.
    before = found.proxy_jump.rpartition(",")[0] or None
    user, host, port = jumps[-1]
    return (*_hops(Question(host, user, port, before, question.config), (*passed, question)), found)


def jump_hosts(text: str) -> list[tuple[str | None, str, int | None]]:
    """User, host and port of each host of ProxyJump. Raises ConfigError."""
    return [_jump(jump.strip()) for jump in text.split(",") if jump.strip()] if text.lower() != "none" else []


def _jump(text: str) -> tuple[str | None, str, int | None]:
    """User, host and port of ``[user@]host[:port]`` or of an ``ssh://`` URI."""
    rest = text.removeprefix("ssh://").rstrip("/")
    user, _, address = rest.rpartition("@")
    host, port = address, ""
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        port = port.removeprefix(":")
    elif address.count(":") == 1:
        host, _, port = address.partition(":")
    if not host or (port and not port.isdecimal()):
        raise ConfigError(f"invalid jump host: {text}", "write it as user@host:port")
    return user or None, host, int(port) if port else None


def resolve(question: Question) -> Settings:
    """The settings of one host. Raises ConfigError."""
    # Commands of ssh_config may have them (%h, %r), and the records of another server may be where they come from.
    host, user = question.host, question.user
    if not host or host.startswith("-") or _UNSAFE.search(host):
        raise ConfigError(f"invalid host name: {host!r}", "correct the host in dyno.yaml")
    if user is not None and (not user or _UNSAFE.search(user)):
        raise ConfigError(f"invalid login name: {user!r}", "correct the user in dyno.yaml")
    try:
        return _once(question)
    except Unsupported as error:
        raise ConfigError(
            f"ssh_config has a setting for {host} that dynoctl does not support: {error}",
            f"see which block sets it, and except this host from it: ssh -G {host}",
        ) from None


def _thread_safe_cache(function: Callable[[Question], T]) -> Callable[[Question], T]:
    """Call ``function`` once for equal arguments, also when several threads ask at once."""
    cached = cache(function)
    locks: dict[Question, threading.Lock] = {}

    def call(question: Question) -> T:
        with locks.setdefault(question, threading.Lock()):
            return cached(question)

    return call


_groups = Groups()


@_thread_safe_cache
def _once(question: Question) -> Settings:
    files = [question.config] if question.config else [home() / ".ssh/config", SYSTEM_CONFIG]
    files = [path for path in files if question.config or _is_there(path)]
    raw: Raw
    if not files:
        raw = ssh_config_file.read([], question.host, question.user, question.port, question.jump)
    elif (client := _client(os.environ.get("PATH"))) is not None and _is_a_user(os.getuid()):
        others = (question.user, question.port, question.jump)
        raw = _groups.answer(question.host, others, files, lambda: asked(client, question))
    else:
        try:
            raw = ssh_config_file.read(files, question.host, question.user, question.port, question.jump)
        except ssh_config_file.NotUnderstood as error:
            raise ConfigError(
                f"{error}: this needs the ssh program, which is not installed",
                "install OpenSSH's client: apt-get install openssh-client",
            ) from None
    return settings(question.host, raw)


def _is_there(path: Path) -> bool:
    """Whether there is a file that is read without being named. Raises ConfigError if it may not be read: OpenSSH
    passes over it, and would connect to another host, or on another way, than the user wrote."""
    try:
        found = path.is_file()
    except OSError:  # its directory may not be searched, so nobody can tell
        return False
    if found and not os.access(path, os.R_OK):
        raise ConfigError(f"{path} cannot be read: permission denied", f"make {path} readable, or remove it")
    return found


@cache  # by PATH, which does not change in a command
def _client(_: str | None) -> str | None:
    return programs.find("ssh")


@cache
def _is_a_user(number: int) -> bool:
    import pwd

    try:
        return bool(pwd.getpwuid(number))
    except KeyError:  # a container that runs as any number: ssh refuses to start
        return False


def asked(client: str, question: Question) -> Answer:
    """The settings that ``ssh -G`` prints, and the files that it read. Raises ConfigError."""
    argv = [client, "-v", "-G"]
    if question.config:
        argv += ["-F", str(question.config)]
    if question.port is not None:
        argv += ["-p", str(question.port)]
    if question.user is not None:
        argv += ["-l", question.user]
    if question.jump is not None:
        argv += ["-o", f"ProxyJump={question.jump}"]
    argv += ["--", question.host]
    # A session of its own, so that what Match exec started ends with it.
    process = subprocess.Popen(  # noqa: S603 -- the host cannot be read as an option
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        output, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise ConfigError(
            f"ssh -G {question.host} timed out after {LIMIT} s", "see which command of Match exec waits: ssh -vG"
        ) from None
    said = errors.decode(errors="surrogateescape").splitlines()
    if process.returncode != 0:
        lines = [line for line in said if line.strip() and not line.startswith(_NOTES)]
        lines = [line for line in lines if "Pseudo-terminal" not in line and ": terminating, " not in line]
        why = "; ".join(lines[:3])[:500] or f"exit status {process.returncode}"
        why = why.encode(errors="replace").decode()
        raise ConfigError(f"ssh_config: {why}", f"correct it, and check: ssh -G {question.host}")
    raw: dict[str, list[str]] = {}
    for line in output.decode(errors="surrogateescape").splitlines():
        key, _, value = line.partition(" ")
        raw.setdefault(key.lower(), []).extend(split_files(value) if key.lower() in _LISTS else [value])
    return Answer(raw, frozenset(line.removeprefix(_READ) for line in said if line.startswith(_READ)))
