"""Which environment variables an app may not set, and why."""

from __future__ import annotations

import re

_REFUSED: tuple[tuple[str, str], ...] = (
    (r"PORT", "Every dyno has a port of its own; set the first one with dynos.web.port."),
    (r"DYNO", "It is the dyno's own name."),
    (
        r"LD_.*|GCONV_PATH|LOCPATH|MALLOC_.*|GLIBC_TUNABLES|NLSPATH",
        "The loader and the C library read it before any Ruby runs.",
    ),
    (
        r"LISTEN_.*|NOTIFY_SOCKET|WATCHDOG_.*|MAINPID|INVOCATION_ID|JOURNAL_STREAM|CREDENTIALS_DIRECTORY",
        "systemd sets it for its own use.",
    ),
    (r"BASH_ENV|ENV|IFS|SHELLOPTS|BASHOPTS|PS4", "A shell would act on it."),
)


def refused(name: str) -> str:
    """Why ``env`` may not set this variable, or "" where it may."""
    for pattern, reason in _REFUSED:
        if re.fullmatch(pattern, name):
            return reason
    return ""
