"""A plain Rack app, or a framework without a module of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from infra.manifest import model
from stacks.contract import Entry, Seen, StackError


class Rack:
    """Any app that responds to ``call``."""

    name = "rack"
    environment: Mapping[str, str] = MappingProxyType({})
    packages = ("ruby-rack",)
    writable: tuple[str, ...] = ()

    def check(self, manifest: model.Manifest) -> None:
        """A plain Rack app has no requirements."""

    def files(self, manifest: model.Manifest) -> Sequence[str]:
        return ()

    def look(self, manifest: model.Manifest, files: Mapping[str, str]) -> Seen:
        return Seen()

    def entry(self, framework: model.Framework) -> Entry:
        """``./app`` by default; the constant is required."""
        if framework.app is None:
            raise StackError(
                "framework/app",
                "missing key 'app' in framework",
                "Add a constant that responds to call, such as app: Shop, or use rackup: config.ru.",
            )
        return Entry((framework.require or "./app",), framework.app)
