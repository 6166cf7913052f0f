"""Unpack a tar from a server, which must not write outside of its directory."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import IO

from infra.errors import DynoctlError


def unpack(stream: IO[bytes], target: Path) -> None:
    """Write directories, files, hard and symbolic links below ``target``, with the modes that a slug preserves.

    Symbolic links are created last, so that no file is written through a link.
    Raises DynoctlError if a path is outside of ``target``, or if the stream is not a tar.
    """
    links: list[tuple[Path, str]] = []
    try:
        with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
            for member in tar:
                path = _inside(target, member.name)
                if member.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                if member.issym():
                    links.append((path, member.linkname))
                elif member.islnk():
                    shutil.copy2(_inside(target, member.linkname), path, follow_symlinks=False)
                elif member.isreg() and (source := tar.extractfile(member)) is not None:
                    with path.open("wb") as file:
                        shutil.copyfileobj(source, file)
                    path.chmod(0o755 if member.mode & 0o100 else 0o644)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DynoctlError(f"invalid tar from the builder: {error}") from None
    for path, destination in links:
        path.symlink_to(destination)


def _inside(target: Path, name: str) -> Path:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise DynoctlError(f"invalid path in the tar from the builder: {name}")
    return target.joinpath(*parts)
