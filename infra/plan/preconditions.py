"""What a server must be before a dyno can run on it, and what the fleet must be before anything is planned:
layers that are there, no other destination, no other router in the way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from types import MappingProxyType

from infra.errors import Diagnostic
from infra.fleet.facts import SYSTEMD_AT_LEAST, Facts
from infra.fleet.observe import Observed
from infra.manifest.model import Manifest
from infra.manifest.references import located
from infra.model import routing
from infra.model.stack import Stack


def check(
    manifest: Manifest,
    stack: Stack,
    found: Mapping[str, Observed],
    leaving: Collection[str],
    package_key: Callable[[str], str],
) -> list[Diagnostic]:
    """Everything of the servers' that no plan can change. Of servers that are ``leaving`` the app, only what they carry
    is looked at. ``package_key`` is ``Registry.package_key``."""
    facts = {name: seen.facts for name, seen in found.items()}
    staying = {name: one for name, one in facts.items() if name not in leaving}
    idle = {server.name for server in manifest.servers if server.drain or not server.dynos}
    around = {name: (one.routes, one.ports) for name, one in staying.items()}
    coming = {name: missing(stack, found[name], package_key) for name in staying}
    return [
        *other_destinations(manifest, facts),
        *servers(staying, stack, coming, idle),
        *located(manifest, list(routing.conflicts(manifest.app.name, manifest.router, around))),
    ]


def missing(stack: Stack, seen: Observed, package_key: Callable[[str], str]) -> list[str]:
    """The packages of the layers that are not on a server: apply installs them."""
    return [package for package in stack.packages if package_key(package) not in seen.resources]


def other_destinations(manifest: Manifest, facts: Mapping[str, Facts]) -> Iterator[Diagnostic]:
    """What a server carries of another destination is not overwritten."""
    for name, seen in facts.items():
        there = str(seen.meta.get("environment", "default")) if seen.meta else manifest.environment
        if there != manifest.environment:
            yield Diagnostic(
                f"{name} carries {manifest.app.name} of the destination {there}, and this is {manifest.environment}",
                hint="Give the overlay an app.name or servers of its own; or say the same -d as last time.",
            )


def servers(
    found: Mapping[str, Facts],
    stack: Stack,
    coming: Mapping[str, Sequence[str]] = MappingProxyType({}),
    idle: Container[str] = (),
) -> list[Diagnostic]:
    """What is wrong with the servers that will carry dynos.

    ``coming`` are, by server, the packages that apply would install: what they bring is not missed, but for a Ruby that
    apt would not have. ``idle`` servers carry no dynos, and need nothing for any.
    """
    problems: list[Diagnostic] = []
    machines: dict[str, str] = {}
    for name, facts in found.items():
        twin = machines.setdefault(facts.machine_id, name)
        if twin != name:
            problems.append(twins(name, twin, facts.machine_id))
        if name in idle:
            continue
        problems += [*system(name, facts), *layers(name, facts, stack, coming.get(name, ()))]
    return problems


def twins(name: str, twin: str, machine: str) -> Diagnostic:
    """Two names of the manifest lead to one machine."""
    return Diagnostic(
        f"{name} and {twin} are the same machine (machine-id {machine})",
        hint="Remove one of the two from servers. Cloned machines need a machine-id of their own: "
        "systemd-machine-id-setup.",
    )


def system(name: str, facts: Facts) -> list[Diagnostic]:
    """What is wrong with a server's systemd and kernel."""
    problems: list[Diagnostic] = []
    if facts.systemd < SYSTEMD_AT_LEAST:
        problems.append(
            Diagnostic(
                f"{name}: systemd {facts.systemd or '(none)'} is too old",
                expected=f"systemd {SYSTEMD_AT_LEAST} or later",
                hint="Upgrade the server's distribution.",
            )
        )
    if not facts.squashfs:
        problems.append(
            Diagnostic(
                f"{name}: its kernel has no squashfs",
                expected="a kernel that mounts squashfs",
                hint="Load the module (modprobe squashfs) or boot a kernel that has it.",
            )
        )
    return problems


def layers(name: str, facts: Facts, stack: Stack, coming: Sequence[str]) -> list[Diagnostic]:
    """What is wrong with a server's Ruby and app server. ``coming`` are the packages that apply would install."""
    problems: list[Diagnostic] = []
    if coming and facts.apt == "no":
        problems.append(
            Diagnostic(
                f"{name}: it has no apt to install {', '.join(coming)}",
                path="packages",
                expected="Debian, or packages: manual",
                hint="Install them your own way, and say packages: manual.",
            )
        )
    elif not facts.ruby and "ruby" in coming:
        if facts.apt and not stack.ruby_fits(facts.apt):
            problems.append(
                Diagnostic(
                    f"{name}: apt would install ruby {facts.apt}, which does not satisfy ruby.version",
                    path="ruby/version",
                    expected=stack.ruby,
                    hint="Give ruby.path a Ruby of your own, or change ruby.version.",
                )
            )
    elif not facts.ruby:
        problems.append(
            Diagnostic(
                f"{name}: no MRI Ruby found at {stack.program}",
                path="ruby",
                expected=f"ruby {stack.ruby}",
                hint="Install it: apt-get install ruby, or say packages: auto. ruby.path names another.",
            )
        )
    elif not stack.ruby_fits(facts.ruby):
        problems.append(
            Diagnostic(
                f"{name}: ruby {facts.ruby} does not satisfy ruby.version",
                path="ruby/version",
                expected=stack.ruby,
                hint="Install a Ruby that fits, or change ruby.version.",
            )
        )
    for program in () if coming else sorted(facts.missing):
        package = program.rpartition("/")[2]
        problems.append(
            Diagnostic(
                f"{name}: {program} is missing",
                expected="the app server on the server",
                hint=f"Install it: apt-get install {package}",
            )
        )
    return problems
