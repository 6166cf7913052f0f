"""Sinatra: an app class, or the class of top-level routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from infra.manifest import model
from stacks.contract import Entry, Seen


class Sinatra:
    """Sinatra 2 and later. Its environment is RACK_ENV."""

    name = "sinatra"
    environment: Mapping[str, str] = MappingProxyType({})
    packages = ("ruby-sinatra",)
    writable: tuple[str, ...] = ()

    def check(self, manifest: model.Manifest) -> None:
        """Sinatra has no requirements."""

    def files(self, manifest: model.Manifest) -> Sequence[str]:
        return ()

    def look(self, manifest: model.Manifest, files: Mapping[str, str]) -> Seen:
        return Seen()

    def entry(self, framework: model.Framework) -> Entry:
        """``./app`` and ``Sinatra::Application``, the class of top-level routes, by default."""
        return Entry((framework.require or "./app",), framework.app or "Sinatra::Application")
