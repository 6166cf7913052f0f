"""Sinatra: a class, or the one that top-level routes go to."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from infra.manifest import model
from stacks.contract import Entry


class Sinatra:
    """Sinatra 2 and later. It takes RACK_ENV for its own environment."""

    name = "sinatra"
    environment: Mapping[str, str] = MappingProxyType({})
    packages = ("ruby-sinatra",)
    writable: tuple[str, ...] = ()

    def check(self, manifest: model.Manifest) -> None:
        """It asks for nothing."""

    def entry(self, framework: model.Framework) -> Entry:
        """Unless told otherwise ``./app``, and ``Sinatra::Application``: where routes outside a class go."""
        return Entry((framework.require or "./app",), framework.app or "Sinatra::Application")
