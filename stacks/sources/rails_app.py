"""The files of a Rails app that say how it is run: its health check, its credentials, its front end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stacks.sources.found import Found, Note, Secret

ROUTES = "config/routes.rb"
ENTRYPOINT = "bin/docker-entrypoint"
_HEALTH = re.compile(
    r"""^(?:\t| {0,2})get[ \t(]+["'](/?[!-&(-~]{0,100})["'][ \t]*(?:=>|,[ \t]*to:)[ \t]*["']rails/health#show""",
    re.MULTILINE,
)


def health_path(files: Mapping[str, str]) -> str:
    """The path of the health check of Rails 7.1 and later, if a route leads to it; "" for one in a scope."""
    health = _HEALTH.search(files.get(ROUTES, "")[:200_000])
    return "" if health is None else f"/{health[1].lstrip('/')}"


class RailsApp:
    """Only files that every Rails app has."""

    name = "rails app"
    files: Sequence[str] = (
        *(ROUTES, "config/application.rb", "config/credentials.yml.enc", "config/credentials/production.yml.enc"),
        *("package.json", "app/assets/", "app/javascript/", ENTRYPOINT),
    )
    platform = False

    def read(self, files: Mapping[str, str]) -> Found:
        if "config/application.rb" not in files:
            return Found()
        notes = []
        if "package.json" in files and any(name in files for name in ("app/assets", "app/javascript")):
            notes.append(Note("Node.js must be installed where app.build runs, for assets:precompile", "package.json"))
        secrets: dict[str, Secret] = {}
        if "config/credentials/production.yml.enc" in files:
            secrets["RAILS_MASTER_KEY"] = Secret("config/credentials/production.key")
        elif "config/credentials.yml.enc" in files:
            secrets["RAILS_MASTER_KEY"] = Secret("config/master.key")
        # The image of a new Rails app prepares the database when its server starts.
        release = "bin/rails db:prepare" if "db:prepare" in files.get(ENTRYPOINT, "") else ""
        return Found(health=health_path(files), secrets=secrets, release=release, notes=tuple(notes))
