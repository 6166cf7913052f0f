"""Writes a tree as a squashfs image through mksquashfs, and notices a source that changes meanwhile."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from infra.errors import DynoctlError
from infra.slug.tree import CHUNK, Entry, Kind, Tree, open_file, unreadable

AT_LEAST = (4, 5)
"""From here on mksquashfs reads a tar stream: so modes, owners and times are ours, and not the disk's."""

INSTALL = (
    "It is in squashfs-tools 4.5 or later: 'apt install squashfs-tools' (Debian 12, Ubuntu 22.04), "
    "'brew install squashfs' (macOS)."
)

_TAR_TYPES = {Kind.DIRECTORY: tarfile.DIRTYPE, Kind.FILE: tarfile.REGTYPE, Kind.LINK: tarfile.SYMTYPE}


class SourceChangedError(DynoctlError):
    """What is packed would not be what the digest names."""

    def __init__(self, place: bytes) -> None:
        super().__init__(
            f"{os.fsdecode(place)} changed while the slug was being packed",
            "Run it again when nothing writes there; .slugignore leaves out what keeps changing.",
        )


def pack(tree: Tree, target: Path) -> None:
    """Write the image of ``tree`` to ``target``, over what is there.

    Raises SourceChangedError where a file is no longer what ``tree`` says, and DynoctlError where
    mksquashfs is missing, too old or fails.
    """
    program = find()
    command = [program, "-", str(target), "-tar", "-noappend", "-quiet", "-no-progress"]
    # Nothing of this machine gets into the image: not its clock, its users nor its attributes.
    command += ["-root-mode", "0755", "-root-time", "0", "-all-time", "0", "-mkfs-time", "0"]
    command += ["-all-root", "-no-xattrs", "-reproducible"]
    # gzip is what every kernel with squashfs reads. Level 6 is half the time of 9 and within 1 % of its size.
    command += ["-comp", "gzip", "-Xcompression-level", "6"]
    # SOURCE_DATE_EPOCH and the options for times exclude each other.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    with tempfile.TemporaryFile() as log:  # a pipe that nobody empties meanwhile could fill up
        process = subprocess.Popen(  # noqa: S603 - a fixed program, and a path of our own
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        try:
            with suppress(BrokenPipeError), cast(IO[bytes], process.stdin) as stdin:
                stream(tree, stdin)
            process.wait()  # where it closed the pipe on us, it also says why
        except BaseException:
            process.kill()
            process.wait()
            raise
        log.seek(0)
        said = log.read().decode(errors="replace").strip()
    if process.returncode != 0:
        raise DynoctlError(f"mksquashfs failed with status {process.returncode}: {said or 'it did not say why'}")


def find() -> str:
    """The mksquashfs of this machine. Raises DynoctlError where there is none that reads a tar stream."""
    program = shutil.which("mksquashfs")
    if program is None:
        raise DynoctlError("mksquashfs is not installed here: it packs the slug", INSTALL)
    # What it exits with differs between versions; only the text tells.
    said = subprocess.run([program, "-version"], capture_output=True, text=True).stdout  # noqa: S603
    version = re.search(r"version (\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < AT_LEAST:
        found = f"{version[1]}.{version[2]}" if version else "a version that it does not tell"
        raise DynoctlError(f"{program} is {found}: too old to pack a slug", INSTALL)
    return program


def stream(tree: Tree, output: IO[bytes]) -> None:
    """Write ``tree`` to ``output`` as a tar whose headers come from the entries alone."""
    root = os.fsencode(tree.source)
    for entry in tree.entries:
        output.write(_header(entry))
        if entry.size:
            _contents(root + b"/" + entry.path, entry, output)
            output.write(bytes(-entry.size % tarfile.BLOCKSIZE))
    output.write(bytes(2 * tarfile.BLOCKSIZE))


def _header(entry: Entry) -> bytes:
    header = tarfile.TarInfo(os.fsdecode(entry.path))
    header.type = _TAR_TYPES[entry.kind]
    header.mode = entry.mode
    header.size = entry.size
    if entry.kind is Kind.LINK:
        header.linkname = os.fsdecode(entry.content)
    # GNU's format takes paths of any length and files of any size; surrogateescape keeps a name's bytes.
    return header.tobuf(tarfile.GNU_FORMAT, sys.getfilesystemencoding(), "surrogateescape")


def _contents(place: bytes, entry: Entry, output: IO[bytes]) -> None:
    """Copy a file as it was scanned, hashing what is copied: the image holds what its digest names, or is not made.

    What a file has grown by since is not in it, as a file that came since is not.
    """
    try:
        stream = open_file(place)
    except DynoctlError as error:
        raise SourceChangedError(place) from error
    seen = hashlib.sha256()
    left = entry.size
    with stream:
        while left:
            try:
                chunk = stream.read(min(left, CHUNK))
            except OSError as error:
                raise unreadable(place, error) from error
            if not chunk:
                raise SourceChangedError(place)
            seen.update(chunk)
            output.write(chunk)
            left -= len(chunk)
    if seen.digest() != entry.content:
        raise SourceChangedError(place)
