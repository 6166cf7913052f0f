"""Packs a tree into the image that servers mount: built once, kept by the tree's digest, checked on reuse."""

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
from infra.slug import squashfs
from infra.slug.tree import Tree

KEEP = 20
"""How many images stay in the cache; the ones used longest ago go first."""

_ABANDONED = 3600.0
"""Seconds after which a temporary file belongs to a build that was killed."""


@dataclass(frozen=True)
class Image:
    """A slug as one file. ``digest`` names it: the tree's, or that of what a build was made from. ``sha256`` is the
    file's own, in hex; ``size`` in bytes."""

    path: Path
    digest: str
    sha256: str
    size: int


def cache_directory() -> Path:
    """Where images are kept between runs, for this user alone."""
    return platformdirs.user_cache_path("dynoctl") / "slugs"


def build(tree: Tree, cache: Path | None = None) -> Image:
    """The image of ``tree``: the one in the cache if it is whole, else a new one.

    Raises DynoctlError where mksquashfs is missing, too old or fails, and where the source is no longer what
    ``tree`` says. The cache never holds a half-written image: it is written beside and then renamed.
    """
    return keep(tree.digest, lambda: nullcontext(tree), cache)


def keep(digest: str, make: Callable[[], AbstractContextManager[Tree]], cache: Path | None = None) -> Image:
    """The image called ``digest``: the one in the cache if it is whole, else that of the tree which ``make`` gives.

    Raises as ``build`` does, and whatever ``make`` raises.
    """
    cache = cache or cache_directory()
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        image = _cached(digest, cache)
        if image is None:
            with make() as tree:
                image = _new(digest, tree, cache)
        _prune(cache, image.path)
    except OSError as error:
        raise DynoctlError(
            f"cannot keep slugs in {cache}: {error.strerror}", "The directory must be writable and have room."
        ) from error
    return image


def restore(digest: str, download: Callable[[Path], None], cache: Path | None = None) -> Image:
    """The image called ``digest`` from the cache, or else what ``download`` puts at a path. That stays out of the
    cache: nobody has seen what it was made from."""
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
        return Image(path, digest, _sha256(path), path.stat().st_size)
    except OSError as error:
        raise DynoctlError(f"cannot keep slugs in {cache}: {error.strerror}", "It must have room.") from error


def _cached(digest: str, cache: Path) -> Image | None:
    path, note = _paths(digest, cache)
    try:
        expected = note.read_text(encoding="ascii").strip()
        sha256 = _sha256(path)
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    if sha256 != expected:
        return None
    os.utime(path)  # the newest are kept, so being used makes it new
    return Image(path, digest, sha256, path.stat().st_size)


def _new(digest: str, tree: Tree, cache: Path) -> Image:
    path, note = _paths(digest, cache)
    # mkstemp makes it 0600: a source may hold what others on this machine must not read.
    number, name = tempfile.mkstemp(prefix="new-", dir=cache)
    os.close(number)
    temporary = Path(name)
    try:
        squashfs.pack(tree, temporary)
        sha256 = _sha256(temporary)
        size = temporary.stat().st_size
        temporary.replace(path)
        temporary.write_text(sha256 + "\n", encoding="ascii")
        temporary.replace(note)
    finally:
        temporary.unlink(missing_ok=True)
    return Image(path, digest, sha256, size)


def _paths(digest: str, cache: Path) -> tuple[Path, Path]:
    return cache / f"{digest}.squashfs", cache / f"{digest}.sha256"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _prune(cache: Path, used: Path) -> None:
    """Forget all but the newest images, never the one in use, and what killed builds left."""
    images = sorted(cache.glob("*.squashfs"), key=_used_at, reverse=True)
    for path in images[KEEP:]:
        if path != used:
            path.unlink(missing_ok=True)
            path.with_suffix(".sha256").unlink(missing_ok=True)
    for path in cache.glob("new-*"):
        if time.time() - _used_at(path) > _ABANDONED:
            path.unlink(missing_ok=True)


def _used_at(path: Path) -> float:
    """0 where another run has just removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
