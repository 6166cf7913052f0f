"""Fetch what a reference points at: a variable, a file or a command's output. What comes is never shown."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import subprocess
import time
from pathlib import Path

from infra.errors import DynoctlError
from infra.manifest.files import located
from infra.manifest.model import Reference
from infra.manifest.wording import quoted

LARGEST = 64 * 1024
"""Bytes of a value. The kernel takes no variable longer than twice that."""

COMMAND_TIMEOUT = 30.0
"""Seconds that a command may take."""


class Unresolved(DynoctlError):
    """A reference gives no value. Says which and why, and nothing of what it gave."""


def fetch(reference: Reference, base: Path) -> str:
    """The value, without one newline at its end. ``base`` is the manifest's directory. Raises Unresolved."""
    match reference.value:
        case tuple() as argv:
            return _text(_output(argv, base), f"what {quoted(argv[0])} printed")
        case str() as name if reference.kind == "from_env":
            return _variable(name)
        case str() as name:
            return _text(_content(name, base), f"the file {quoted(name)}")


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise Unresolved(
            f"The environment variable {name} is not set", f"Set it before you run dynoctl: export {name}=..."
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Unresolved(f"The environment variable {name} is not UTF-8") from None
    return value


def _content(name: str, base: Path) -> bytes:
    file = located(name, base)
    try:
        # Not to wait for a pipe's other end, nor to read a device without end.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unresolved(f"{quoted(name)} is not a file", _whereabouts(name, file))
            return stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise Unresolved(f"There is no file {quoted(name)}", _whereabouts(name, file)) from None
    except OSError as error:
        reason = error.strerror or "its name cannot be used"
        raise Unresolved(f"The file {quoted(name)} cannot be read: {reason}", _whereabouts(name, file)) from None


def _whereabouts(name: str, file: Path) -> str:
    return "" if str(file) == name else f"That is {file}."


def _output(argv: tuple[str, ...], base: Path) -> bytes:
    program = quoted(argv[0])
    by_hand = f"Run it by hand in {base} to see why; its output is not shown, as it may hold a secret."
    try:
        process = subprocess.Popen(  # noqa: S603  # no shell; the manifest's owner chose the program
            argv,
            cwd=base,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that its children can be ended with it
        )
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "its name cannot be used"
        raise Unresolved(f"The command {program} cannot be run: {reason}") from None
    try:
        deadline = time.monotonic() + COMMAND_TIMEOUT
        output = _read(process, deadline)
        # It may have closed its output and still run.
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired):
        raise Unresolved(f"The command {program} took longer than {COMMAND_TIMEOUT:g} seconds", by_hand) from None
    finally:
        _end(process)
    if code and len(output) <= LARGEST:
        how = f"exit status {code}" if code > 0 else f"signal {-code}"
        raise Unresolved(f"The command {program} failed with {how}", by_hand)
    return output


def _read(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """What the process prints until it ends, up to one byte more than is allowed. Raises TimeoutError."""
    assert process.stdout is not None  # noqa: S101  # it is a pipe: see above
    output = b""
    while len(output) <= LARGEST:
        # In short steps: a child that it left behind may hold the pipe open, and nobody waits for that.
        ended = process.poll() is not None
        ready, _, _ = select.select([process.stdout], [], [], 0.05)
        if ready:
            chunk = os.read(process.stdout.fileno(), LARGEST + 1 - len(output))
            if not chunk:
                return output
            output += chunk
        elif ended:
            return output
        if time.monotonic() > deadline:
            raise TimeoutError
    return output


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _text(data: bytes, what: str) -> str:
    if len(data) > LARGEST:
        raise Unresolved(f"A value can have {LARGEST // 1024} KiB, and {what} is longer")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Unresolved(f"A value must be UTF-8, and {what} is not") from None
    if "\0" in text:
        raise Unresolved(f"A value cannot hold a NUL character, and {what} does")
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
