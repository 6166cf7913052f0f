"""``.dyno/secrets``: variables of the machine that runs dynoctl, in a file beside the manifest and outside git."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from infra.errors import DynoctlError

LARGEST = 1 << 20
"""Bytes of such a file."""


def read(base: Path, destination: str | None) -> Mapping[str, str]:
    """The names and values of ``.dyno/secrets`` and, over it, of ``.dyno/secrets.DESTINATION``, where they are there.

    Raises DynoctlError where others can read one, git has it, or a line cannot be read; no value is ever said."""
    names = ["secrets", *([f"secrets.{destination}"] if destination else [])]
    found: dict[str, str] = {}
    for name in names:
        file = base / ".dyno" / name
        try:
            there = file.is_file()
        except OSError as error:
            raise DynoctlError(f"{file} cannot be read: {error.strerror}") from None
        if there:
            found |= _read(file)
    return found


def _read(file: Path) -> dict[str, str]:
    from dotenv.parser import parse_stream

    _refuse_shared(file)
    try:
        if file.stat().st_size > LARGEST:
            raise DynoctlError(f"{file} is larger than 1 MiB", "It holds lines of NAME=value.")
        with file.open(encoding="utf-8", newline="") as stream:
            bindings = list(parse_stream(stream))
    except OSError as error:
        raise DynoctlError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DynoctlError(f"{file} is not UTF-8") from None
    found: dict[str, str] = {}
    for one in bindings:
        text = one.original.string
        line = one.original.line + len(re.findall(r"\r\n|\n|\r", text[: len(text) - len(text.lstrip())]))
        if one.error or (one.key is not None and one.value is None):
            raise DynoctlError(f"{file}:{line}: this line is no NAME=value", "A value with spaces stands in quotes.")
        if one.key is None:
            continue
        if one.key in found:
            raise DynoctlError(f"{file}:{line}: {one.key} stands twice", "Keep one of them.")
        found[one.key] = str(one.value)
    return found


def _refuse_shared(file: Path) -> None:
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        raise DynoctlError(f"{file} can be read by others: its mode is {mode:04o}", f"chmod 600 {file}")
    real = file.resolve()
    try:
        known = subprocess.run(  # noqa: S603  # constant words but for a file's name
            # Whoever owns the checkout: it is only asked for a name.
            ["git", "-c", "safe.directory=*", "ls-files", "--error-unmatch", "--", real.name],  # noqa: S607
            cwd=real.parent,
            # A hook of git runs with the place of its own repository.
            env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return  # no git, nothing in it
    if known.returncode == 0:
        raise DynoctlError(
            f"{file} is in git",
            f"Take it out, change what it held, and add .dyno/ to .gitignore: git rm --cached {file}",
        )
    if known.returncode != 1 and b"not a git repository" not in known.stderr:
        words = known.stderr.decode(errors="replace").strip().splitlines()
        raise DynoctlError(f"git cannot say whether it has {file}: {words[-1] if words else known.returncode}")
