"""Pack a tree into the image that servers mount, and cache it by the digest of the tree."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from infra.errors import DynoctlError
from infra.manifest.files import read_regular
from infra.model import file_times
from infra.model.file_times import NO_TIMES, FileTimes
from infra.slug import squashfs
from infra.slug.times import assign
from infra.slug.tree import Tree

KEEP = 20
"""The number of images in the cache. The least recently used ones are removed."""

_ABANDONED = 3600.0
"""Seconds after which a temporary file is left over from a killed build."""


@dataclass(frozen=True)
class Image:
    """A slug as a file. ``digest`` is its name: the digest of the tree or of the build's input. ``sha256`` is that of
    the file, in hex; ``size`` is in bytes."""

    path: Path
    digest: str
    sha256: str
    size: int


def cache_directory() -> Path:
    """The cache directory of images, which only this user can read."""
    return platformdirs.user_cache_path("dynoctl") / "slugs"


def build(tree: Tree, before: FileTimes = NO_TIMES, cache: Path | None = None) -> Image:
    """The image of ``tree``, from the cache if it is there, intact, and has the right times.

    Raises DynoctlError if mksquashfs is missing, too old or fails, or if the source differs from ``tree``. An image is
    renamed into the cache when it is complete.
    """
    return keep(tree.digest, lambda: nullcontext(tree), before, cache)


def keep(
    digest: str,
    make: Callable[[], AbstractContextManager[Tree]],
    before: FileTimes = NO_TIMES,
    cache: Path | None = None,
) -> Image:
    """The image named ``digest``, from the cache if it is there, intact, and has the right times, else of the tree that
    ``make`` provides. ``before`` are the times of the slug that the files are compared with: the same one, if a server
    has it, or the one that runs now.

    Raises as ``build`` does, and what ``make`` raises.
    """
    cache = cache or cache_directory()
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        image = _cached(digest, cache)
        if image is None or not _has_times(digest, cache, before):
            with make() as tree:
                image = _new(digest, tree, before, cache)
        _prune(cache, image.path)
    except OSError as error:
        raise DynoctlError(
            f"cannot write slugs to {cache}: {error.strerror}", "make the directory writable, and free disk space"
        ) from error
    return image


def restore(digest: str, download: Callable[[Path], None], cache: Path | None = None) -> Image:
    """The image named ``digest``, from the cache or written by ``download``. A downloaded image is not added to the
    cache, because its content cannot be verified against a source."""
    cache = cache or cache_directory()
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        image = _cached(digest, cache)
        if image is not None:
            return image
        number, name = tempfile.mkstemp(prefix="new-", dir=cache)
        os.close(number)
        path = Path(name)
        download(path)
        return Image(path, digest, sha256_of(path), path.stat().st_size)
    except OSError as error:
        raise DynoctlError(f"cannot write slugs to {cache}: {error.strerror}", "free disk space.") from error


def _cached(digest: str, cache: Path) -> Image | None:
    path, note = _paths(digest, cache)
    try:
        expected = note.read_text(encoding="ascii").strip()
        sha256 = sha256_of(path)
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    if sha256 != expected:
        return None
    os.utime(path)  # marks it as used, for _prune
    return Image(path, digest, sha256, path.stat().st_size)


def _has_times(digest: str, cache: Path, before: FileTimes) -> bool:
    """Whether the times of an image in the cache are those that its files have on servers, as far as they are known.

    If no server has it, they must be later than those of what runs now: it may have been made long ago, before other
    releases."""
    if before.digest == digest and not before.by_key:
        return True
    try:
        data = read_regular(_times(digest, cache), file_times.LARGEST)
    except OSError:
        return False  # of a dynoctl that gave all files the same time
    times = file_times.parse(digest, data, int(time.time()))
    if before.digest == digest:
        return times.by_key == before.by_key
    return times.newest > before.newest


def _new(digest: str, tree: Tree, before: FileTimes, cache: Path) -> Image:
    path, note = _paths(digest, cache)
    times = assign(digest, tree.entries, before, int(time.time()))
    # mkstemp creates it with mode 0600: other users must not read the source.
    number, name = tempfile.mkstemp(prefix="new-", dir=cache)
    os.close(number)
    temporary = Path(name)
    try:
        squashfs.pack(tree, temporary, times)
        sha256 = sha256_of(temporary)
        size = temporary.stat().st_size
        temporary.replace(path)
        temporary.write_bytes(file_times.render(times))
        temporary.replace(_times(digest, cache))
        temporary.write_text(sha256 + "\n", encoding="ascii")
        temporary.replace(note)
    finally:
        temporary.unlink(missing_ok=True)
    return Image(path, digest, sha256, size)


def _paths(digest: str, cache: Path) -> tuple[Path, Path]:
    return cache / f"{digest}.squashfs", cache / f"{digest}.sha256"


def _times(digest: str, cache: Path) -> Path:
    return cache / f"{digest}.times"


def sha256_of(path: Path) -> str:
    """The sha256 of a file in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _prune(cache: Path, used: Path) -> None:
    """Remove all but the most recently used images, never ``used``, and the files of killed builds."""
    images = sorted(cache.glob("*.squashfs"), key=_used_at, reverse=True)
    for path in images[KEEP:]:
        if path != used:
            path.unlink(missing_ok=True)
            path.with_suffix(".sha256").unlink(missing_ok=True)
            path.with_suffix(".times").unlink(missing_ok=True)
    for path in cache.glob("new-*"):
        if time.time() - _used_at(path) > _ABANDONED:
            path.unlink(missing_ok=True)


def _used_at(path: Path) -> float:
    """The time of the last use, or 0 if another run has removed the image."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
