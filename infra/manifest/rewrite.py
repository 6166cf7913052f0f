"""Replaces a file that a person keeps: whole, in its place, with its mode and owner."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from infra.errors import DynoctlError


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    """Make ``new`` of what is ``old`` now; a link is followed. Raises DynoctlError, and then the file is as it was."""
    file = path.resolve()
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        if file.read_bytes() != old:
            raise DynoctlError(f"{path} was changed meanwhile, and is left as it is", "Look at it, then run it again.")
        there = file.stat()
        number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as stream:
            stream.write(new)
            stream.flush()
            if (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):  # its group may be one that this login is not in
                    os.fchown(number, there.st_uid, there.st_gid)
            os.fchmod(number, there.st_mode & 0o7777)
            os.fsync(number)
        beside.replace(file)
    except OSError as error:
        raise DynoctlError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)
