"""The known_hosts files, read as OpenSSH reads them (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
import hmac
import os
import re
import shlex
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from infra.remote.dial import MORE_FILES, is_full

AUTHORITY = "@cert-authority"
REVOKED = "@revoked"

_MOST = 64 << 20
"""Bytes of a file that are read."""

_START = 4096
"""Characters in which a file that is not text has a NUL."""

_MARK = codecs.BOM_UTF8.decode("latin-1")


@dataclass(frozen=True)
class Entry:
    """A line of a known_hosts file."""

    file: Path
    line: int
    marker: str
    hosts: str
    type: str
    data: str
    """The key in base64."""

    @cached_property
    def blob(self) -> bytes:
        """The key as SSH sends it; b"" if the line has none."""
        return key_blob(self.type, self.data)

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def is_pattern(self) -> bool:
        """The line is for more hosts than one name, so ``ssh-keygen -R`` does not remove it."""
        return bool(re.search(r"[*?!]", self.hosts))


def key_blob(kind: str, data: str) -> bytes:
    """A public key as SSH sends it; b"" if ``data`` is not a key of this type in base64."""
    try:
        blob = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return b""
    length = int.from_bytes(blob[:4], "big")
    return blob if blob[4 : 4 + length] == kind.encode("latin-1") and len(blob) > 4 + length else b""


def rsa_bits(blob: bytes) -> int:
    """The size of an RSA key; 0 for another key."""
    length = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + length] != b"ssh-rsa":
        return 0
    rest = blob[4 + length :]
    rest = rest[4 + int.from_bytes(rest[:4], "big") :]  # the exponent comes first
    return int.from_bytes(rest[4 : 4 + int.from_bytes(rest[:4], "big")], "big").bit_length()


def fingerprint(blob: bytes) -> str:
    """A key's fingerprint as ssh-keygen prints it: ``SHA256:...``."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file, as the end of a sentence about it, and what to do."""

    what: str
    cure: str


class KnownHosts:
    """The lines of one file. Keys are decoded when a host asks for them: a file may have thousands of lines."""

    def __init__(self, file: Path, text: str) -> None:
        self._plain: dict[str, list[Entry]] = {}
        self._patterns: list[Entry] = []
        self._hashed: list[tuple[bytes, bytes, Entry]] = []
        self._found: dict[str, list[Entry]] = {}
        self.broken: list[tuple[str, str]] = []
        """The lines that cannot be read, and why: as OpenSSH, they are skipped."""

        self.fault: Fault | None = None
        """Why all of the file, or its first line, is of no use; None if it is a text, or missing."""

        save = f"save {shlex.quote(str(file))} as plain text in UTF-8 without a byte order mark"
        if "\0" in text[:_START]:
            self.fault = Fault("is not a text file", save)
        elif text.startswith(_MARK):
            self.fault = Fault("begins with a byte order mark, which is not a part of a host name", save)
        for number, line in enumerate(text.split("\n"), 1):
            line = line.strip(" \t\r")
            if line and not line.startswith("#"):
                entry, why = _entry(file, number, line)
                if entry is None or not self._add(entry):
                    self.broken.append((f"{file}:{number}", why or "an invalid hash"))

    def _add(self, entry: Entry) -> bool:
        if entry.hosts.startswith("|"):
            _, kind, salt, digest, *more = [*entry.hosts.split("|"), "", "", ""][:5]
            try:
                pair = base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
            except (binascii.Error, ValueError):
                return False
            if kind != "1" or any(more) or len(pair[1]) != 20:
                return False
            self._hashed.append((*pair, entry))
        elif entry.is_pattern:
            self._patterns.append(entry)
        else:
            for name in entry.hosts.lower().split(","):
                self._plain.setdefault(name, []).append(entry)
        return True

    def entries(self, name: str) -> list[Entry]:
        """The lines for ``name``, in the order of the file."""
        if name not in self._found:
            self._found[name] = self._look_up(name.lower())
        return self._found[name]

    def _look_up(self, name: str) -> list[Entry]:
        key = name.encode("utf-8", "surrogateescape")
        found = [*self._plain.get(name, ()), *(entry for entry in self._patterns if listed(name, entry.hosts))]
        found += [entry for salt, digest, entry in self._hashed if hmac.digest(salt, key, "sha1") == digest]
        for entry in found:
            if not entry.blob:
                self.broken.append((entry.where, f"{entry.type[:40]}: not a key in base64"))
        return sorted({entry.line: entry for entry in found if entry.blob}.values(), key=lambda entry: entry.line)


def _entry(file: Path, number: int, line: str) -> tuple[Entry | None, str]:
    """The entry of a line, or why there is none."""
    marker = ""
    if line.startswith("@"):
        marker, _, line = line.replace("\t", " ").partition(" ")
        line = line.lstrip()
        if marker not in (AUTHORITY, REVOKED):
            return None, f"an unknown marker {marker[:40]}"
    words = line.replace("\t", " ").split(maxsplit=3)
    if len(words) < 3:
        return None, "no key"
    if words[1].isdecimal():
        return None, "a key of SSH version 1"
    return Entry(file, number, marker, words[0], words[1], words[2]), ""


def listed(name: str, hosts: str) -> bool:
    """Whether a comma-separated list of patterns has ``name``: one pattern matches, and none that begins with ``!``."""
    found = False
    for pattern in hosts.lower().split(","):
        if matches(name, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def matches(name: str, pattern: str) -> bool:
    """Whether ``name`` matches a pattern with ``*`` and ``?``. Takes no longer than the product of the lengths: a file
    may have any pattern, and a regular expression takes forever for some."""
    at = place = 0
    star, resume = -1, 0
    while at < len(name):
        if place < len(pattern) and pattern[place] == "*":
            star, resume = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", name[at]):
            at, place = at + 1, place + 1
        elif star >= 0:  # let the last star take one more character
            resume += 1
            at, place = resume, star + 1
        else:
            return False
    return not pattern[place:].strip("*")


_files: dict[tuple[Path, int, int, int], KnownHosts] = {}
_reading = threading.Lock()


def read(file: Path) -> KnownHosts:
    """The lines of ``file``, which is read once until it changes; none if it cannot be read."""
    try:
        about = file.stat()
        key = (file, about.st_ino, about.st_size, about.st_mtime_ns)
        with _reading:
            if key not in _files:
                with open(file, "rb", opener=_without_waiting) as stream:
                    text = stream.read(_MOST).decode("latin-1")  # any bytes; names and keys are ASCII
                _files[key] = KnownHosts(file, text)
            return _files[key]
    except FileNotFoundError:
        return KnownHosts(file, "")
    except OSError as error:
        hosts = KnownHosts(file, "")
        hosts.fault = _unreadable(file, error)
        return hosts


def _unreadable(file: Path, error: OSError) -> Fault:
    path = shlex.quote(str(file))
    if isinstance(error, IsADirectoryError):
        return Fault("is a directory", f"set ssh.known_hosts to a file; to see what is in it: ls {path}")
    why = (error.strerror or str(error)).lower()
    return Fault(f"cannot be read: {why}", MORE_FILES if is_full(error) else f"make it readable: ls -l {path}")


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to is empty."""
    number = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(number, True)
    return number


def skipped() -> list[tuple[str, str]]:
    """The lines that could not be read in the files that were read so far, and why."""
    with _reading:
        newest = {file: hosts for (file, *_), hosts in _files.items()}
    return list(dict.fromkeys(line for _, hosts in sorted(newest.items()) for line in list(hosts.broken)))


def entries(files: Sequence[Path], name: str) -> Iterator[Entry]:
    """The lines of all ``files`` for ``name``."""
    for file in files:
        yield from read(file).entries(name)
