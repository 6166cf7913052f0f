"""How slugs get to the servers: the model of the manifest's artifacts section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from infra.manifest.values import Value


@dataclass(frozen=True)
class Login:
    """Who asks a store: a bearer token, or a user and a password. Without any of them, anybody."""

    token: Value | None = None
    user: Value | None = None
    password: Value | None = None


@dataclass(frozen=True)
class Artifacts:
    """``ssh`` sends the slug to each server. With ``http`` and ``oci``, this computer pushes it to a store as ``push``,
    and the servers pull it from there as ``pull``.

    ``url`` has no slash at its end: of ``oci`` it is that of the registry, of which ``repository`` is a part. With
    ``presign``, a local command, the URLs of ``http`` come from it. ``bandwidth`` is in bytes in a second for each
    server, 0 is no limit. ``fallback``: what cannot be pulled is sent over SSH. ``relay``: servers hand the slug on
    to others."""

    kind: Literal["ssh", "http", "oci"] = "ssh"
    url: str = ""
    repository: str = ""
    presign: tuple[str, ...] = ()
    push: Login = Login()
    pull: Login = Login()
    insecure: bool = False
    relay: bool = False
    bandwidth: int = 0
    fallback: bool = True

    @property
    def store(self) -> str:
        """The store as people name it; "" without one."""
        if self.kind == "ssh":
            return ""
        if self.presign:
            return "a store with presigned URLs"
        host = urlsplit(self.url).netloc
        return f"{host}/{self.repository}" if self.repository else f"{host}{urlsplit(self.url).path}"

    @property
    def logins(self) -> dict[str, Value]:
        """What logs in, by its path below ``artifacts``."""
        sections = {self.kind: self.push, f"{self.kind}/read": self.pull}
        return {
            f"{section}/{key}": value
            for section, login in sections.items()
            for key, value in vars(login).items()
            if value is not None
        }
