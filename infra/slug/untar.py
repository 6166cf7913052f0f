"""Unpack a tar that a server sent: nothing of it may land outside of its directory."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import IO

from infra.errors import DynoctlError


def unpack(stream: IO[bytes], target: Path) -> None:
    """Write directories, files, hard and symbolic links below ``target``; modes only as far as a slug keeps them.

    Links are made when all files are there, so that nothing is ever written through one.
    Raises DynoctlError where a name leads outside, or the stream is no tar.
    """
    links: list[tuple[Path, str]] = []
    try:
        with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
            for member in tar:
                place = _inside(target, member.name)
                if member.isdir():
                    place.mkdir(parents=True, exist_ok=True)
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                if member.issym():
                    links.append((place, member.linkname))
                elif member.islnk():
                    shutil.copy2(_inside(target, member.linkname), place, follow_symlinks=False)
                elif member.isreg() and (source := tar.extractfile(member)) is not None:
                    with place.open("wb") as file:
                        shutil.copyfileobj(source, file)
                    place.chmod(0o755 if member.mode & 0o100 else 0o644)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DynoctlError(f"the builder's answer is no whole tar: {error}") from None
    for place, aim in links:
        place.symlink_to(aim)


def _inside(target: Path, name: str) -> Path:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise DynoctlError(f"the builder sent a path that leads outside: {name}")
    return target.joinpath(*parts)
