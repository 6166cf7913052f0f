"""The candidate of a release: a web dyno that no router knows, health-checked over a socket of its own."""

from __future__ import annotations

from infra.model.provider import Scope
from infra.model.resource import Command
from providers import health, one_off
from providers.dyno_unit import DynoUnit, exec_line

DYNO = "web.0"
"""A dyno name that no real dyno has."""


def name(app: str, nonce: str) -> str:
    """The name of the candidate's unit, and of its directory in /run, which only its user can read."""
    return one_off.name("candidate", app, nonce)


def socket(app: str, nonce: str) -> str:
    """The path of the socket that the candidate listens on."""
    return f"/run/{name(app, nonce)}/socket"


def settings(dyno: DynoUnit, nonce: str) -> dict[str, str]:
    """The candidate's unit. ``dyno`` is any web dyno of the release, with an argv that listens on ``socket``."""
    ask = health.command(dyno.ruby, health.CANDIDATE, dyno.health.arguments(socket(dyno.app, nonce), 0, "served"))
    unit_name = name(dyno.app, nonce)
    return {
        **one_off.settings(dyno, unit_name, {"PORT": str(dyno.port), "DYNO": DYNO}, dyno.deadline),
        "Service.Type": "exec",
        "Service.RuntimeDirectory": unit_name,
        "Service.RuntimeDirectoryMode": "0700",
        "Service.ExecStartPost": exec_line(ask),
    }


def commands(dyno: DynoUnit, scope: Scope, nonce: str) -> tuple[Command, ...]:
    """Boot the candidate, check its health and remove everything again; the last command's status is the result."""
    unit = settings(dyno, nonce)
    return one_off.commands(name(dyno.app, nonce), unit, scope, dyno.deadline, "boot a candidate")
