"""The environment variables that an app cannot set, and why."""

from __future__ import annotations

import re

_REFUSED: tuple[tuple[str, str], ...] = (
    (r"PORT", "dynoctl assigns a port to each dyno; set the first port with dynos.web.port"),
    (r"DYNO", "dynoctl sets it to the name of the dyno"),
    (
        r"LD_.*|GCONV_PATH|LOCPATH|MALLOC_.*|GLIBC_TUNABLES|NLSPATH",
        "the dynamic linker and the C library read it before Ruby starts",
    ),
    (
        r"LISTEN_.*|NOTIFY_SOCKET|WATCHDOG_.*|MAINPID|INVOCATION_ID|JOURNAL_STREAM|CREDENTIALS_DIRECTORY",
        "it is reserved by systemd",
    ),
    (r"BASH_ENV|ENV|IFS|SHELLOPTS|BASHOPTS|PS4", "it changes how a shell runs"),
)


def refused(name: str) -> str:
    """Why an app cannot set this variable, or "" if it can."""
    for pattern, reason in _REFUSED:
        if re.fullmatch(pattern, name):
            return reason
    return ""
