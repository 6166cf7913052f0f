"""Why a login did not run a script as root: sudo, a shell that runs nothing, a forced command."""

from __future__ import annotations

from infra.errors import Unreachable
from infra.remote.connect import printable

UNRESOLVED = "unable to resolve host"
"""What sudo says if the server cannot resolve its own name. It is a warning, and may have taken 20 seconds."""

_NO_SHELL = "This account is currently not available"
_NO_COMMANDS = "sftp connections only"

_CONTENT = (
    "let the login run commands: without command= in its line of authorized_keys, without ForceCommand in sshd_config, "
    "and with start files of its shell (such as ~/.bashrc) that neither exit nor read input"
)


def refused(server: str, user: str, status: int | None, stdout: str, stderr: str) -> Unreachable:
    """The error for a login whose script did not run. ``stdout`` is what was printed instead of the script's output,
    and ``status`` is None if it did not end."""
    # A forced command may print what it reads, which is the script.
    said = f"{stderr.strip()}\n{stdout.strip().partition(chr(10))[0]}".strip()
    sudo = [line for line in stderr.splitlines() if "sudo" in line and UNRESOLVED not in line]
    if sudo:
        return Unreachable(
            f"{server}: user {user} cannot become root without a password: {_short(sudo[-1])}",
            "log in as root, or add the NOPASSWD sudo rule that this prints: dynoctl sudoers",
        )
    last = _short(said.splitlines()[-1] if said else "")
    if _NO_SHELL in said or _NO_COMMANDS in said:
        shell = f"give the user a shell (usermod -s /bin/sh {user}), or log in as another user"
        return Unreachable(
            f"{server}: the login of user {user} runs no commands: {last}", shell if _NO_SHELL in said else _CONTENT
        )
    if status and not stdout.strip():
        return Unreachable(
            f"{server}: the login shell of user {user} failed with status {status}{f': {last}' if last else ''}",
            f"check the shell of the user (getent passwd {user}), and that this works: ssh {server} true",
        )
    if status is None and not last:
        return Unreachable(
            f"{server}: timed out before the login of user {user} began to run the script",
            f"check the load of the server; if that is low, {_CONTENT}",
        )
    printed = f"; it printed: {last}" if last else ""
    return Unreachable(
        f"{server}: the login of user {user} does not run the script that it is given, as with a forced command"
        f"{printed}",
        _CONTENT,
    )


def _short(text: str) -> str:
    return printable(text.strip())[:300]
