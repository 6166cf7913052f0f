"""Rails: the application that config/environment.rb defines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from infra.manifest import model
from infra.model.stack import Cover
from stacks import rails_needs, rails_production
from stacks.contract import Entry, Seen, StackError
from stacks.sources.rails_app import ROUTES, health_path


class Rails:
    """Rails 5 and later. What a dyno needs of its settings, ``rails_production`` says."""

    name = "rails"
    # No web server serves the assets of a dyno, so Rails serves them.
    environment: Mapping[str, str] = MappingProxyType({"RAILS_SERVE_STATIC_FILES": "1"})
    packages = ("ruby-rails",)
    writable = ("tmp", "log")

    def check(self, manifest: model.Manifest) -> None:
        """Require a key for signing sessions. All dynos share it, so it cannot be generated on each of them."""
        if not {"SECRET_KEY_BASE", "RAILS_MASTER_KEY"} & manifest.env.keys():
            raise StackError(
                "framework/name",
                "rails requires env.SECRET_KEY_BASE, or env.RAILS_MASTER_KEY for encrypted credentials",
                "to generate one and keep it in .dyno/secrets: dynoctl config set SECRET_KEY_BASE --generate",
            )

    def files(self, manifest: model.Manifest) -> Sequence[str]:
        return (ROUTES, *rails_needs.FILES, f"config/environments/{_environment(manifest)}.rb")

    def look(self, manifest: model.Manifest, files: Mapping[str, str]) -> Seen:
        environment = _environment(manifest)
        own = f"config/environments/{environment}.rb"
        return Seen(
            cover=Cover(own, rails_production.text(own)) if own in files else None,
            health=health_path(files),
            warnings=tuple(rails_needs.warnings(manifest, files, environment)),
        )

    def entry(self, framework: model.Framework) -> Entry:
        """``Rails.application`` by default."""
        requires = (framework.require or "./config/environment",)
        if framework.app is not None:
            return Entry(requires, framework.app)
        return Entry(requires, "Rails", "application")


def _environment(manifest: model.Manifest) -> str:
    """The value of RAILS_ENV in dynos; production if it is a reference, or no name of a file."""
    value = manifest.env.get("RAILS_ENV", "production")
    return value if isinstance(value, str) and re.fullmatch(r"[a-z0-9_]{1,50}", value) else "production"
