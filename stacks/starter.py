"""The starter apps of ``init``, and the files that it adds to an app."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from stacks.detect import SECRET_KEY
from stacks.sources.found import Process
from stacks.suggestion import Backing, Suggestion

SLUGIGNORE = """\
# Files that are not part of the slug, with the syntax of .gitignore.
/.env*
/config/master.key
/log/
/tmp/
/node_modules/
"""
"""The .slugignore of an app that has none: it excludes local secrets and generated files."""

STARTERS: Mapping[str, Suggestion] = MappingProxyType(
    {
        "rails": Suggestion(
            framework={"name": "rails"},
            server="puma",
            ruby=">= 3.1",
            database=Backing("postgresql", "DATABASE_URL"),  # Active Record does not start without a database
            build=("SECRET_KEY_BASE=none bin/rails assets:precompile",),
            builder=True,
            types={"worker": Process("bin/rails runner worker.rb")},
            release="bin/rails db:migrate",
            secrets={"SECRET_KEY_BASE": SECRET_KEY},
        ),
        "sinatra": Suggestion(
            framework={"name": "sinatra", "require": "./app", "app": "Shop"},
            ruby=">= 3.1",
            types={"worker": Process("ruby worker.rb")},
            middleware=(
                "- use: Ping # answers /ping without calling the app",
                "  require: ./lib/ping",
                "  args: [/ping]",
                "- map: /admin # another app in the same process",
                "  require: ./admin",
                "  app: Admin",
            ),
        ),
        "rack": Suggestion(framework={"name": "rack", "require": "./app", "app": "App"}, ruby=">= 3.1"),
    }
)
"""The starters by framework. The app of a starter is in the directory of that name in starters/."""


DEFAULT = "sinatra"
"""The default starter of a new app."""
