"""Worker processes on this machine: started with a pipe each, and gone when the pipe closes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Protocol

from infra.remote.dial import more_open_files

GRACE = 3.0
"""Seconds that a worker has to close its sessions before it is killed."""

# The paths are those of this process: it may run from a checkout.
_START = "import sys; sys.path[:] = sys.argv[2:]; from infra.remote.processes import main; main(int(sys.argv[1]))"


class Link(Protocol):
    """A connection to a worker: messages out and in, whole and in order."""

    near: bool
    """Whether the worker has the files of this machine."""

    def send(self, message: bytes) -> None:
        """Hand a message over. Raises OSError or EOFError if the worker is gone. For one thread at a time."""
        ...

    def receive(self) -> bytes:
        """Wait for a message. Raises OSError or EOFError if the worker is gone."""
        ...

    def end(self) -> None:
        """Let the worker go: it closes what it has. Never raises."""
        ...

    def why(self) -> str:
        """Why the worker is gone, such as ``its worker process ended (signal 9)``."""
        ...


class ProcessLink:
    """A worker process, and the pipe to it."""

    near = True

    def __init__(self) -> None:
        """Start the process. Raises OSError."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            argv = [sys.executable, "-P", "-c", _START, str(theirs.fileno()), *sys.path]
            debug = bool(os.environ.get("DYNOCTL_DEBUG"))
            # In a session of its own: Ctrl-C and a terminal that closes are the coordinator's to handle.
            self.process = subprocess.Popen(  # noqa: S603 -- this program itself
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if debug else subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
            self._pipe = Connection(ours.detach())

    def send(self, message: bytes) -> None:
        self._pipe.send_bytes(message)

    def receive(self) -> bytes:
        return self._pipe.recv_bytes()

    def end(self) -> None:
        # Not closed: another thread reads from it until the process is gone.
        with suppress(OSError), socket.socket(fileno=os.dup(self._pipe.fileno())) as pipe:
            pipe.shutdown(socket.SHUT_WR)
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def why(self) -> str:
        try:
            status = self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "its worker process does not answer"
        return f"its worker process ended ({f'signal {-status}' if status < 0 else f'exit status {status}'})"


def main(descriptor: int) -> None:
    """What a worker process does: serve the pipe until it closes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    from infra.remote.worker import Worker

    more_open_files()
    pipe = Connection(descriptor)
    worker = Worker(pipe.send_bytes)
    worker.ask_for_passphrases()
    status = 0
    try:
        while True:
            worker.receive(pipe.recv_bytes())
    except (EOFError, OSError):
        pass  # the other end is closed, or it is gone
    except Exception:  # a message that cannot be read: no later one could be, either
        traceback.print_exc()
        status = 1
    # What the sessions leave behind ends with this process, whatever waits.
    threading.Timer(GRACE / 2, os._exit, (status,)).start()
    worker.close()
    os._exit(status)
