"""Worker processes on this machine: started with a pipe each, and gone when the pipe closes.

The first of several imports what all need, and then makes the others: they are copies of it, made before it has any
thread, which costs a tenth of starting each anew, and they share its memory."""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Protocol

from infra import GARBAGE_THRESHOLDS
from infra.remote.dial import more_open_files

GRACE = 3.0
"""Seconds that a worker has to close its sessions before it is killed."""

# The paths are those of this process: it may run from a checkout.
_START = "import sys; sys.path[:] = sys.argv[3:]; from infra.remote.processes import main; main(*sys.argv[1:3])"


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


class _Piped:
    """The pipe to a worker of this machine."""

    near = True

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = Connection(pipe.detach())

    def send(self, message: bytes) -> None:
        self._pipe.send_bytes(message)

    def receive(self) -> bytes:
        return self._pipe.recv_bytes()

    def _shut(self) -> None:
        # Not closed: another thread reads from it until the process is gone.
        with suppress(OSError), socket.socket(fileno=os.dup(self._pipe.fileno())) as pipe:
            pipe.shutdown(socket.SHUT_WR)


class ProcessLink(_Piped):
    """A worker process, and the pipe to it."""

    def __init__(self, modules: Sequence[str] = (), copies: Sequence[socket.socket] = ()) -> None:
        """Start the process. With ``copies``, it imports ``modules`` and copies itself for each of these pipes but the
        first, on which it tells of the copies. Raises OSError."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            passed = [theirs.fileno(), *(copy.fileno() for copy in copies)]
            numbers = ",".join(map(str, passed))
            argv = [sys.executable, "-P", "-c", _START, numbers, ",".join(modules), *sys.path]
            debug = bool(os.environ.get("DYNOCTL_DEBUG"))
            # In a session of its own: Ctrl-C and a terminal that closes are the coordinator's to handle.
            self.process = subprocess.Popen(  # noqa: S603 -- this program itself
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if debug else subprocess.DEVNULL,
                pass_fds=passed,
                start_new_session=True,
            )
            super().__init__(ours)

    def end(self) -> None:
        self._shut()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def why(self) -> str:
        try:
            return _ended(self.process.wait(GRACE))
        except subprocess.TimeoutExpired:
            return _SILENT


class _CopyLink(_Piped):
    """A worker that is a copy of the first one, which tells its process and how it ends."""

    def __init__(self, pipe: socket.socket) -> None:
        super().__init__(pipe)
        self.process = 0
        """0 before it is told, and once it is told how it ended."""
        self.ended: Future[str] = Future()
        """How it ended, in words."""

    def end(self) -> None:
        self._shut()
        # Only the copy has the other end of its pipe. So while that is open, its number is that of no other process,
        # even if the first one is gone and does not tell how it ends.
        if not self._closed(GRACE) and self.process:
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)

    def _closed(self, seconds: float) -> bool:
        """Whether the other end is closed within ``seconds``. What was sent before that may still be unread."""
        ends = select.poll()
        ends.register(self._pipe.fileno(), 0)
        return bool(ends.poll(seconds * 1000))

    def why(self) -> str:
        try:
            return self.ended.result(GRACE)
        except NotYet:
            return _SILENT


_SILENT = "its worker process does not answer"


def _ended(status: int) -> str:
    return f"its worker process ended ({f'signal {-status}' if status < 0 else f'exit status {status}'})"


def several(number: int, modules: Sequence[str] = ()) -> list[Link]:
    """So many workers. If they are copies of one, it has imported ``modules`` before. Raises OSError."""
    if number < 2 or not hasattr(os, "fork") or sys.platform == "darwin":  # whose libraries may not be copied
        return [ProcessLink() for _ in range(number)]
    more_open_files()
    pairs = [socket.socketpair() for _ in range(number)]
    try:
        first = ProcessLink(modules, [theirs for _, theirs in pairs])
        told, *pipes = (ours for ours, _ in pairs)
        copies = [_CopyLink(pipe) for pipe in pipes]
        listen = threading.Thread(target=_listen, args=(Connection(told.detach()), copies), daemon=True, name="copies")
        listen.start()
        return [first, *copies]
    finally:
        for pair in pairs:
            for end in pair:
                end.close()


def _listen(told: Connection, copies: Sequence[_CopyLink]) -> None:
    """Note what the first worker tells of its copies: place and process, and in the end how it ended."""
    with told, suppress(EOFError, OSError):
        while True:
            place, process, words = told.recv()
            copies[place].process = 0 if words else process
            if words:
                copies[place].ended.set_result(words)
    for copy in copies:
        if not copy.ended.done():
            copy.ended.set_result("its worker process ended")


def main(descriptors: str, modules: str) -> None:
    """What a worker process does: import ``modules``, copy itself if it has pipes for others, and serve its own pipe
    until that closes. The arguments are separated by commas."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # If the parent of the command ignores it, a process cannot wait for its children.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    more_open_files()
    own, *others = map(int, descriptors.split(","))
    copies: list[threading.Thread] = []
    if others:
        _import(modules.split(","))
        own, copies = _copied(own, others)
    _serve(own, copies)


def _import(names: Sequence[str]) -> None:
    import fabric  # noqa: F401

    import infra.remote.read_only
    import infra.remote.worker  # noqa: F401

    for name in filter(None, names):
        importlib.import_module(name)


def _copied(own: int, others: Sequence[int]) -> tuple[int, list[threading.Thread]]:
    """Copy this process for each pipe of ``others`` but the first, on which it tells of them. Returns the pipe to
    serve: its own, or in a copy that of the copy; and the threads that wait for its copies."""
    tell, *pipes = others
    gc.freeze()  # what is never touched stays shared
    made: list[tuple[int, str]] = []
    while pipes:
        pipe = pipes.pop(0)
        try:
            process = os.fork()
        except OSError as error:
            made.append((0, f"its worker process cannot start: {(error.strerror or str(error)).lower()}"))
        else:
            if not process:
                for other in (own, tell, *pipes):  # a pipe closes when no process has its end
                    os.close(other)
                return pipe, []
            made.append((process, ""))
        os.close(pipe)
    told, mutex = Connection(tell), threading.Lock()

    def say(place: int, process: int, words: str) -> None:
        with mutex, suppress(OSError):
            told.send((place, process, words))

    def wait(place: int, process: int) -> None:
        say(place, process, _ended(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])))

    waiting: list[threading.Thread] = []
    for place, (process, words) in enumerate(made):
        say(place, process, words)
        if process:
            waiting.append(threading.Thread(target=wait, args=(place, process), daemon=True))
            waiting[-1].start()
    return own, waiting


def _serve(descriptor: int, copies: Sequence[threading.Thread]) -> None:
    from infra.remote.worker import Worker

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
    for copy in copies:  # they end as this one does, and no other process waits for them
        copy.join()
    os._exit(status)
