"""Preconditions of a plan: the layers that a server must have to run dynos, no app of another destination on it, and no
conflict with another router."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from infra.errors import Diagnostic, DynoctlError
from infra.fleet.facts import SYSTEMD_AT_LEAST, Facts
from infra.fleet.observe import Observed
from infra.manifest.model import Manifest
from infra.manifest.references import located
from infra.model import routing
from infra.model.stack import Stack
from infra.model.volume import PACKAGE, PROGRAM


def check(
    manifest: Manifest,
    stack: Stack,
    found: Mapping[str, Observed],
    leaving: Collection[str],
    package_key: Callable[[str], str],
) -> list[Diagnostic]:
    """The problems of the servers that no plan can fix. Servers that are ``leaving`` the app are checked only for other
    destinations. ``package_key`` is ``Registry.package_key``."""
    facts = {name: seen.facts for name, seen in found.items()}
    staying = {name: server for name, server in facts.items() if name not in leaving}
    idle = {server.name for server in manifest.servers if server.drain or not server.dynos}
    around = {name: (server.routes, server.ports) for name, server in staying.items()}
    to_install = {name: missing(stack, found[name], package_key) for name in staying}
    builder = staying.get(manifest.builder or "")
    tools = () if manifest.packages.manual else manifest.packages.builder
    return [
        *([no_apt(str(manifest.builder), tools)] if builder is not None and builder.apt == "no" and tools else []),
        *other_destinations(manifest, facts),
        *servers(staying, stack, to_install, idle),
        *located(manifest, list(routing.conflicts(manifest.app.name, manifest.router, around))),
    ]


def missing(stack: Stack, seen: Observed, package_key: Callable[[str], str]) -> list[str]:
    """The packages of the layers that a server does not have; apply installs them."""
    return [package for package in stack.packages if package_key(package) not in seen.resources]


def other_destinations(manifest: Manifest, facts: Mapping[str, Facts]) -> Iterator[Diagnostic]:
    """Servers that run the app of another destination, which is not overwritten."""
    return _other_destinations(manifest, {name: seen.meta for name, seen in facts.items()})


def refuse_others(manifest: Manifest, metas: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise DynoctlError if a server runs another destination of the app, by its record of the formation: a command
    without a plan would act on that one."""
    for problem in _other_destinations(manifest, metas):
        raise DynoctlError(problem.summary, problem.hint)


def _other_destinations(manifest: Manifest, metas: Mapping[str, Mapping[str, Any]]) -> Iterator[Diagnostic]:
    for name, meta in metas.items():
        destination = str(meta.get("environment", "default")) if meta else manifest.environment
        if destination != manifest.environment:
            yield Diagnostic(
                f"{name} runs {manifest.app.name} for the destination {destination}, not {manifest.environment}",
                hint="set another app.name or other servers in the overlay, or pass the same -d as in the last apply",
            )


def one_offs(facts: Mapping[str, Facts]) -> Iterator[Diagnostic]:
    """The one-off dynos under way, which a destroy would end."""
    for name, seen in facts.items():
        for one_off in seen.one_offs:
            yield Diagnostic(
                f"{one_off.name} is running on {name}",
                hint="wait until it ends, or end it and destroy everything: dynoctl destroy --end-runs",
            )


def servers(
    found: Mapping[str, Facts],
    stack: Stack,
    to_install: Mapping[str, Sequence[str]] = MappingProxyType({}),
    idle: Container[str] = (),
) -> list[Diagnostic]:
    """The problems of the servers that run dynos.

    ``to_install`` are, by server, the packages that apply would install: what they provide is not reported as missing,
    except for a Ruby that apt does not have in the required version. ``idle`` servers run no dynos and need no layers.
    """
    problems: list[Diagnostic] = []
    machines: dict[str, str] = {}
    for name, facts in found.items():
        twin = machines.setdefault(facts.machine_id, name)
        if twin != name:
            problems.append(twins(name, twin, facts.machine_id))
        if name in idle:
            continue
        problems += [*system(name, facts), *layers(name, facts, stack, to_install.get(name, ()))]
    return problems


def twins(name: str, twin: str, machine: str) -> Diagnostic:
    """The error for two servers of the manifest that are the same machine."""
    return Diagnostic(
        f"{name} and {twin} are the same machine (machine-id {machine})",
        hint=f"remove {name} or {twin} from servers; if the machine was cloned, give it a new machine-id: "
        "systemd-machine-id-setup",
    )


def system(name: str, facts: Facts) -> list[Diagnostic]:
    """The problems with a server's systemd and kernel."""
    problems: list[Diagnostic] = []
    if facts.systemd < SYSTEMD_AT_LEAST:
        problems.append(
            Diagnostic(
                f"{name}: systemd {facts.systemd or '(none)'} is too old",
                expected=f"systemd {SYSTEMD_AT_LEAST} or later",
                hint="upgrade the server's distribution",
            )
        )
    if not facts.squashfs:
        problems.append(
            Diagnostic(
                f"{name}: the kernel does not support squashfs",
                expected="a kernel with squashfs",
                hint="load the kernel module: modprobe squashfs",
            )
        )
    return problems


def layers(name: str, facts: Facts, stack: Stack, to_install: Sequence[str]) -> list[Diagnostic]:
    """The problems with a server's Ruby and app server. ``to_install`` are the packages that apply would install."""
    problems: list[Diagnostic] = []
    if facts.ruby_refused:
        problems.append(
            Diagnostic(
                f"{name}: {stack.program} is not run, as it {facts.ruby_refused}",
                path="ruby/path",
                expected="a program that root alone can change, in directories that root alone can change",
                hint="install Ruby as root, such as to /opt/ruby-3.3",
            )
        )
    elif to_install and facts.apt == "no":
        problems.append(no_apt(name, to_install))
    elif not facts.ruby and "ruby" in to_install:
        if facts.apt and not stack.ruby_fits(facts.apt):
            problems.append(
                Diagnostic(
                    f"{name}: apt would install ruby {facts.apt}, which does not satisfy ruby.version",
                    path="ruby/version",
                    expected=stack.ruby,
                    hint="set ruby.path to another Ruby, or change ruby.version",
                )
            )
    elif not facts.ruby:
        problems.append(
            Diagnostic(
                f"{name}: no MRI Ruby found at {stack.program}",
                path="ruby",
                expected=f"ruby {stack.ruby}",
                hint="apt-get install ruby, or set packages: auto, or set ruby.path to another Ruby"
                if _packaged(stack)
                else f"install Ruby as {stack.program}, or correct ruby.path",
            )
        )
    elif not stack.ruby_fits(facts.ruby):
        problems.append(
            Diagnostic(
                f"{name}: ruby {facts.ruby} does not satisfy ruby.version",
                path="ruby/version",
                expected=stack.ruby,
                hint="set ruby.path to a matching Ruby, or change ruby.version"
                if _packaged(stack)
                else f"install a matching Ruby as {stack.program}, or change ruby.path or ruby.version",
            )
        )
    problems += _bundle(name, facts.ruby or (facts.apt if "ruby" in to_install else ""), stack)
    for program in () if to_install else sorted(facts.missing):
        if program == PROGRAM:
            hint = f"apt-get install {PACKAGE}"
            problems.append(
                Diagnostic(f"{name}: {program} not found", expected="the program for volumes with a size", hint=hint)
            )
            continue
        directory, _, gem = program.rpartition("/")
        package = next((one for one in (gem, f"ruby-{gem}r") if one in stack.packages), gem)
        problems.append(
            Diagnostic(
                f"{name}: {program} not found",
                expected="the app server on the server",
                hint=f"apt-get install {package}"
                if _packaged(stack)
                else f"{directory}/gem install {'bundler' if gem == 'bundle' else gem}",
            )
        )
    return problems


def no_apt(name: str, packages: Sequence[str]) -> Diagnostic:
    """The error of a server of another distribution on which packages are to be installed."""
    return Diagnostic(
        f"{name}: cannot install {', '.join(packages)}: no apt on the server",
        path="packages",
        expected="Debian, or packages: manual",
        hint="install the packages by hand and set packages: manual",
    )


def _packaged(stack: Stack) -> bool:
    """Whether the Ruby is that of the distribution, so that apt installs it and its programs: not one of another name
    next to it, such as /usr/bin/ruby3.3."""
    return stack.program == "/usr/bin/ruby"


def _bundle(name: str, ruby: str, stack: Stack) -> Iterator[Diagnostic]:
    """The Ruby of a server against that of the Gemfile, which Bundler checks when a dyno starts."""
    if ruby and ruby != "no" and stack.bundle_ruby and not stack.bundle_fits(ruby):
        yield Diagnostic(
            f"{name}: ruby {ruby} does not satisfy the Gemfile, so no dyno would start",
            path="ruby",
            expected=f"ruby {stack.bundle_ruby}",
            hint="set ruby.path to a matching Ruby, or change ruby in the Gemfile, and run bundle lock",
        )
