"""``.dyno/secrets``: values for ``from_env`` in a file next to the manifest that is not in git."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from infra.errors import DynoctlError
from infra.manifest.files import read_regular
from infra.manifest.git import git

LARGEST = 1 << 20
"""Maximum size of a file, in bytes."""


def read(base: Path, destination: str | None) -> Mapping[str, str]:
    """The variables in ``.dyno/secrets``, overridden by ``.dyno/secrets.DESTINATION``; both files are optional.

    Raises DynoctlError if other users can read a file, git tracks it, or a line is invalid. Values are never shown."""
    return {**own(base, None), **(own(base, destination) if destination else {})}


def path_of(base: Path, destination: str | None) -> Path:
    """The file that holds the secrets of a destination, for a manifest in ``base``."""
    return base / ".dyno" / (f"secrets.{destination}" if destination else "secrets")


def own(base: Path, destination: str | None) -> dict[str, str]:
    """The variables in the file of one destination alone. Raises DynoctlError as ``read`` does."""
    file = path_of(base, destination)
    try:
        exists = file.is_file()
    except OSError as error:
        raise _unreadable(file, error) from None
    return _read(file) if exists else {}


def _read(file: Path) -> dict[str, str]:
    from dotenv.parser import parse_stream

    _refuse_shared(file)
    try:
        data = read_regular(file, LARGEST)
        if len(data) > LARGEST:
            raise DynoctlError(f"{file} is larger than 1 MiB", "keep only lines of NAME=value")
        bindings = list(parse_stream(StringIO(data.decode("utf-8-sig"), newline="")))
    except OSError as error:
        raise _unreadable(file, error) from None
    except UnicodeDecodeError:
        raise DynoctlError(f"{file} is not valid UTF-8", "save it as UTF-8") from None
    found: dict[str, str] = {}
    for binding in bindings:
        text = binding.original.string
        line = binding.original.line + len(re.findall(r"\r\n|\n|\r", text[: len(text) - len(text.lstrip())]))
        if binding.error or (binding.key is not None and binding.value is None):
            raise DynoctlError(
                f"{file}:{line}: invalid line, expected NAME=value", "quote a value that contains spaces"
            )
        if binding.key is None:
            continue
        if binding.key in found:
            raise DynoctlError(f"{file}:{line}: duplicate variable {binding.key}", "remove one of the lines")
        found[binding.key] = str(binding.value)
    return found


def _unreadable(file: Path, error: OSError) -> DynoctlError:
    return DynoctlError(f"cannot read {file}: {error.strerror}", f"make it a file that you can read: ls -ld {file}")


def _refuse_shared(file: Path) -> None:
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        raise DynoctlError(f"{file} is readable by other users: its mode is {mode:04o}", f"chmod 600 {file}")
    real = file.resolve()
    tracked = git(real.parent, "ls-files", "--error-unmatch", "--", real.name)
    if tracked.no_repository:
        return
    if tracked.status == 0:
        raise DynoctlError(
            f"{file} is tracked by git",
            f"run git rm --cached {file}, add .dyno/ to .gitignore, and replace the secrets in it",
        )
    if tracked.status != 1:
        reason = tracked.error or f"git failed with exit status {tracked.status}"
        dubious = "dubious ownership" in reason
        raise DynoctlError(
            f"cannot determine whether git tracks {file}: {reason}",
            "if you trust it: git config --global --add safe.directory DIRECTORY" if dubious else "",
        )
