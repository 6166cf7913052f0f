"""The sudo rule for a login other than root: it allows only the command lines that ``infra.remote.quote`` runs."""

from __future__ import annotations

import re

from infra.errors import DynoctlError

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")

# sudo compares the full path of the program, and sh is found at either.
_ARGUMENTS = ("-s -- *", "/run/dynoctl-run-*.sh")

_HEAD = """\
# dynoctl as {user}. Install it with: visudo -f /etc/sudoers.d/dynoctl-{user}
# The rule runs scripts as root: the SSH key of this login is as powerful as root's. Protect it.
"""


def rule(user: str) -> str:
    """The text of a sudoers file. Raises DynoctlError if ``user`` is not a valid login name."""
    if not _USER.fullmatch(user):
        raise DynoctlError(f"invalid login name: --user {user!r}", "use lower-case letters, digits, - and _")
    lines = [f"{shell} {arguments}" for shell in ("/bin/sh", "/usr/bin/sh") for arguments in _ARGUMENTS]
    joined = ", \\\n    ".join(lines)
    return f"{_HEAD.format(user=user)}Defaults:{user} !requiretty\n{user} ALL=(root) NOPASSWD: \\\n    {joined}\n"
