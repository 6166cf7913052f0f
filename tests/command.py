"""Runs dynoctl as a process of its own, forked from one that has imported it: a start costs milliseconds instead of
a third of a second.

It differs from the console script only in what the interpreter does before its first line. What depends on that, such
as streams that are closed or the encoding of file names, is tested on the console script."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import infra
import providers
import schemas
import stacks

SCRIPT = Path(sys.executable).parent / "dynoctl"
"""The console script."""

DEADLINE = 120
"""Seconds after which a command that hangs is killed."""

_HERE = Path(__file__)

_MANIFEST = """\
version: 1
app: {name: shop, source: .}
rackup: config.ru
dynos: {web: 1}
servers: [{name: one, host: 127.0.0.1, port: 1}]
"""


class Dynoctl:
    """Threads may share it: commands run side by side. Close it when done."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [sys.executable, "-m", "tests.command", str(theirs.fileno())]
            self._server = subprocess.Popen(words, cwd=_HERE.parents[1], pass_fds=[theirs.fileno()])
        self._one_at_a_time = threading.Lock()

    def __call__(
        self,
        *argv: str,
        cwd: Path,
        stdin: str = "",
        status: Path | None = None,
        deadline: int = DEADLINE,
        **environment: str,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command line, and return its exit code and what it printed. ``environment`` are variables besides those
        of the tests. What /proc/self/status says at the end is written to the file ``status``, if one is given."""
        request = [[str(SCRIPT), *argv], str(cwd), {**os.environ, **environment}, str(status or ""), deadline]
        answer, theirs = socket.socketpair()
        with answer, tempfile.TemporaryFile() as text, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            text.write(json.dumps(request).encode())
            text.seek(0)
            read, write = os.pipe()
            with theirs, os.fdopen(read, "rb") as given:
                streams = [given.fileno(), out.fileno(), err.fileno(), text.fileno(), theirs.fileno()]
                with self._one_at_a_time:
                    socket.send_fds(self._requests, [b"run"], streams)
            # A command need not read what it is given.
            with contextlib.suppress(BrokenPipeError), os.fdopen(write, "wb") as pipe:
                pipe.write(stdin.encode())
            code = int(answer.recv(100))
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(request[0], code, out.read(), err.read())

    def text(
        self, *argv: str, cwd: Path, stdin: str = "", deadline: int = DEADLINE, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """The same with what it printed as text."""
        done = self(*argv, cwd=cwd, stdin=stdin, deadline=deadline, **environment)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def close(self) -> None:
        self._requests.close()
        self._server.wait(DEADLINE)


@cache
def shared() -> Dynoctl:
    """One for all tests of this process. It ends with it."""
    command = Dynoctl()
    atexit.register(command.close)
    return command


def _serve(requests: socket.socket) -> str | None:
    """Fork a process for each request. Returns only in one of them, with the file for its status, or at the end."""
    running = selectors.DefaultSelector()
    running.register(requests, selectors.EVENT_READ)
    while True:
        for key, _ in running.select():
            if key.fileobj is not requests:
                running.unregister(key.fileobj)
                _answer(*key.data)
                os.close(key.fd)
                continue
            message, streams, _, _ = socket.recv_fds(requests, 10, 5)
            if not message:
                return None
            child = os.fork()
            if child == 0:
                for inherited in list(running.get_map().values()):
                    if inherited.fileobj is not requests:
                        inherited.data[1].close()
                        os.close(inherited.fd)
                running.close()
                requests.close()
                os.close(streams.pop())
                with os.fdopen(streams.pop(), "rb") as text:
                    return _become(*json.load(text), streams)
            for stream in streams[:4]:
                os.close(stream)
            running.register(os.pidfd_open(child), selectors.EVENT_READ, (child, socket.socket(fileno=streams[4])))


def _answer(child: int, answer: socket.socket) -> None:
    _, status = os.waitpid(child, 0)
    with answer, contextlib.suppress(BrokenPipeError):
        answer.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(
    argv: list[str], cwd: str, environment: Mapping[str, str], status: str, deadline: int, streams: Sequence[int]
) -> str:
    """Make this process what the interpreter makes of a new one."""
    signal.alarm(deadline)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # it depends on the environment
    encoding, _, errors = environment.get("PYTHONIOENCODING", "").partition(":")
    sys.stdin, sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            open(number, "rb" if number == 0 else "wb", closefd=False),  # noqa: SIM115  # until the end
            encoding or "utf-8",
            "backslashreplace" if number == 2 else errors or "strict",
            line_buffering=number == 2,
        )
        for number in range(3)
    )
    sys.argv = argv
    return status


def _warm_up() -> None:
    """Import everything, and do once what a process does only the first time."""
    for package in (infra, providers, schemas, stacks):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    from infra.cli.app import run

    with tempfile.TemporaryDirectory() as directory, Path(os.devnull).open("w") as nowhere:
        (Path(directory) / "config.ru").write_text("")
        (Path(directory) / "dyno.yaml").write_text(_MANIFEST)
        with contextlib.chdir(directory), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            run(["plan"])


def main() -> int:
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        _warm_up()
        gc.freeze()  # nothing of that is garbage, so that no process looks for it
        status = _serve(requests)
    if status is None:
        return 0
    from infra.cli.app import run

    code = run(sys.argv[1:])
    if status:
        with contextlib.suppress(OSError):
            Path(status).write_text(Path("/proc/self/status").read_text())
    return code


if __name__ == "__main__":
    sys.exit(main())
