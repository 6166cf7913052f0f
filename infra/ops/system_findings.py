"""The findings about what an administrator has set up on a server: sshd, sudo, links, packages, access control."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from infra.ops.finding import Finding, Result
from infra.ops.server_checks import Checkup
from infra.remote.channels import AT_ONCE


def about(name: str, health: Checkup, sudo: float | None, to_install: Sequence[str]) -> Iterator[Finding]:
    """The findings about one server. ``sudo`` is how many seconds it took if it could not resolve the server's name,
    ``to_install`` are the packages that apply would install."""
    yield from _sshd(name, health)
    if sudo is not None:
        yield Finding(
            name,
            "sudo",
            "warning",
            f"cannot resolve the name of the server; each login as root took {sudo:.1f} s",
            'add the name to /etc/hosts on the server: echo "127.0.1.1 $(hostname)" >> /etc/hosts',
        )
    if health.links:
        links = ", ".join(f"{path} -> {target}" for path, target in health.links.items())
        yield Finding(name, "links", "ok", links)
    if "/" in health.read_only:
        yield Finding(
            name,
            "directories",
            "failed",
            "/app does not exist, and / cannot be written to",
            "create it by the means of the distribution; on an OSTree system: chattr -i /; mkdir /app; chattr +i /",
        )
    yield from _packages(name, health, to_install)
    yield from _access(name, health)


def outgoing(name: str, health: Checkup, ports: Sequence[int]) -> Iterator[Finding]:
    """A warning if the kernel may give a port of a dyno, of ``ports``, to an outgoing connection. While that lasts, and
    for a minute after it, the dyno's socket cannot be opened (ip-sysctl: ip_local_reserved_ports)."""
    if health.outgoing is None:
        return
    first, last = health.outgoing
    free = [port for port in ports if first <= port <= last]
    free = [port for port in free if not any(low <= port <= high for low, high in health.reserved)]
    if not free:
        return
    reserve = f"{min(free)}-{max(free)}"
    kept = ",".join(f"{low}-{high}" for low, high in health.reserved)
    yield Finding(
        name,
        "ports",
        "warning",
        f"outgoing connections use ports {first} to {last}, also {', '.join(map(str, free))}",
        "reserve the ports of the dynos in /etc/sysctl.d on the server: "
        f"net.ipv4.ip_local_reserved_ports = {f'{kept},' if kept else ''}{reserve}",
    )


def _sshd(name: str, health: Checkup) -> Iterator[Finding]:
    if health.sessions is None:
        return
    said = f"MaxSessions {health.sessions}" + (f", MaxStartups {health.startups}" if health.startups else "")
    if health.sessions >= AT_ONCE:
        yield Finding(name, "sshd", "ok", said)
        return
    # Each connection has so many sessions (MaxSessions 0 would not have let us in, but may be for other logins).
    connections = -(-AT_ONCE // health.sessions) if health.sessions else 0
    more = f": an apply opens {connections} connections" if connections else ": no login can run a command"
    hint = "set MaxSessions 10 in sshd_config of the server, then: systemctl reload ssh"
    yield Finding(name, "sshd", "warning" if connections else "failed", said + more, hint)


def _packages(name: str, health: Checkup, to_install: Sequence[str]) -> Iterator[Finding]:
    """What is in the way of apt: it matters only if there is something to install."""
    state, result = health.packages, _result(to_install)
    if state.lock:
        pid, _, program = state.lock.partition(" ")
        yield Finding(
            name,
            "packages",
            "warning",
            f"dpkg is locked by process {pid} ({program or 'unknown'})",
            "an apply that installs packages waits up to 5 minutes for it",
        )
    elif state.interrupted:
        yield Finding(name, "packages", result, "dpkg was interrupted", "on the server: dpkg --configure -a")
    if "/usr" in health.read_only:
        message = "/usr is read-only" + (f", so apt cannot install {', '.join(to_install)}" if to_install else "")
        hint = "install them by the means of the distribution, and set packages: manual" if to_install else ""
        yield Finding(name, "packages", "failed" if to_install else "ok", message, hint)
    if to_install and state.proxy:
        yield Finding(name, "packages", "ok", f"apt uses the proxy {state.proxy}")


def _result(to_install: Sequence[str]) -> Result:
    return "failed" if to_install else "warning"


def _access(name: str, health: Checkup) -> Iterator[Finding]:
    if "SELinux" in health.enforcing:
        yield Finding(
            name,
            "access",
            "warning",
            "SELinux is enforcing: a policy may refuse what a dyno needs",
            "if a dyno does not start: ausearch -m avc -ts recent",
        )
    elif health.enforcing:
        yield Finding(name, "access", "ok", f"{', '.join(health.enforcing)} is enforcing")
