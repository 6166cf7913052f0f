"""Whether a server's host key is trusted, decided as OpenSSH does with ``StrictHostKeyChecking yes``."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.remote import known_hosts
from infra.remote.host_certificate import SUFFIX, Certificate, parse
from infra.remote.known_hosts import AUTHORITY, REVOKED, Entry, fingerprint
from infra.remote.ssh_settings import SSH_PORT, Settings

OFFERED = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
"""The algorithms of host keys that paramiko has, in OpenSSH's order."""

ALL_OFFERED = tuple(name + SUFFIX for name in OFFERED) + OFFERED

_KRL = b"SSHKRL\n\0"


class HostKeyRejected(Exception):
    """A host key is not trusted. ``hint`` says how to trust it, if it is the server's."""

    def __init__(self, summary: str, hint: str) -> None:
        super().__init__(summary)
        self.summary, self.hint = summary, hint


def plain_type(algorithm: str) -> str:
    """The type of the key that an algorithm uses, as known_hosts has it."""
    name = algorithm.removesuffix(SUFFIX)
    return "ssh-rsa" if name.startswith("rsa-sha2-") else name


def type_of(blob: bytes) -> str:
    """The type of a key."""
    length = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + length][:64].decode("latin-1")


@dataclass
class HostKeys:
    """The host keys that are known for one host."""

    settings: Settings
    direct: bool = True
    """The host is reached without a gateway or a ProxyCommand, so that ssh-keyscan can reach it too."""

    notes: list[str] = field(default_factory=list)

    @property
    def files(self) -> tuple[Path, ...]:
        return (*self.settings.known_hosts, *self.settings.global_known_hosts)

    def algorithms(self) -> tuple[str, ...]:
        """The algorithms to offer: those first whose keys are known, so that the server shows a key that can be
        checked."""
        listed = self.settings.host_key_algorithms or ALL_OFFERED
        usable = [name for name in listed if name in ALL_OFFERED]
        if not usable:
            raise HostKeyRejected(
                f"HostKeyAlgorithms of ssh_config has none that dynoctl supports: {','.join(listed)[:200]}",
                f"add one of: {', '.join(OFFERED)}",
            )
        entries = list(known_hosts.entries(self.files, self.settings.known_name))
        types = {entry.type for entry in entries if not entry.marker}
        authorities = any(entry.marker == AUTHORITY for entry in entries)

        def known(name: str) -> bool:
            return authorities if name.endswith(SUFFIX) else plain_type(name) in types

        return tuple(sorted(usable, key=lambda name: not known(name)))  # sorted() keeps the order of equals

    def check(self, blob: bytes) -> None:
        """Raises HostKeyRejected unless the key (or certificate) that the server proved to have is trusted."""
        try:
            certificate = parse(blob)
        except ValueError as error:
            why = str(error) or "an invalid key"
            raise HostKeyRejected(f"host key verification failed: {why}", "give the server a valid one") from None
        key = certificate.key if certificate else blob
        if 0 < known_hosts.rsa_bits(key) < self.settings.rsa_bits:
            raise HostKeyRejected(
                f"host key verification failed: the server's RSA key has {known_hosts.rsa_bits(key)} bits, and "
                f"RequiredRSASize of ssh_config is {self.settings.rsa_bits}",
                "give the server a larger key, or one of type ed25519",
            )
        self._check_revoked_file(key, certificate)
        names = [self.settings.known_name]
        if not self.settings.host_key_alias and self.settings.port != SSH_PORT:
            names.append(self.settings.host)  # OpenSSH looks without the port, too, but takes only a match from there
        self._check_revoked(list(known_hosts.entries(self.files, names[0])), key, certificate)
        for name in names if certificate else ():
            entries = list(known_hosts.entries(self.files, name))
            if self._vouched(certificate, entries):
                self._check_revoked(entries, key, certificate)
                return
        others: list[Entry] = []
        for place, name in enumerate(names):
            entries = list(known_hosts.entries(self.files, name))
            plain = [entry for entry in entries if not entry.marker]
            if any(entry.blob == key for entry in plain):
                self._check_revoked(entries, key, certificate)
                return
            if place == 0:
                others = plain
                if plain:
                    break  # the name with the port has other keys, of any type: as OpenSSH, it changed
        raise self._rejected(key, others)

    def _vouched(self, certificate: Certificate | None, entries: Sequence[Entry]) -> bool:
        authority = next(
            (e for e in entries if e.marker == AUTHORITY and certificate and e.blob == certificate.authority), None
        )
        if certificate is None or authority is None:
            return False
        host = self.settings.host_key_alias or self.settings.host
        objection = certificate.objection(host, self.settings.ca_algorithms)
        if objection:
            self.notes.append(f"its certificate from the authority in {authority.where} is not accepted: {objection}")
        return not objection

    def _check_revoked(self, entries: Sequence[Entry], key: bytes, certificate: Certificate | None) -> None:
        blobs = {key, certificate.authority} if certificate else {key}
        entry = next((entry for entry in entries if entry.marker == REVOKED and entry.blob in blobs), None)
        if entry is None:
            return
        what = "key" if entry.blob == key else "certificate authority"
        raise HostKeyRejected(
            f"host key verification failed: the server's {what} ({type_of(entry.blob)} {fingerprint(entry.blob)}) is "
            f"revoked in {entry.where}",
            "give the server a new host key; do not connect to it before",
        )

    def _check_revoked_file(self, key: bytes, certificate: Certificate | None) -> None:
        """RevokedHostKeys: a list of public keys. OpenSSH refuses all hosts if it cannot be read."""
        file = self.settings.revoked_host_keys
        if file is None:
            return
        try:
            data = file.read_bytes()
        except OSError as error:
            raise HostKeyRejected(
                f"host key verification failed: RevokedHostKeys of ssh_config: {file}: {error.strerror or error}",
                f"make {file} readable, or remove the setting",
            ) from None
        if data.startswith(_KRL):
            raise HostKeyRejected(
                f"host key verification failed: RevokedHostKeys of ssh_config: {file} is a binary list (KRL), which "
                "dynoctl cannot read",
                "use a text file with one public key on each line",
            )
        blobs = {key, certificate.authority} if certificate else {key}
        for number, line in enumerate(data.decode("latin-1").splitlines(), 1):
            words = line.split()
            if len(words) >= 2 and known_hosts.key_blob(words[0], words[1]) in blobs:
                raise HostKeyRejected(
                    f"host key verification failed: the server's key ({type_of(key)} {fingerprint(key)}) is revoked in "
                    f"{file}:{number}",
                    "give the server a new host key; do not connect to it before",
                )

    def _rejected(self, key: bytes, others: Sequence[Entry]) -> HostKeyRejected:
        kind, name = type_of(key), self.settings.known_name
        shown = f"{kind} {fingerprint(key)}"
        notes = "".join(f"; {note}" for note in self.notes)
        same = next((entry for entry in others if entry.type == kind), None)
        if same is not None:
            return HostKeyRejected(
                f"host key verification failed: the server has {shown}, and {same.where} has {fingerprint(same.blob)} "
                f"for {name}; the server was reinstalled, or the connection is intercepted{notes}",
                f"if the server was reinstalled: {self._remove(same)}",
            )
        if others:
            listed = ", ".join(f"{entry.type} {fingerprint(entry.blob)} ({entry.where})" for entry in others[:3])
            return HostKeyRejected(
                f"host key verification failed: the server has {shown}, and known_hosts has only other types of keys "
                f"for {name}: {listed}; the server has a new key, or the connection is intercepted{notes}",
                self._add(key),
            )
        files = " or ".join(str(file) for file in self.settings.known_hosts) or "any file (UserKnownHostsFile is none)"
        broken = [line for file in self.files for line in known_hosts.read(file).broken]
        if broken:
            lines = f"{len(broken)} line{'' if len(broken) == 1 else 's'}"
            notes += f"; {lines} cannot be read, such as {broken[0][0]}: {broken[0][1]}"
        faults = [(file, fault) for file in self.files if (fault := known_hosts.read(file).fault)]
        notes += "".join(f"; {file} {fault.what}" for file, fault in faults)
        notes += "".join(
            f"; {setting} of ssh_config is not used" for setting in self.settings.not_used if "Host" in setting
        )
        return HostKeyRejected(
            f"unknown host key: {name} is not in {files}; the server has {shown}{notes}",
            faults[0][1].cure if faults else self._add(key),
        )

    def _remove(self, entry: Entry) -> str:
        """The command that removes the line of a key."""
        if entry.is_pattern or "," in entry.hosts:  # ssh-keygen would leave it, or remove the other hosts with it
            return f"remove line {entry.line}: sed -i {entry.line}d {shlex.quote(str(entry.file))}"
        return f"ssh-keygen -R {shlex.quote(self.settings.known_name)} -f {shlex.quote(str(entry.file))}"

    def _add(self, key: bytes) -> str:
        """The command that adds a key."""
        file = shlex.quote(str(self.settings.known_hosts[0])) if self.settings.known_hosts else "~/.ssh/known_hosts"
        kind = type_of(key)
        if self.direct and not self.settings.host_key_alias:
            port = "" if self.settings.port == SSH_PORT else f"-p {self.settings.port} "
            short = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}.get(kind, "ecdsa")
            command = f"ssh-keyscan -t {short} {port}{shlex.quote(self.settings.host)} >> {file}"
        else:  # ssh-keyscan knows no gateway and no other name
            line = f"{self.settings.known_name} {kind} {base64.b64encode(key).decode()}"
            command = f"echo {shlex.quote(line)} >> {file}"
        return f"compare the fingerprint with the server's, then add the key: {command}"
