"""The release phase: one command in the new slug with the new environment, once, before any dyno moves."""

from __future__ import annotations

from collections.abc import Mapping

from infra.resource import Command
from infra.sensitive import Sensitive
from providers import one_off
from providers.dyno_unit import DynoUnit

TIMEOUT = 1800
"""Seconds that it may take: a migration may be long."""

DYNO = "release.0"


def settings(dyno: DynoUnit) -> dict[str, str]:
    """Its unit: a dyno without a port that is to end, and well."""
    name = f"dynoctl-release-{dyno.app}"
    unit = one_off.settings(dyno, name, {"DYNO": DYNO}, TIMEOUT)
    return {key: value for key, value in unit.items() if key != "Service.RuntimeMaxSec"} | {"Service.Type": "oneshot"}


def commands(dyno: DynoUnit, variables: Mapping[str, str | Sensitive]) -> tuple[Command, ...]:
    """Run it; the last command's status is its own, and it prints what it said."""
    return one_off.commands(
        f"dynoctl-release-{dyno.app}", settings(dyno), variables, TIMEOUT, "run the release command"
    )
