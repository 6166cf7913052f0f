"""Rails: the application that config/environment.rb makes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from infra.manifest import model
from stacks.contract import Entry, StackError


class Rails:
    """Rails 6 and later. Its log goes to stdout (RAILS_LOG_TO_STDOUT is in every dyno's environment)."""

    name = "rails"
    # No web server stands before a dyno's assets, so Rails serves them itself.
    environment: Mapping[str, str] = MappingProxyType({"RAILS_SERVE_STATIC_FILES": "1"})
    packages = ("ruby-rails",)
    writable = ("tmp", "log")

    def check(self, manifest: model.Manifest) -> None:
        """Sessions are signed with a key that all dynos share, so it cannot be made on each of them."""
        if not {"SECRET_KEY_BASE", "RAILS_MASTER_KEY"} & manifest.env.keys():
            raise StackError(
                "framework/name",
                "rails needs env.SECRET_KEY_BASE, or env.RAILS_MASTER_KEY for its encrypted credentials",
                "Make one with: openssl rand -hex 64 > .dyno/secret_key_base; "
                "then SECRET_KEY_BASE: {from_file: .dyno/secret_key_base}",
            )

    def entry(self, framework: model.Framework) -> Entry:
        """``Rails.application`` unless told otherwise."""
        requires = (framework.require or "./config/environment",)
        if framework.app is not None:
            return Entry(requires, framework.app)
        return Entry(requires, "Rails", "application")
