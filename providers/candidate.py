"""The candidate of a release: a web dyno that no router knows, health-checked over a socket of its own."""

from __future__ import annotations

from infra.model.provider import Scope
from infra.model.resource import Command
from providers import one_off
from providers.dyno_unit import DynoUnit, exec_line, health_arguments

DYNO = "web.0"
"""A dyno name that no real dyno has."""

# Runs as the candidate's user in its sandbox. Without a configured health check, any answer below 500 is healthy.
_ASK = (
    "path, ask, wanted, patience = ARGV; last = nil; "
    'at_exit { warn "GET #{ask} answered #{last}" if $! && last }; %w[TERM QUIT].each { |s| trap(s) { exit 1 } }; '
    'loop { Process.kill(0, ENV["MAINPID"].to_i) rescue abort("it exited before it answered"); '
    "begin; Socket.unix(path) { |s| "
    's.write "GET #{ask} HTTP/1.0\\r\\nHost: localhost\\r\\nUser-Agent: dynoctl\\r\\n\\r\\n"; '
    "s.wait_readable(patience.to_i) or next; last = s.gets(64).to_s[%r{\\AHTTP/\\S+ (\\d+)}, 1] or next; "
    'exit!(true) if wanted == last || (wanted == "any" && last < "500") || (wanted == "ok" && last =~ /\\A[23]/); '
    # Without a configured health check an error fails at once; with one, the app may be unhealthy until the deadline.
    'exit 1 if wanted == "any" }; '
    "rescue SystemCallError; end; sleep 0.02 }"
)


def name(app: str, nonce: str) -> str:
    """The name of the candidate's unit, and of its directory in /run, which only its user can read."""
    return one_off.name("candidate", app, nonce)


def socket(app: str, nonce: str) -> str:
    """The path of the socket that the candidate listens on."""
    return f"/run/{name(app, nonce)}/socket"


def settings(dyno: DynoUnit, nonce: str) -> dict[str, str]:
    """The candidate's unit. ``dyno`` is any web dyno of the release, with an argv that listens on ``socket``."""
    ask = [dyno.ruby, "--disable=gems", "-rsocket", "-rio/wait", "-e", _ASK, socket(dyno.app, nonce)]
    ask += health_arguments(dyno.health)
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
