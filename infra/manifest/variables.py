"""Which environment variables an app may not set, and why."""

from __future__ import annotations

import re

_REFUSED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile("PORT"), "Every dyno gets a port of its own: set the first one with dynos.web.port."),
    (re.compile("DYNO"), "It is the dyno's own name, like web.1."),
    (
        re.compile("LD_.*|GCONV_PATH|LOCPATH|NLSPATH|GLIBC_TUNABLES|MALLOC_.*"),
        "The loader and the C library obey it before any Ruby runs.",
    ),
    (
        re.compile("LISTEN_.*|NOTIFY_SOCKET|WATCHDOG_.*|INVOCATION_ID|JOURNAL_STREAM|MAINPID|CREDENTIALS_DIRECTORY"),
        "systemd sets it for the dyno.",
    ),
    (re.compile("BASH_ENV|ENV|IFS|SHELLOPTS|BASHOPTS|PS4"), "A shell would obey it."),
)


def refused(name: str) -> str:
    """Why ``env`` may not set this variable, or "" where it may."""
    return next((reason for pattern, reason in _REFUSED if pattern.fullmatch(name)), "")
