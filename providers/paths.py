"""Where things are on a server: the one list of paths."""

from __future__ import annotations

from infra.model.naming import escape

STATE = "/var/lib/dynoctl"
UNITS = "/etc/systemd/system"
CONTROL = "/run/systemd/system.control"
"""Where ``systemctl set-property --runtime`` leaves its drop-ins."""

APP_DIRECTORY = "/app"
"""Where a dyno finds its slug; systemd binds it there, so the directory must exist on the server."""

OURS = "/app/.dynoctl"
"""The directory in which a dyno finds what was made from the manifest; every slug has it."""

BOUND = {"rackup": f"{OURS}/config.ru", "server_config": f"{OURS}/server.rb"}
"""Where a dyno finds each kind of launch file."""


def home(app: str) -> str:
    """The app's root-only state: slugs, rackups, records."""
    return f"{STATE}/{app}"


def slug(app: str, digest: str) -> str:
    return f"{home(app)}/slugs/{digest}.squashfs"


def launch_files(app: str, kind: str) -> str:
    return f"{home(app)}/{kind}s"


def launch_file(app: str, kind: str, digest: str) -> str:
    return f"{launch_files(app, kind)}/{digest}.rb"


def mounts(app: str) -> str:
    """The directory that holds the app's mounted slugs; 0700, so that no other app's dyno can read them."""
    return f"/srv/dyno/{app}"


def mount(app: str, digest: str) -> str:
    return f"{mounts(app)}/{digest}"


def mount_unit(app: str, digest: str) -> str:
    """The name systemd wants for a mount unit at that path."""
    return f"srv-dyno-{escape(app)}-{digest}.mount"


def env_directory(app: str) -> str:
    return f"/etc/dyno/{app}"


def credentials(app: str, dyno: str) -> str:
    """The directory of a dyno's credentials."""
    return f"{env_directory(app)}/{dyno}.credentials"


def credential(app: str, dyno: str, name: str) -> str:
    return f"{credentials(app, dyno)}/{name}"


def env_file(app: str, dyno: str) -> str:
    return f"{env_directory(app)}/{dyno}.env"
