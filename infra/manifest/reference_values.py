"""Read the value of a reference: from the environment, a file or the output of a command."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from infra.manifest import programs
from infra.manifest.command_output import read_output
from infra.manifest.files import read_regular
from infra.manifest.model import Reference
from infra.manifest.paths import resolve_path
from infra.sensitive import Sensitive

LARGEST = 1 << 20
"""Maximum size of a value, and of all credentials together, in bytes: the limit of systemd for a unit."""

COMMAND_TIMEOUT = 30
"""Timeout of a ``from_command``, in seconds."""


_INSTALL = "install the program, or give its path; arguments are items of their own: [op, read, NAME]"


class Unresolved(Exception):
    """A reference cannot be resolved. The message says why, and never what was read."""

    def __init__(self, summary: str, hint: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.hint = hint


def without_ends(text: str) -> str:
    """The text of a file without a byte order mark, and without one newline at its end: LF, or CRLF of Windows."""
    text = text.removeprefix("\ufeff")
    return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")


def resolve(value: Reference, base: Path, secret: Callable[[str], str | None]) -> Sensitive:
    """The value of a reference; ``secret`` looks up variables that are not in the environment. Raises Unresolved."""
    source = value.value
    if value.kind == "from_env":
        text = _from_env(str(source), secret)
    elif value.kind == "from_file":
        text = _from_file(resolve_path(base, str(source)))
    else:
        text = _from_command([source] if isinstance(source, str) else list(source), base)
    if "\0" in text:
        raise Unresolved(f"{value.kind}: the value contains a NUL character", "encode it, as in base64")
    return Sensitive(text)


def _from_env(name: str, secret: Callable[[str], str | None]) -> str:
    text = os.environ.get(name)
    if text is None:
        text = secret(name)
    if text is None:
        raise Unresolved(
            f"environment variable {name} is not set", f"export {name}=..., or add {name}=... to .dyno/secrets"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unresolved(f"environment variable {name} is not valid UTF-8", "encode it, as in base64") from None
    return text


def _from_file(path: Path) -> str:
    try:
        data = read_regular(path, LARGEST)
    except OSError as error:
        missing = "create it, or copy it from who has it"
        hint = missing if error.errno == errno.ENOENT else f"make it a file that you can read: ls -ld {path}"
        raise Unresolved(f"from_file: cannot read {path}: {error.strerror}", hint) from None
    return _text(data, f"from_file: {path}")


def _from_command(argv: list[str], base: Path) -> str:
    name = argv[0]
    program = programs.find(name)
    if program is None:
        raise Unresolved(f"from_command: cannot run {name}: {os.strerror(errno.ENOENT)}", _INSTALL)
    try:
        process = subprocess.Popen(  # noqa: S603  # the manifest's owner names the program; no shell
            argv,
            executable=program,
            cwd=base,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise Unresolved(f"from_command: cannot run {name}: {error.strerror}", _INSTALL) from None
    data, status = read_output(process, LARGEST, COMMAND_TIMEOUT)
    if status is None:
        raise Unresolved(f"from_command: {name} timed out after {COMMAND_TIMEOUT} s", "run it, and see why it waits")
    if status != 0 and len(data) <= LARGEST:
        # The output is not shown: it may be a part of the secret.
        raise Unresolved(f"from_command: {name} failed with exit status {status}", "Run the command to see its output.")
    return _text(data, f"from_command: {name}")


def _text(data: bytes, source: str) -> str:
    if len(data) > LARGEST:
        raise Unresolved(f"{source}: the value is larger than 1 MiB", "a value is at most 1 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Unresolved(f"{source}: the value is not valid UTF-8", "encode it, as in base64") from None
