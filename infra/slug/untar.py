"""Unpack a tar from a server, which must not write outside of its directory."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import IO

from infra.errors import DynoctlError

LARGEST = 8 << 30
"""Bytes of all files together."""

MOST = 1_000_000
"""Files, directories and links."""

HEADER = 1 << 20
"""Bytes of a header: of a long name, or of the attributes of a file."""


class _Member(tarfile.TarInfo):
    """A member whose headers are not read into memory whatever size they claim."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type not in tarfile.SUPPORTED_TYPES and self.size > HEADER:
            raise tarfile.ReadError("unknown member")
        headers = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
        if self.type in (*headers, tarfile.SOLARIS_XHDTYPE) and self.size > HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        made: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return made


def unpack(stream: IO[bytes], target: Path) -> None:
    """Write directories, files, hard and symbolic links below ``target``, with the modes that a slug preserves.

    Symbolic links are created last, so that no file is written through a link.
    Raises DynoctlError if a path is outside of ``target``, or if the stream is not a tar.
    """
    links: list[tuple[Path, str]] = []
    room, count = LARGEST, 0
    try:
        with tarfile.open(
            fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape", tarinfo=_Member
        ) as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has seen
                count += 1
                path = _inside(target, member.name)
                size = _inside(target, member.linkname).stat().st_size if member.islnk() else member.size
                room -= size
                if room < 0 or count > MOST or member.sparse is not None:
                    raise DynoctlError(
                        f"the result of the build is larger than {LARGEST >> 30} GiB or {MOST:,} files, or has sparse "
                        f"files: {member.name}",
                        "let the build commands remove what the app does not need",
                    )
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
        for path, destination in links:
            path.symlink_to(destination)
    except (tarfile.TarError, EOFError, ValueError, OSError, RecursionError) as error:
        raise DynoctlError(f"invalid tar from the builder: {error}") from None


def _inside(target: Path, name: str) -> Path:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise DynoctlError(f"invalid path in the tar from the builder: {name}")
    return target.joinpath(*parts)
