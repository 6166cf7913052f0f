"""Rails: the application that config/environment.rb defines."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from infra.manifest import model
from stacks.contract import Entry, StackError


class Rails:
    """Rails 6 and later. It logs to stdout, because RAILS_LOG_TO_STDOUT is set in every dyno."""

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
                "Run openssl rand -hex 64 > .dyno/secret_key_base, "
                "and add SECRET_KEY_BASE: {from_file: .dyno/secret_key_base} to env.",
            )

    def entry(self, framework: model.Framework) -> Entry:
        """``Rails.application`` by default."""
        requires = (framework.require or "./config/environment",)
        if framework.app is not None:
            return Entry(requires, framework.app)
        return Entry(requires, "Rails", "application")
