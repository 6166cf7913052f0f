"""The output of a command, read up to a limit of size and time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress


def read_output(process: subprocess.Popen[bytes], largest: int, seconds: float) -> tuple[bytes, int | None]:
    """What a command prints, up to one byte more than ``largest``, and its exit status; None if it does not end within
    ``seconds``. It leads a session of its own, and ends with all that it has started."""
    deadline = time.monotonic() + seconds
    data, status = bytearray(), None
    with process, process.stdout or open(os.devnull, "rb") as stream:  # noqa: PTH123  # for mypy: it is a pipe
        try:
            while len(data) <= largest and (left := deadline - time.monotonic()) > 0:
                if not select.select([stream], [], [], left)[0]:
                    break
                piece = os.read(stream.fileno(), largest + 1 - len(data))
                if not piece:
                    with suppress(subprocess.TimeoutExpired):
                        status = process.wait(max(0.0, deadline - time.monotonic()))
                    break
                data += piece
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    return bytes(data), process.returncode if len(data) > largest else status
