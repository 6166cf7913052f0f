"""A release's rehearsal: a web dyno that nobody knows of, asked once over a socket of its own."""

from __future__ import annotations

from infra.model.provider import Scope
from infra.model.resource import Command
from providers import one_off
from providers.dyno_unit import DynoUnit, wanted, words

DYNO = "web.0"
"""The number that no real dyno has."""

# Runs as the candidate's user in its sandbox. Any answer will do but one that says that the app is broken.
_ASK = (
    "path, ask, wanted, patience = ARGV; last = nil; "
    'at_exit { warn "GET #{ask} answered #{last}" if $! && last }; %w[TERM QUIT].each { |s| trap(s) { exit 1 } }; '
    'loop { Process.kill(0, ENV["MAINPID"].to_i) rescue abort("it ended before it answered"); '
    "begin; Socket.unix(path) { |s| "
    's.write "GET #{ask} HTTP/1.0\\r\\nHost: localhost\\r\\nUser-Agent: dynoctl\\r\\n\\r\\n"; '
    "s.wait_readable(patience.to_i) or next; last = s.gets(64).to_s[%r{\\AHTTP/\\S+ (\\d+)}, 1] or next; "
    'exit!(true) if wanted == last || (wanted == "any" && last < "500") || (wanted == "ok" && last =~ /\\A[23]/); '
    # Where nobody said what is healthy, an error is one; else the app may say "not yet" for as long as it may take.
    'exit 1 if wanted == "any" }; '
    "rescue SystemCallError; end; sleep 0.02 }"
)


def name(app: str, nonce: str) -> str:
    """What its unit is called, and its directory below /run: that is its user's alone, and gone with it."""
    return one_off.name("candidate", app, nonce)


def socket(app: str, nonce: str) -> str:
    """Where it listens."""
    return f"/run/{name(app, nonce)}/socket"


def settings(dyno: DynoUnit, nonce: str) -> dict[str, str]:
    """Its unit. ``dyno`` is any web dyno of the release, with the argv that listens on ``socket``."""
    ask = [dyno.ruby, "--disable=gems", "-rsocket", "-rio/wait", "-e", _ASK, socket(dyno.app, nonce)]
    ask += wanted(dyno.health)
    called = name(dyno.app, nonce)
    return {
        **one_off.settings(dyno, called, {"PORT": str(dyno.port), "DYNO": DYNO}, dyno.deadline),
        "Service.Type": "exec",
        "Service.RuntimeDirectory": called,
        "Service.RuntimeDirectoryMode": "0700",
        "Service.ExecStartPost": words(ask),
    }


def commands(dyno: DynoUnit, scope: Scope, nonce: str) -> tuple[Command, ...]:
    """Boot it, ask it, and take everything away again; the last command's status is its answer."""
    unit = settings(dyno, nonce)
    return one_off.commands(name(dyno.app, nonce), unit, scope, dyno.deadline, "boot a candidate")
