"""The keys to log in with: files and the agent's, in the order in which OpenSSH tries them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from infra.remote import prompt
from infra.remote.agent import Agent
from infra.remote.dial import MORE_FILES, is_full
from infra.remote.host_certificate import USER, parse
from infra.remote.known_hosts import fingerprint, key_blob
from infra.remote.private_keys import Encrypted, NotAKey, load, public_half, sign
from infra.remote.ssh_settings import Settings

TRIES = 3
"""How often a passphrase is asked for."""

MOST = 1 << 20
"""Bytes of a key file that are read."""


class Unusable(Exception):
    """A key cannot be used. Says why; ``hint`` says what to do."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


@dataclass
class Identity:
    """A key, or a certificate of one, that may be offered to a server."""

    blob: bytes | None
    """The public key or certificate; None if only the private key would tell, and it is encrypted."""

    name: str
    """What a message calls it: the file, or the agent's comment."""

    file: Path | None = None
    """The private key."""

    agent_blob: bytes | None = None
    """The key in the agent that signs for it."""

    private: Any = field(default=None, repr=False)

    @property
    def waits(self) -> bool:
        """Signing may take a person, so the server is asked first whether it wants this key."""
        return self.private is None

    @property
    def plain(self) -> bytes | None:
        """The public key, without the certificate."""
        try:
            certificate = parse(self.blob) if self.blob else None
        except ValueError:
            return self.blob
        return certificate.key if certificate else self.blob

    def __str__(self) -> str:
        return f"{self.name} ({fingerprint(self.plain)})" if self.plain else self.name

    def signature(self, data: bytes, algorithm: str, agent: Agent | None) -> bytes:
        """Sign ``data``. Raises Unusable or AgentError."""
        if self.agent_blob is not None and agent is not None:
            return agent.sign(self.agent_blob, data, algorithm)
        return sign(self.open(), data, algorithm)

    def open(self) -> Any:
        """The private key, for which a passphrase is asked if it is encrypted. Raises Unusable."""
        if self.private is None and self.file is not None:
            self.private = _opened(self.file, passphrase)
        if self.private is None:
            raise Unusable("there is no private key for it")
        if self.blob is None:
            self.blob = _public(self.private)
        return self.private


def identities(settings: Settings, agent: Agent | None) -> tuple[list[Identity], list[Unusable]]:
    """The keys for a host in OpenSSH's order, and why others are left out: certificates of ssh_config, keys of
    ssh_config that the agent holds, other keys of the agent, keys of ssh_config in files."""
    skipped: list[Unusable] = []
    held = agent.keys() if agent is not None else []
    certificates = [found for file in settings.certificate_files if (found := _certificate(file, skipped)) is not None]
    files = list(_files(settings, {blob for blob, _ in held}, skipped))
    preferred: list[Identity] = []
    others: list[Identity] = []
    for blob, comment in held:
        match = next((identity for identity in files if identity.blob == blob), None)
        if match is not None:
            files.remove(match)
            match.agent_blob = blob
            preferred.append(match)
        elif not settings.identities_only:
            others.append(Identity(blob, comment or "a key of the agent", agent_blob=blob))
    ordered = [*preferred, *others, *files]
    for certificate in certificates:
        owner = next((identity for identity in ordered if identity.blob == certificate.plain), None)
        if owner is None:
            skipped.append(Unusable(f"{certificate.name}: there is no private key for this certificate"))
            continue
        certificate.file, certificate.agent_blob, certificate.private = owner.file, owner.agent_blob, owner.private
    certificates = [one for one in certificates if one.file is not None or one.agent_blob is not None]
    usable = [*certificates, *ordered]
    for identity in [one for one in usable if one.agent_blob is None and one.file is None]:
        usable.remove(identity)
        skipped.append(
            Unusable(
                f"{identity.name}: only the public half of the key is there, and the agent does not hold it",
                _private_of(Path(identity.name)),
            )
        )
    return usable, skipped


def _private_of(file: Path) -> str:
    """What to do about a public key, or the only half of one, that is named as a key."""
    if file.suffix == ".pub" and file.with_suffix("").is_file():
        return f"{file} is the public key; the private one is {file.with_suffix('')}"
    if file.suffix != ".pub" and file.is_file():
        return f"{file} is the public key; ssh.key and IdentityFile take the private one"
    return "load the private key into the agent: ssh-add"


def _files(settings: Settings, held: set[bytes], skipped: list[Unusable]) -> Sequence[Identity]:
    found: list[Identity] = []
    for file in settings.identity_files:
        identity = _file(file, held, skipped)
        if identity is None:
            continue
        found.append(identity)
        beside = file.with_name(file.name + "-cert.pub")
        if not settings.certificate_files and beside.is_file():
            certificate = _certificate(beside, skipped)
            if certificate is not None:
                certificate.file, certificate.private = identity.file, identity.private
                certificate.agent_blob = identity.blob if identity.blob in held else None
                found.append(certificate)
    return found


def _file(file: Path, held: set[bytes], skipped: list[Unusable]) -> Identity | None:
    """The key in ``file``; None, and a reason unless there is no such file, if it cannot be used."""
    try:
        data = read(file)
        public = public_half(file, data)
    except Unusable as why:
        skipped.append(why)
        return None
    if data is None and public is None:
        return None
    identity = Identity(public, str(file))
    if public in held or data is None or key_blob(*_words(data)):  # the public half is enough, or all there is
        return identity
    try:
        identity.private = _opened(file, None)
    except Encrypted:
        pass
    except Unusable as why:
        skipped.append(why)
        return None
    identity.file = file
    if identity.private is not None:
        own = _public(identity.private)
        if public is not None and public != own:
            skipped.append(
                Unusable(f"{file}: {file}.pub is not its public half", f"ssh-keygen -yf {file} > {file}.pub")
            )
            return None
        identity.blob = own
    return identity


@lru_cache(maxsize=64)  # most servers have the same
def _plain(data: bytes) -> Any:
    """The private key in a file that needs no passphrase. Raises Encrypted and NotAKey."""
    return load(data, None)


def _public(private: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    text = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return key_blob(*_words(text))


def _words(data: bytes) -> tuple[str, str]:
    """The first two words of a public key's file."""
    kind, blob, *_ = [*data.decode("latin-1").split(maxsplit=2), "", ""]
    return kind, blob


def read(file: Path) -> bytes | None:
    """The content of a key's file; None if there is none. Raises Unusable."""
    try:
        if not file.is_file():
            return None
        with file.open("rb") as stream:
            return stream.read(MOST)
    except OSError as error:
        raise Unusable(
            f"{file}: {(error.strerror or str(error)).lower()}", MORE_FILES if is_full(error) else ""
        ) from None


def _certificate(file: Path, skipped: list[Unusable]) -> Identity | None:
    try:
        data = read(file)
        if data is None:
            return None
        blob = key_blob(*_words(data))
        certificate = parse(blob)
    except (Unusable, ValueError) as error:
        skipped.append(Unusable(f"{file}: {error}"))
        return None
    if certificate is None or certificate.kind != USER:
        skipped.append(Unusable(f"{file}: not the certificate of a user"))
        return None
    return Identity(blob, str(file))


def _opened(file: Path, ask: Callable[[Path, int], str] | None) -> Any:
    """The private key in ``file``. Without ``ask``, raises Encrypted if it needs a passphrase. Raises Unusable."""
    about = file.stat()
    if about.st_uid == os.getuid() and about.st_mode & 0o077:
        raise Unusable(
            f"{file}: others may read this private key (mode {about.st_mode & 0o777:04o}), so it is not used",
            f"chmod 600 {file}",
        )
    data = read(file) or b""
    try:
        try:
            return _plain(data)
        except Encrypted:
            if ask is None:
                raise
        for attempt in range(TRIES):
            given = ask(file, attempt)
            try:
                return load(data, given.encode())
            except Encrypted:
                forget_passphrase(file, given)
    except NotAKey as error:
        raise Unusable(f"{file}: {error}", error.hint) from None
    raise Unusable(f"{file}: the passphrase is wrong", f"load it into the agent: ssh-add {file}")


_passphrases: dict[Path, str] = {}
_asking = threading.Lock()

alone: list[Callable[[], AbstractContextManager[None]]] = []
"""What redraws lines of the terminal, and has to stop while a question is asked there."""


def _from_terminal(file: Path, attempt: int) -> str:
    """Ask for a passphrase on the terminal. Raises Unusable without one."""
    if not sys.stdin.isatty():
        raise Unusable(f"{file}: the key is encrypted", f"load it into the agent: ssh-add {file}")
    again = "The passphrase is wrong. " if attempt else ""
    try:
        with ExitStack() as stack:
            for stop in alone:
                stack.enter_context(stop())
            return prompt.ask(f"{again}Passphrase of {file}: ")
    except (EOFError, OSError):
        raise Unusable(f"{file}: no passphrase was given", f"load it into the agent: ssh-add {file}") from None
    except UnicodeError:
        raise Unusable(f"{file}: the passphrase is not valid text", f"load it into the agent: ssh-add {file}") from None


ask: Callable[[Path, int], str] = _from_terminal
"""Whom to ask for the passphrase of a key, the how manieth time from 0. A process without a terminal asks another."""


def passphrase(file: Path, attempt: int) -> str:
    """The passphrase of a key, which is asked for once for all servers. Raises Unusable."""
    with _asking:
        if file not in _passphrases:
            _passphrases[file] = ask(file, attempt)
        return _passphrases[file]


def forget_passphrase(file: Path, wrong: str) -> None:
    """Ask for a passphrase again, unless it was asked for since it turned out to be wrong."""
    with _asking:
        if _passphrases.get(file) == wrong:
            del _passphrases[file]
