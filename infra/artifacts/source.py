"""Where a server pulls a slug from: a URL, and what may read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from infra.errors import DynoctlError
from infra.model.resource import Upload
from infra.sensitive import Sensitive


class StoreError(DynoctlError):
    """A store is unreachable, refuses the login, or does not do what it should."""


@dataclass(frozen=True)
class Access:
    """A bearer token, or a user and a password; all of them "" is no login."""

    token: str | Sensitive = ""
    user: str | Sensitive = ""
    password: str | Sensitive = ""

    @property
    def is_login(self) -> bool:
        return bool(self.token or self.user)


ANYBODY = Access()


@dataclass(frozen=True)
class Source:
    """``pin`` is the sha256 of the public key of a server without a certificate of an authority, as curl writes it
    (``sha256//...``). Only with ``insecure`` may it be plain HTTP, and its redirects."""

    url: str | Sensitive
    access: Access = ANYBODY
    insecure: bool = False
    pin: str = ""


class Store(Protocol):
    """A store of slugs. Thread-safe once a slug was pushed."""

    @property
    def name(self) -> str:
        """The store as people name it, without anything secret."""
        ...

    def push(self, image: Upload) -> bool:
        """Push the image unless the store has it; returns whether it was sent. Raises StoreError, also if servers
        could not read it."""
        ...

    def source(self, image: Upload) -> Source:
        """Where a server pulls an image that was pushed. Its access is short-lived, or what the manifest has for
        reading. Raises StoreError."""
        ...

    def check(self) -> str:
        """Ask whether the store answers and takes the login; returns what was found. Sends no slug. Raises
        StoreError."""
        ...
