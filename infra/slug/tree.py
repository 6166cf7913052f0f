"""What a slug holds: a source tree read, normalised and named by one digest that every machine agrees on."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from io import FileIO
from pathlib import Path

from infra.errors import DynoctlError
from infra.slug import ignore

IGNORE_FILE = ".slugignore"
RESERVED = b".dynoctl"
"""The directory that every slug has for us: the rackup made from the manifest is bound over a file in it."""

OURS = (b"dyno.yaml",)
OVERLAY = re.compile(rb"dyno\.[a-z0-9-]+\.yaml")
"""At the root, where the source is the manifest's own directory: the manifest, or every edit of it would make another
slug."""

MADE = re.compile(
    rb"\{\s*\"format_version\": \d+,\s*\"(?:dynoctl\"|app\": \"[^\"]*\",\s*\"changes\")"
    rb"|<!doctype html>\n<!-- A plan of dynoctl|### dynoctl plan: "
)
"""How the files begin that hold a plan: it would not hold any more, were its own file part of what it was made from."""

NEVER = (b".git", b".dyno")
"""Wherever they stand: what git knows, and secrets, which are in no slug."""

RACKUP = RESERVED + b"/config.ru"

_DOMAIN = b"dynoctl slug 1\n"
"""Named in every digest, so that a digest of another format can never be taken for one of this."""

CHUNK = 1 << 20
"""How many bytes of a file are held at a time."""

_EMPTY = hashlib.sha256().digest()


class Kind(Enum):
    """The value is the letter by which the digest tells the kinds apart."""

    DIRECTORY = b"d"
    FILE = b"f"
    LINK = b"l"


@dataclass(frozen=True)
class Entry:
    """One path of a slug, relative to its root, as bytes: a name need not be UTF-8.

    ``mode`` is 0755 or 0644, nothing else. ``content`` is the SHA-256 of a file and the target of a link.
    """

    path: bytes
    kind: Kind
    mode: int = 0o755
    size: int = 0
    content: bytes = b""


@dataclass(frozen=True)
class Tree:
    """A source as it was read: ``entries`` sorted by path, parents first; ``digest`` in hex."""

    source: Path
    entries: tuple[Entry, ...]
    digest: str

    @property
    def size(self) -> int:
        """All files' bytes together."""
        return sum(entry.size for entry in self.entries)


def scan(source: Path, directories: Sequence[str] = (), without: Collection[Path] = ()) -> Tree:
    """Read the whole of ``source`` and name it. ``directories`` are in the slug even where the source has none.

    What ``.slugignore`` at its root says (as a .gitignore would) is left out; so are ``.slugignore`` itself,
    every ``.git`` and ``.dyno``, ``dyno.yaml`` and its overlays at the root, what is named in ``without``, and a
    ``.dynoctl`` at the root, instead of which the slug has its own.
    Raises DynoctlError where the source is no directory, a file cannot be read, or a path is neither a
    file, a directory nor a symbolic link.
    """
    if not source.is_dir():
        raise DynoctlError(f"{source} is not a directory", "app.source names the directory that becomes the slug.")
    root = os.fsencode(source)
    entries = [
        Entry(RESERVED, Kind.DIRECTORY),
        Entry(RACKUP, Kind.FILE, 0o644, 0, _EMPTY),
        *_walk(root, b"", _rules(source), frozenset(os.fsencode(one) for one in _below(source, without))),
    ]
    there = {entry.path: entry for entry in entries}
    for name in directories:
        parts = os.fsencode(name).split(b"/")
        for path in (b"/".join(parts[: depth + 1]) for depth in range(len(parts))):
            found = there.setdefault(path, Entry(path, Kind.DIRECTORY))
            if found.kind is not Kind.DIRECTORY:
                raise DynoctlError(f"{source / name} cannot be writable: {os.fsdecode(path)} is no directory")
    entries = list(there.values())
    # By components: "a/b" comes before "a-b", so a directory is followed by what is in it.
    entries.sort(key=lambda entry: entry.path.split(b"/"))
    return Tree(source, tuple(entries), digest(entries))


def digest(entries: Sequence[Entry]) -> str:
    """The SHA-256, in hex, over paths, kinds, modes, link targets and contents; nothing else is in it.

    Each field carries its length, so no two trees give the same bytes to hash.
    """
    total = hashlib.sha256(_DOMAIN)
    for entry in entries:
        fields = (entry.kind.value, b"%o" % entry.mode, entry.path, entry.content)
        total.update(b"".join(b"%d:%b," % (len(field), field) for field in fields) + b"\n")
    return total.hexdigest()


def _rules(source: Path) -> tuple[ignore.Rule, ...]:
    path = source / IGNORE_FILE
    try:
        return ignore.parse(path.read_bytes())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise DynoctlError(f"cannot read {path}: {error.strerror}") from error


def _below(source: Path, files: Collection[Path]) -> Iterator[Path]:
    root = source.resolve()
    for file in files:
        real = file.resolve()
        if real.is_relative_to(root):
            yield real.relative_to(root)


def _walk(
    root: bytes, folder: bytes, rules: tuple[ignore.Rule, ...], without: frozenset[bytes] = frozenset()
) -> Iterator[Entry]:
    """Every entry below ``folder`` that belongs to the slug, in no order."""
    place = root + b"/" + folder if folder else root
    try:
        with os.scandir(place) as found:
            children = list(found)
    except OSError as error:
        raise unreadable(place, error) from error
    for child in children:
        path = folder + b"/" + child.name if folder else child.name
        is_directory = child.is_dir(follow_symlinks=False)
        if child.name in NEVER or path in (RESERVED, *OURS, os.fsencode(IGNORE_FILE)) or OVERLAY.fullmatch(path):
            continue
        if path in without:
            continue
        # As in git, what is in an ignored directory cannot be asked back: it is not even looked at.
        if ignore.ignored(rules, path, is_directory):
            continue
        if is_directory:
            yield Entry(path, Kind.DIRECTORY)
            yield from _walk(root, path, rules, without)
        elif child.is_symlink():
            yield Entry(path, Kind.LINK, content=_target(child.path))
        elif (entry := _file(child.path, path)) is not None:
            yield entry


def _target(place: bytes) -> bytes:
    try:
        return os.readlink(place)  # noqa: PTH115 - a Path cannot hold every name
    except OSError as error:
        raise unreadable(place, error) from error


def _file(place: bytes, path: bytes) -> Entry | None:
    """None for what dynoctl makes itself: a plan in a file, and where its output goes just now."""
    content = hashlib.sha256()
    size = 0
    with open_file(place) as stream:
        status = os.fstat(stream.fileno())
        if any(os.path.samestat(status, one) for one in _outputs()):
            return None
        mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        try:
            while chunk := stream.read(CHUNK):
                if size == 0 and MADE.match(chunk):
                    return None
                content.update(chunk)
                size += len(chunk)
        except OSError as error:
            raise unreadable(place, error) from error
    return Entry(path, Kind.FILE, mode, size, content.digest())


def _outputs() -> list[os.stat_result]:
    """What stdout and stderr are, where somebody redirected them into a file."""
    found = []
    for number in (1, 2):
        with suppress(OSError):
            found.append(os.fstat(number))
    return found


def open_file(place: bytes) -> FileIO:
    """A regular file, opened for reading without following a link and without waiting for a pipe's writer.

    Raises DynoctlError, naming the path, for anything else.
    """
    try:
        # O_NONBLOCK: a pipe opens at once instead of waiting, and is then refused below.
        number = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):
            raise _odd(place) from error
        raise unreadable(place, error) from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise _odd(place)
    return FileIO(number, "rb")


def unreadable(place: bytes, error: OSError) -> DynoctlError:
    """The error that says which path of a source could not be read, and why."""
    return DynoctlError(
        f"cannot read {os.fsdecode(place)}: {error.strerror}",
        f"Make it readable, or leave it out of the slug with a line in {IGNORE_FILE}.",
    )


def _odd(place: bytes) -> DynoctlError:
    return DynoctlError(
        f"{os.fsdecode(place)} is neither a file, a directory nor a symbolic link: a slug cannot hold it",
        f"Remove it, or leave it out of the slug with a line in {IGNORE_FILE}.",
    )
