"""A bare Rack app, or any framework that has no file of its own here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from infra.manifest import model
from stacks.contract import Entry, StackError


class Rack:
    """Anything that answers ``call``."""

    name = "rack"
    environment: Mapping[str, str] = MappingProxyType({})
    packages = ("ruby-rack",)
    writable: tuple[str, ...] = ()

    def check(self, manifest: model.Manifest) -> None:
        """It asks for nothing."""

    def entry(self, framework: model.Framework) -> Entry:
        """``./app`` unless told otherwise; only the manifest knows the constant."""
        if framework.app is None:
            raise StackError(
                "framework/app",
                "the rack framework has no app of its own to run",
                "Name the constant that answers call, like app: Shop; or give rackup: config.ru instead.",
            )
        return Entry((framework.require or "./app",), framework.app)
