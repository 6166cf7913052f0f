"""The sudo rule of a login that is not root: the command lines that ``infra.remote.quote`` gives to sudo, no others."""

from __future__ import annotations

import re

from infra.errors import DynoctlError

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")

# sudo compares the program by where it finds it, and sh is found in either place.
_COMMANDS = ("-s -- *", "/run/dynoctl-run-*.sh")

_HEAD = """\
# dynoctl as {user}. Install it with: visudo -f /etc/sudoers.d/dynoctl-{user}
# It runs scripts as root: whoever holds this login's key is root here. Guard the key.
"""


def rule(user: str) -> str:
    """The text of a sudoers file. Raises DynoctlError where ``user`` is no login's name."""
    if not _USER.fullmatch(user):
        raise DynoctlError(f"--user {user!r}: that is no login's name", "Lower-case letters, digits, - and _.")
    lines = [f"{shell} {words}" for shell in ("/bin/sh", "/usr/bin/sh") for words in _COMMANDS]
    joined = ", \\\n    ".join(lines)
    return f"{_HEAD.format(user=user)}Defaults:{user} !requiretty\n{user} ALL=(root) NOPASSWD: \\\n    {joined}\n"
