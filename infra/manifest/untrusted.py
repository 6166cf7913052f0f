"""The manifest of a stranger: it is planned without its secrets, its logins and any file outside of its repository."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from infra.errors import Diagnostic, ManifestInvalid
from infra.manifest.files import inside, repository
from infra.manifest.model import Manifest, Reference, Ssh, Value
from infra.manifest.references import Resolver, located
from infra.manifest.urls import has_password
from infra.sensitive import Sensitive, Unread


class NoResolver(Resolver):
    """Resolves nothing: no variable, file or command of the local machine is read. Each reference is unread."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"), None)

    def __call__(self, value: Value) -> str | Sensitive:
        if isinstance(value, Reference):
            return Unread()
        return Sensitive(value) if has_password(value) else value

    def whole(self, value: Reference) -> Sensitive:
        return Unread()


def refuse_linked(file: Path) -> None:
    """Raise ManifestInvalid if a directory on the way to the manifest is a link, which the stranger may have made: it
    leads to the manifest of another repository, whose files would then be those that may be read."""
    top = repository(Path.cwd()) if file.is_absolute() else Path()
    if file.is_relative_to(top):
        below = file.parent.relative_to(top)
        for directory in (below, *below.parents):
            if (top / directory).is_symlink():
                summary = f"{top / directory} is a link: the manifest of a stranger must be in its own repository"
                raise ManifestInvalid([Diagnostic(summary, hint=f"if you trust it: -f {file.resolve()}")])


def restricted(manifest: Manifest) -> Manifest:
    """The manifest without what it says of logins: ssh_config and the user's SSH agent decide.

    Raises ManifestInvalid if the source is outside of the repository."""
    if not inside(manifest.app.source, (repository(manifest.file.parent),)):
        problem = Diagnostic(
            "app.source is outside of the repository", "app/source", expected="a directory of the repository"
        )
        raise ManifestInvalid(located(manifest, [problem]))
    return replace(
        manifest,
        ssh=Ssh(connect_timeout=manifest.ssh.connect_timeout),
        servers=tuple(replace(server, user=None) for server in manifest.servers),
        checks=replace(manifest.checks, max_exposure=None),  # a server would have to run a program for it
    )
