"""A release's rehearsal: a web dyno that nobody knows of, asked once over a socket of its own."""

from __future__ import annotations

from collections.abc import Mapping

from infra.resource import Command
from infra.sensitive import Sensitive
from providers import one_off
from providers.dyno_unit import DynoUnit, wanted, words

DYNO = "web.0"
"""The number that no real dyno has."""

# Runs as the candidate's user in its sandbox. Any answer will do but one that says that the app is broken.
_ASK = (
    "path, ask, wanted = ARGV; "
    'loop { Process.kill(0, ENV["MAINPID"].to_i) rescue abort("it ended before it answered"); '
    "begin; Socket.unix(path) { |s| "
    's.write "GET #{ask} HTTP/1.0\\r\\nHost: localhost\\r\\nUser-Agent: dynoctl\\r\\n\\r\\n"; '
    "s.wait_readable(30) or next; status = s.gets(64).to_s[%r{\\AHTTP/\\S+ (\\d+)}, 1] or next; "
    'exit if wanted == status || (wanted == "any" && status < "500") || (wanted == "ok" && status =~ /\\A[23]/); '
    'abort "GET #{ask} answered #{status}" }; '
    "rescue SystemCallError; end; sleep 0.02 }"
)


def name(app: str) -> str:
    """What its unit is called, and its directory below /run: that is its user's alone, and gone with it."""
    return f"dynoctl-candidate-{app}"


def socket(app: str) -> str:
    """Where it listens."""
    return f"/run/{name(app)}/socket"


def settings(dyno: DynoUnit) -> dict[str, str]:
    """Its unit. ``dyno`` is any web dyno of the release, with the argv that listens on ``socket``."""
    ask = [dyno.ruby, "--disable=gems", "-rsocket", "-rio/wait", "-e", _ASK, socket(dyno.app)]
    ask += wanted(dyno.health)
    return {
        **one_off.settings(dyno, name(dyno.app), {"PORT": str(dyno.port), "DYNO": DYNO}, dyno.deadline),
        "Service.Type": "exec",
        "Service.RuntimeDirectory": name(dyno.app),
        "Service.RuntimeDirectoryMode": "0700",
        "Service.ExecStartPost": words(ask),
    }


def commands(dyno: DynoUnit, variables: Mapping[str, str | Sensitive]) -> tuple[Command, ...]:
    """Boot it, ask it, and take everything away again; the last command's status is its answer."""
    return one_off.commands(name(dyno.app), settings(dyno), variables, dyno.deadline, "boot a candidate")
