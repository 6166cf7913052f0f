"""Replace a file of the user atomically, keeping its mode and owner."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from infra.errors import DynoctlError


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    """Replace the content ``old`` by ``new``, following a link. Raises DynoctlError; the file is then unchanged."""
    file = path.resolve()
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        if file.read_bytes() != old:
            raise DynoctlError(f"{path} was changed by another process", "check the file, then run the command again")
        status = file.stat()
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as stream:
            stream.write(new)
            stream.flush()
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):  # the user may not be a member of the file's group
                    os.fchown(number, status.st_uid, status.st_gid)
            os.fchmod(number, status.st_mode & 0o7777)
            os.fsync(number)
        temporary.replace(file)
    except OSError as error:
        raise unwritable(path, file, error) from None
    finally:
        with suppress(OSError):  # of a read-only file system, too
            temporary.unlink(missing_ok=True)


def unwritable(path: Path, file: Path, error: OSError) -> DynoctlError:
    """That ``path``, which is ``file`` if it is a link, cannot be written."""
    hint = f"make the file and its directory writable: ls -ld {file.parent} {file}"
    return DynoctlError(f"cannot write {path}: {error.strerror}", hint)
