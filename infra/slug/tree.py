"""The content of a slug: the normalised source tree, and a digest that is the same on every machine."""

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
from infra.manifest.files import read_regular
from infra.manifest.paths import is_link
from infra.model.stack import Progress
from infra.slug import credentials, ignore
from infra.slug.own_files import RESERVED, is_own
from infra.slug.reading import Reading

IGNORE_FILE = ".slugignore"
LARGEST_RULES = 1 << 20
"""Maximum size of ``.slugignore``, in bytes."""

PLAN = re.compile(
    rb"\{\s*\"format_version\": \d+,\s*\"(?:dynoctl\"|app\": \"[^\"]*\",\s*\"changes\")"
    rb"|<!doctype html>\n<!-- A plan of dynoctl|### dynoctl plan: "
)
"""The start of a saved plan. Plans are not in the slug: otherwise saving a plan would make it stale."""

NEVER = (b".git", b".dyno")
"""Never in a slug, in any directory: git repositories and secrets."""

RACKUP = RESERVED + b"/config.ru"

_DOMAIN = b"dynoctl slug 1\n"
"""Part of every digest, so that digests of different formats never collide."""

CHUNK = 1 << 20
"""The number of bytes that are read at a time."""

_EMPTY = hashlib.sha256().digest()


class Kind(Enum):
    """The value is the letter of the kind in the digest."""

    DIRECTORY = b"d"
    FILE = b"f"
    LINK = b"l"


@dataclass(frozen=True)
class Entry:
    """A path of a slug, relative to its root. Paths are bytes, because names need not be UTF-8.

    ``mode`` is 0755 or 0644. ``content`` is the SHA-256 of a file and the target of a link.
    """

    path: bytes
    kind: Kind
    mode: int = 0o755
    size: int = 0
    content: bytes = b""


@dataclass(frozen=True)
class Tree:
    """A scanned source: ``entries`` sorted by path, parents first, and ``digest`` in hex. ``patterns`` are the rules of
    its ``.slugignore``, which is not in it. ``left_out`` are the paths of credentials that are not in it either."""

    source: Path
    entries: tuple[Entry, ...]
    digest: str
    patterns: tuple[bytes, ...] = ()
    left_out: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        """The total size of all files, in bytes."""
        return sum(entry.size for entry in self.entries)


@dataclass
class _Choice:
    """What the walk leaves out: by the rules of ``.slugignore``, by name, and credentials that it does not name."""

    rules: tuple[ignore.Rule, ...]
    named: tuple[ignore.Rule, ...]
    without: frozenset[bytes]
    secrets: frozenset[bytes]
    left_out: list[bytes]
    reading: Reading

    def is_credential(self, path: bytes, full_path: bytes, is_directory: bool) -> bool:
        """Whether a path is left out as a credential, which is then noted."""
        if path not in self.secrets:
            if not credentials.is_credential(path, is_directory):
                return False
            if not is_directory and credentials.is_public(path, _start(full_path)):
                return False
        if credentials.is_named(self.named, path, is_directory):
            return False
        self.left_out.append(path + b"/" if is_directory else path)
        return True


def scan(
    source: Path,
    directories: Sequence[str] = (),
    without: Collection[Path] = (),
    secrets: Collection[Path] = (),
    say: Progress = lambda _: None,
) -> Tree:
    """Read ``source`` and compute its digest. ``directories`` are added to the slug if the source does not have them.
    ``say`` is told how far it is.

    The slug excludes what ``.slugignore`` at the root ignores, ``.slugignore`` itself, every ``.git`` and ``.dyno``,
    ``dyno.yaml`` and its overlays at the root, the files in ``without``, and ``.dynoctl`` at the root, which is
    replaced. It also excludes credentials (``infra.slug.credentials``, and the files in ``secrets``) that no line of
    ``.slugignore`` puts back.
    Raises DynoctlError if the source is not a directory, a file cannot be read, or a path is not a file, a directory
    or a symbolic link.
    """
    if not source.is_dir():
        raise DynoctlError(f"{source} is not a directory", "set app.source to the directory of the app")
    root = os.fsencode(source)
    rules = _ignore_file(source)
    choice = _Choice(
        ignore.parse(rules),
        credentials.naming(ignore.patterns(rules)),
        frozenset(os.fsencode(path) for path in _below(source, without)),
        frozenset(os.fsencode(path) for path in _below(source, secrets)),
        [],
        Reading(say),
    )
    entries = [
        Entry(RESERVED, Kind.DIRECTORY),
        Entry(RACKUP, Kind.FILE, 0o644, 0, _EMPTY),
        *_walk(root, b"", choice),
    ]
    by_path = {entry.path: entry for entry in entries}
    for name in directories:
        parts = os.fsencode(name).split(b"/")
        for path in (b"/".join(parts[: depth + 1]) for depth in range(len(parts))):
            found = by_path.setdefault(path, Entry(path, Kind.DIRECTORY))
            if found.kind is not Kind.DIRECTORY:
                summary = f"{source / name} cannot be writable: {os.fsdecode(path)} is not a directory"
                raise DynoctlError(summary, "name a directory in app.writable")
    entries = list(by_path.values())
    # Sort by components: "a/b" comes before "a-b", so a directory is followed by its content.
    entries.sort(key=lambda entry: entry.path.split(b"/"))
    return Tree(source, tuple(entries), digest(entries), ignore.patterns(rules), tuple(sorted(choice.left_out)))


def digest(entries: Sequence[Entry]) -> str:
    """The SHA-256 in hex of paths, kinds, modes, link targets and contents.

    Each field is prefixed with its length, so that different trees never produce the same bytes.
    """
    total = hashlib.sha256(_DOMAIN)
    for entry in entries:
        fields = (entry.kind.value, b"%o" % entry.mode, entry.path, entry.content)
        total.update(b"".join(b"%d:%b," % (len(field), field) for field in fields) + b"\n")
    return total.hexdigest()


def _ignore_file(source: Path) -> bytes:
    path = source / IGNORE_FILE
    if is_link(path):  # git does not follow a link named .gitignore either
        raise DynoctlError(f"{path} is a link, which may lead to any file of this computer", "copy the rules into it")
    try:
        rules = read_regular(path, LARGEST_RULES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        hint = f"make it a file that you can read: ls -ld {path}"
        raise DynoctlError(f"cannot read {path}: {error.strerror}", hint) from error
    if len(rules) > LARGEST_RULES:
        raise DynoctlError(f"{path} is larger than 1 MiB", "ignore directories instead of each file in them")
    if len(ignore.patterns(rules)) > ignore.MOST:
        raise DynoctlError(f"{path} has more than {ignore.MOST} rules", "ignore directories instead of each file")
    return rules


def _below(source: Path, files: Collection[Path]) -> Iterator[Path]:
    root = source.resolve()
    for file in files:
        real = file.resolve()
        if real.is_relative_to(root):
            yield real.relative_to(root)


def _walk(root: bytes, folder: bytes, choice: _Choice) -> Iterator[Entry]:
    """Every entry below ``folder`` that is in the slug, unsorted."""
    directory = root + b"/" + folder if folder else root
    try:
        with os.scandir(directory) as found:
            children = list(found)
    except OSError as error:
        raise unreadable(directory, error) from error
    for child in children:
        path = folder + b"/" + child.name if folder else child.name
        is_directory = child.is_dir(follow_symlinks=False)
        if child.name in NEVER or is_own(path):
            continue
        if path in choice.without:
            continue
        # As in git, a negated pattern cannot include files of an ignored directory.
        if ignore.ignored(choice.rules, path, is_directory) or choice.is_credential(path, child.path, is_directory):
            continue
        if is_directory:
            yield Entry(path, Kind.DIRECTORY)
            yield from _walk(root, path, choice)
        elif child.is_symlink():
            yield Entry(path, Kind.LINK, content=_target(child.path))
        elif (entry := _file(child.path, path, choice.reading)) is not None:
            yield entry


def _target(path: bytes) -> bytes:
    try:
        return os.readlink(path)  # noqa: PTH115 - a Path cannot hold every name
    except OSError as error:
        raise unreadable(path, error) from error


def _file(full_path: bytes, path: bytes, reading: Reading) -> Entry | None:
    """The entry of a file. None for a saved plan, and for the file that stdout or stderr is redirected to."""
    content = hashlib.sha256()
    size = 0
    with open_file(full_path) as stream:
        status = os.fstat(stream.fileno())
        if any(os.path.samestat(status, output) for output in _outputs()):
            return None
        mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        try:
            while chunk := stream.read(CHUNK):
                if size == 0 and PLAN.match(chunk):
                    return None
                content.update(chunk)
                size += len(chunk)
                reading.add(path, len(chunk))
        except OSError as error:
            raise unreadable(full_path, error) from error
    return Entry(path, Kind.FILE, mode, size, content.digest())


def _start(path: bytes) -> bytes:
    """The first bytes of a file; nothing of a link or of a file that cannot be read."""
    try:
        with open_file(path) as stream:
            return stream.read(credentials.START) or b""
    except (DynoctlError, OSError):
        return b""


def _outputs() -> list[os.stat_result]:
    """The status of stdout and stderr, which may be redirected to files."""
    found = []
    for number in (1, 2):
        with suppress(OSError):
            found.append(os.fstat(number))
    return found


def open_file(path: bytes) -> FileIO:
    """Open a regular file for reading, without following a link or waiting for the writer of a pipe.

    Raises DynoctlError with the path if it is not a regular file.
    """
    try:
        # O_NONBLOCK: opening a pipe does not wait for a writer. The pipe is refused below.
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):
            raise _unsupported(path) from error
        raise unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise _unsupported(path)
    return FileIO(number, "rb")


def unreadable(path: bytes, error: OSError) -> DynoctlError:
    """The error for a path of a source that cannot be read."""
    return DynoctlError(
        f"cannot read {os.fsdecode(path)}: {error.strerror}",
        f"make it readable, or add it to {IGNORE_FILE}",
    )


def _unsupported(path: bytes) -> DynoctlError:
    return DynoctlError(
        f"{os.fsdecode(path)} is not a file, a directory or a symbolic link",
        f"remove it, or add it to {IGNORE_FILE}",
    )
