"""Write a tree as a squashfs image with mksquashfs, and detect a source that changes meanwhile."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from infra.errors import DynoctlError
from infra.manifest import programs
from infra.slug.tree import CHUNK, Entry, Kind, Tree, open_file, unreadable

AT_LEAST = (4, 5)
"""The first version of mksquashfs that reads a tar stream, so that metadata does not depend on the disk."""

INSTALL = (
    "Install squashfs-tools 4.5 or later: apt install squashfs-tools (Debian 12, Ubuntu 22.04), "
    "brew install squashfs (macOS)"
)

_TAR_TYPES = {Kind.DIRECTORY: tarfile.DIRTYPE, Kind.FILE: tarfile.REGTYPE, Kind.LINK: tarfile.SYMTYPE}


class SourceChangedError(DynoctlError):
    """The source changed after it was scanned, so the image would not match its digest."""

    def __init__(self, path: bytes) -> None:
        super().__init__(
            f"{os.fsdecode(path)} changed while the slug was being packed",
            "Run the command again when no process writes to the file, or add the file to .slugignore.",
        )


def pack(tree: Tree, target: Path) -> None:
    """Write the image of ``tree`` to ``target``, overwriting it.

    Raises SourceChangedError if a file differs from ``tree``, and DynoctlError if mksquashfs is missing, too old or
    fails.
    """
    program = find()
    command = [program, "-", str(target), "-tar", "-noappend", "-quiet", "-no-progress"]
    # The image must not depend on the local machine: its clock, its users or its extended attributes.
    command += ["-root-mode", "0755", "-root-time", "0", "-all-time", "0", "-mkfs-time", "0"]
    command += ["-all-root", "-no-xattrs", "-reproducible"]
    # Every kernel with squashfs supports gzip. Level 6 takes half the time of level 9, and is within 1 % of its size.
    command += ["-comp", "gzip", "-Xcompression-level", "6"]
    # SOURCE_DATE_EPOCH and the options for times cannot be combined.
    environment = {"PATH": programs.search_path(), "LC_ALL": "C"}
    with tempfile.TemporaryFile() as log:  # a pipe could fill up, because it is not read meanwhile
        process = subprocess.Popen(  # noqa: S603 - a fixed program, and a path of our own
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        try:
            with suppress(BrokenPipeError), cast(IO[bytes], process.stdin) as stdin:
                stream(tree, stdin)
            process.wait()  # if it closed the pipe early, its log says why
        except BaseException:
            process.kill()
            process.wait()
            raise
        log.seek(0)
        output = log.read().decode(errors="replace").strip()
    if process.returncode != 0:
        raise DynoctlError(f"mksquashfs failed with exit status {process.returncode}: {output or 'no output'}")


def find() -> str:
    """The path of mksquashfs. Raises DynoctlError if it is missing or too old."""
    program = programs.find("mksquashfs")
    if program is None:
        raise DynoctlError("mksquashfs not found: it is required to build the slug", INSTALL)
    # The exit status differs between versions, so only the output is used.
    output = subprocess.run([program, "-version"], capture_output=True, text=True).stdout  # noqa: S603
    version = re.search(r"version (\d+)\.(\d+)", output)
    if version is None or (int(version[1]), int(version[2])) < AT_LEAST:
        found = f"{version[1]}.{version[2]}" if version else "unknown"
        raise DynoctlError(f"{program} is too old: version {found}", INSTALL)
    return program


def stream(tree: Tree, output: IO[bytes]) -> None:
    """Write ``tree`` to ``output`` as a tar. The headers depend on the entries only, not on the disk."""
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
    # The GNU format supports paths and files of any size; surrogateescape preserves the bytes of names.
    return header.tobuf(tarfile.GNU_FORMAT, sys.getfilesystemencoding(), "surrogateescape")


def _contents(path: bytes, entry: Entry, output: IO[bytes]) -> None:
    """Copy a file, and check the hash of the copy: the content of the image must match its digest.

    Data appended to the file since the scan is not copied, like files created since the scan.
    """
    try:
        stream = open_file(path)
    except DynoctlError as error:
        raise SourceChangedError(path) from error
    copied = hashlib.sha256()
    left = entry.size
    with stream:
        while left:
            try:
                chunk = stream.read(min(left, CHUNK))
            except OSError as error:
                raise unreadable(path, error) from error
            if not chunk:
                raise SourceChangedError(path)
            copied.update(chunk)
            output.write(chunk)
            left -= len(chunk)
    if copied.digest() != entry.content:
        raise SourceChangedError(path)
