"""What the engine needs to know of a dyno's layers, whatever framework and app server they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from infra.formation import Formation
from infra.manifest.model import Manifest
from infra.provider import Provider
from infra.resource import Resource, Upload
from infra.sensitive import Sensitive


@dataclass(frozen=True)
class Stack:
    """A manifest's layers. ``rackup`` is the text of the generated rackup, ``command`` gives the app server's argv
    for an address and a port, ``environment`` is what every dyno has beside PORT and DYNO."""

    ruby: str
    ruby_fits: Callable[[str], bool]
    executables: tuple[str, ...]
    environment: Mapping[str, str]
    rackup: str | None
    command: Callable[[str, int], tuple[str, ...]]
    stop_signal: str = "SIGTERM"
    stop_seconds: int = 30
    """How long a dyno may take to finish its requests before it is killed."""


@dataclass(frozen=True)
class Slug:
    """The app's tree: its digest now, its image when a server needs it."""

    digest: str
    image: Callable[[], Upload]


class Registry(Protocol):
    """Every resource type and layer, handed to the engine by the command line."""

    providers: Sequence[Provider]
    """In the order in which one server's resources are made; removed in reverse."""

    def stack(self, manifest: Manifest) -> Stack:
        """The layers that the manifest names."""
        ...

    def slug(self, manifest: Manifest) -> Slug:
        """Scan the source. Raises DynoctlError where it cannot be read."""
        ...

    def desired(
        self,
        manifest: Manifest,
        stack: Stack,
        slug: Slug,
        formation: Formation,
        environments: Mapping[str, Mapping[str, str | Sensitive]],
    ) -> list[Resource]:
        """Every resource that every server should have."""
        ...
