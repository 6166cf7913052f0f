"""The sudo rule for a login other than root: it allows only the command lines that ``infra.remote.quote`` runs."""

from __future__ import annotations

import re

from infra.errors import DynoctlError
from infra.fleet.observe import Observer
from infra.manifest.model import Manifest
from infra.manifest.references import resolve_environment
from infra.manifest.untrusted import NoResolver
from infra.model.provider import Scope
from infra.model.stack import Registry
from infra.remote import read_only

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")

# sudo compares the full path of the program, and sh is found at either.
_ARGUMENTS = ("-s -- *", "/run/dynoctl-run-*.sh")

_HEAD = """\
# dynoctl as {user}. Install it with: visudo -f /etc/sudoers.d/dynoctl-{user}
# The rule runs scripts as root: the SSH key of this login is as powerful as root's. Protect it.
"""


_READ_ONLY = """\
# dynoctl as {user}, to plan only. On each server, as root:
#   dynoctl sudoers --read-only --program | ssh root@SERVER 'cat > {path} && chmod 755 {path}'
#   visudo -f /etc/sudoers.d/dynoctl-{user}
# The rule runs one program of root's, without arguments, and only while its content has this digest.
Defaults:{user} !requiretty, env_keep += "SSH_CONNECTION"
{user} ALL=(root) NOPASSWD: sha256:{digest} {path} ""
"""


def read_only_rule(user: str, app: str, program: str) -> str:
    """The text of a sudoers file for a login that can only observe an app. Raises DynoctlError as ``rule`` does."""
    _check(user)
    path = read_only.PATH.format(app=app)
    return _READ_ONLY.format(user=user, path=path, digest=read_only.digest(program))


def read_only_program(manifest: Manifest, registry: Registry) -> str:
    """The program that such a login runs, for the manifest of the app."""
    stack = registry.stack(manifest)
    scope = Scope(
        app=manifest.app.name,
        salt="",
        packages=stack.packages,
        router=registry.router(manifest),
        build_packages=registry.build_packages(manifest),
    )
    fragments = Observer(registry.providers, scope, stack.program, stack.executables).fragments
    variables = resolve_environment(manifest, NoResolver())
    plain = {name for name, value in variables.items() if isinstance(value, str)}
    return read_only.script(manifest.app.name, fragments, frozenset(plain | stack.environment.keys()))


def rule(user: str) -> str:
    """The text of a sudoers file. Raises DynoctlError if ``user`` is not a valid login name."""
    _check(user)
    lines = [f"{shell} {arguments}" for shell in ("/bin/sh", "/usr/bin/sh") for arguments in _ARGUMENTS]
    joined = ", \\\n    ".join(lines)
    return f"{_HEAD.format(user=user)}Defaults:{user} !requiretty\n{user} ALL=(root) NOPASSWD: \\\n    {joined}\n"


def _check(user: str) -> None:
    if not _USER.fullmatch(user):
        raise DynoctlError(f"invalid login name: --user {user!r}", "use lower-case letters, digits, - and _")
