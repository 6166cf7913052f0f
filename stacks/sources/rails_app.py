"""The files of a Rails app that say how it is run: its health check, its credentials, its front end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stacks.sources.found import Found, Note, Secret

ROUTES = "config/routes.rb"
ENTRYPOINT = "bin/docker-entrypoint"
_HEALTH = re.compile(
    r"""^[ \t]*get[ \t(]+["'](/?[!-&(-~]{0,100})["'][ \t]*(?:=>|,[ \t]*to:)[ \t]*["']rails/health#show""", re.MULTILINE
)


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
        health = _HEALTH.search(files.get(ROUTES, "")[:200_000])
        notes = []
        if "package.json" in files and any(name in files for name in ("app/assets", "app/javascript")):
            notes.append(Note("Node.js must be installed where app.build runs, for assets:precompile", "package.json"))
        secrets: dict[str, Secret] = {}
        if "config/credentials/production.yml.enc" in files:
            secrets["RAILS_MASTER_KEY"] = Secret("config/credentials/production.key")
        elif "config/credentials.yml.enc" in files:
            secrets["RAILS_MASTER_KEY"] = Secret("config/master.key")
        path = "" if health is None else f"/{health[1].lstrip('/')}"
        # The image of a new Rails app prepares the database when its server starts.
        release = "bin/rails db:prepare" if "db:prepare" in files.get(ENTRYPOINT, "") else ""
        return Found(health=path, secrets=secrets, release=release, notes=tuple(notes))
