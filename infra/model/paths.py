"""The paths of everything that dynoctl keeps on a server."""

from __future__ import annotations

import re

from infra.model.naming import escape, log_namespace

_PATH = r"(?:/[A-Za-z0-9_-][A-Za-z0-9._-]{0,60}){1,8}"

STATE = "/var/lib/dynoctl"
VOLUMES = "/var/lib/dynoctl-volumes"
"""Outside ``STATE``, which destroy removes: the data in a volume belongs to the app, and only a user deletes it."""

ORIGIN = "origin"
"""The record, in the state directory of each app, of the manifest that was applied last."""

MOUNTS = "/srv/dyno"
"""The directory of all mounted slugs."""

UNITS = "/etc/systemd/system"
CONTROL = "/run/systemd/system.control"
"""The directory of drop-ins written by ``systemctl set-property --runtime``."""

ENVIRONMENTS = "/etc/dyno"
RUN = "/run/dynoctl"
"""The directory of locks."""

HIDDEN = f"-{STATE} -{ENVIRONMENTS} -{RUN}"
"""``InaccessiblePaths=`` of a sandbox. Only root can read these anyway; inside the sandbox they do not exist at all."""

TEMPORARY = "/run/dyno"
"""The directory of what dynos have as /tmp while they run, readable by root only."""

ROUTER = "/etc/dynoctl/router"
ROUTER_SERVICE = "dynoctl-router.service"
ROUTER_STATE = "/var/lib/dynoctl-router"
ROUTER_RUN = "/run/dynoctl-router"

APP_DIRECTORY = "/app"
"""The path of the slug inside a dyno. systemd binds it there, so the directory must exist on the server."""

GENERATED = "/app/.dynoctl"
"""The directory of files made from the manifest, inside a dyno. Every slug has it as a mount point."""


DROP = """\
drop() {
  for directory; do
    [ ! -d "$directory" ] || [ -L "$directory" ] || mountpoint -q "$directory" ||
      rmdir --ignore-fail-on-non-empty -- "$directory" || return
  done
}
"""
"""A shell function that removes directories if they are empty. A link and a mount point are somebody's, and stay."""


def checked(path: str) -> str:
    """The path of a directory that a server named. It is part of the names of units. Raises ValueError."""
    if not re.fullmatch(_PATH, path):
        raise ValueError(f"invalid path: {path[:40]}")
    return path


def lock(app: str) -> str:
    return f"{RUN}/{app}.lock"


def home(app: str) -> str:
    """The directory of the app's state, readable by root only: slugs, launch files and records."""
    return f"{STATE}/{app}"


def releases(app: str) -> str:
    """The directory of the records of the app's releases."""
    return f"{home(app)}/releases"


def release_body(app: str, number: int) -> str:
    """Everything that a release runs."""
    return f"{releases(app)}/{number}.body"


def audit_log(app: str) -> str:
    return f"{home(app)}/audit.jsonl"


def salt(app: str) -> str:
    """The salt of the digests that the server computes of secrets."""
    return f"{home(app)}/salt"


def backup(app: str, dyno: str) -> str:
    """The directory of the files that a dyno's change has overwritten."""
    return f"{home(app)}/undo/{dyno}"


def moving(app: str) -> str:
    """The directory of a marker for each schedule that was paused here in order to start on another server."""
    return f"{home(app)}/moving"


def slug(app: str, digest: str) -> str:
    return f"{home(app)}/slugs/{digest}.squashfs"


def launch_files(app: str, kind: str) -> str:
    return f"{home(app)}/{kind}s"


def launch_file(app: str, kind: str, digest: str) -> str:
    return f"{launch_files(app, kind)}/{digest}.rb"


def mounts(app: str, root: str = MOUNTS) -> str:
    """The directory of the app's mounted slugs. Mode 0700, so that dynos of other apps cannot read them. ``root`` is
    where MOUNTS really is: systemd mounts nothing at a path through a link."""
    return f"{root}/{app}"


def mount(app: str, digest: str, root: str = MOUNTS) -> str:
    return f"{mounts(app, root)}/{digest}"


def mount_unit(app: str, digest: str, root: str = MOUNTS) -> str:
    """The name that systemd requires for the mount unit of that path."""
    return "-".join(escape(part) for part in (*root.strip("/").split("/"), app)) + f"-{digest}.mount"


def temporary(app: str, name: str) -> str:
    """What a dyno or a one-off dyno has as /tmp and /var/tmp."""
    return f"{TEMPORARY}/{app}/{name}"


def temporary_unit(app: str, name: str) -> str:
    """The name that systemd requires for the mount unit of that path."""
    return f"run-dyno-{escape(app)}-{name}.mount"


def journal(app: str) -> str:
    """The limits of the app's journal."""
    return f"/etc/systemd/journald@{log_namespace(app)}.conf"


def journal_service(app: str) -> str:
    return f"systemd-journald@{log_namespace(app)}.service"


def env_directory(app: str) -> str:
    return f"{ENVIRONMENTS}/{app}"


def credentials(app: str, dyno: str) -> str:
    """The directory of a dyno's credentials."""
    return f"{env_directory(app)}/{dyno}.credentials"


def credential(app: str, dyno: str, name: str) -> str:
    return f"{credentials(app, dyno)}/{name}"


def env_file(app: str, dyno: str) -> str:
    return f"{env_directory(app)}/{dyno}.env"
