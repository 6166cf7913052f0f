"""What a server must be before a dyno can run on it, and what the fleet must be before anything is planned."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from infra.errors import Diagnostic
from infra.fleet.facts import SYSTEMD_AT_LEAST, Facts
from infra.fleet.observe import Observed
from infra.model.stack import Stack


def check(
    found: Mapping[str, Facts],
    stack: Stack,
    observed: Mapping[str, Observed],
    *,
    installed: bool = False,
    idle: Container[str] = (),
) -> list[Diagnostic]:
    """Everything that stands in the way of a plan, on every server that will carry dynos.

    What packages will bring is not missed, but for a Ruby that apt would not have; once they are ``installed``, it is.
    ``idle`` servers carry no dynos, and need nothing for any.
    """
    problems: list[Diagnostic] = []
    machines: dict[str, str] = {}
    for name, facts in found.items():
        twin = machines.setdefault(facts.machine_id, name)
        if twin != name:
            problems.append(twins(name, twin, facts.machine_id))
        if name in idle:
            continue
        missing = [one for one in stack.packages if f"package.{one}" not in observed[name].resources]
        problems += [*system(name, facts), *layers(name, facts, stack, [] if installed else missing)]
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
