"""The environment variables that an app cannot set, and how large variables and commands may be for Linux."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from infra.sensitive import Sensitive, reveal

_REFUSED: tuple[tuple[str, str], ...] = (
    (r"PORT", "dynoctl assigns a port to each dyno; set the first port with dynos.web.port"),
    (r"DYNO", "dynoctl sets it to the name of the dyno"),
    (r"LD_.*|GCONV_PATH", "the dynamic linker and the C library load code from it before Ruby starts"),
    (
        r"LISTEN_.*|NOTIFY_SOCKET|WATCHDOG_.*|MAINPID|INVOCATION_ID|JOURNAL_STREAM|CREDENTIALS_DIRECTORY",
        "it is reserved by systemd",
    ),
    (r"BASH_ENV|ENV|IFS|SHELLOPTS|BASHOPTS|PS4", "it changes how a shell runs"),
    (r"dynoctl_.*", "dynoctl gives such a name to each variable while a process starts"),
)

_PREFIX = len("dynoctl_")
"""Bytes that the launcher puts before the name of each variable for a moment."""

LARGEST = (128 << 10) - _PREFIX
"""Bytes of one argument, or of one variable as ``NAME=value``, with the NUL at its end: MAX_ARG_STRLEN of Linux, 32
pages of 4 KiB (execve(2))."""

TOTAL = (8 << 20) // 4 - LARGEST - (32 << 10)
"""Bytes of all variables. Linux allows a quarter of the stack's limit for arguments and variables (execve(2)), and the
limit of a unit is the kernel's default of 8 MiB. The rest is for one argument and for what systemd, dynoctl and the app
server add."""

POINTER = 8 + _PREFIX
"""Bytes that Linux counts for the pointer to a variable (bprm_stack_limits in fs/exec.c), and the prefix."""


def refused(name: str) -> str:
    """Why an app cannot set this variable, or "" if it can."""
    for pattern, reason in _REFUSED:
        if re.fullmatch(pattern, name):
            return reason
    return ""


def too_large(name: str, value: str | Sensitive) -> str:
    """Why Linux starts no program with this variable, or "" if it does. The value is not in the text."""
    size = _size(name, value)
    return f"{name} is too large: {size} bytes with its name" if size > LARGEST else ""


def too_many(variables: Mapping[str, str | Sensitive]) -> str:
    """Why Linux starts no program with all these variables, or "" if it does. Names the largest ones."""
    sizes = {name: _size(name, value) + POINTER for name, value in variables.items()}
    total = sum(sizes.values())
    if total <= TOTAL:
        return ""
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:3]
    return f"the variables are too large: {total} bytes in total, the largest are {', '.join(largest)}"


def command_too_large(command: str | Iterable[str]) -> str:
    """Why Linux does not run a command: a line for a shell, or a list of words. "" if it does."""
    words = [command] if isinstance(command, str) else list(command)
    total = sum(len(word.encode(errors="surrogatepass")) + 1 for word in words)
    return f"the command is too long: {total} bytes" if total > LARGEST else ""


def _size(name: str, value: str | Sensitive) -> int:
    return len(name) + len(reveal(value).encode(errors="surrogatepass")) + 2


ONE_EXPECTED = (
    f"at most {LARGEST + _PREFIX >> 10} KiB, the limit of Linux; larger values belong in a file: see credentials"
)
ALL_EXPECTED = f"at most {TOTAL >> 10} KiB together; larger values belong in files: see credentials"
COMMAND_EXPECTED = f"at most {LARGEST + _PREFIX >> 10} KiB, the limit of Linux; put it into a script of the app"
