"""Runs dynoctl as a process of its own, forked from one that has imported it: a start costs milliseconds instead of
a third of a second.

It differs from the console script only in what the interpreter does before its first line. What depends on that, such
as streams that are closed or the encoding of file names, is tested on the console script."""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import infra
import providers
import schemas
import stacks

SCRIPT = Path(sys.executable).parent / "dynoctl"
"""The console script."""

DEADLINE = 120
"""Seconds after which a command that hangs is killed."""

_LARGEST = 2**17
"""Bytes of a request: most of them are the environment."""

_HERE = Path(__file__)

_MANIFEST = """\
version: 1
app: {name: shop, source: .}
rackup: config.ru
dynos: {web: 1}
servers: [{name: one, host: 127.0.0.1, port: 1}]
"""


class Dynoctl:
    """Close it when done."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [sys.executable, "-m", "tests.command", str(theirs.fileno())]
            self._server = subprocess.Popen(words, cwd=_HERE.parents[1], pass_fds=[theirs.fileno()])

    def __call__(
        self, *argv: str, cwd: Path, stdin: str = "", status: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command line, and return its exit code and what it printed. ``environment`` are variables besides those
        of the tests. What /proc/self/status says at the end is written to the file ``status``, if one is given."""
        request = [[str(SCRIPT), *argv], str(cwd), {**os.environ, **environment}, str(status or "")]
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(stdin.encode())
            given.seek(0)
            streams = [given.fileno(), out.fileno(), err.fileno()]
            socket.send_fds(self._requests, [json.dumps(request).encode()], streams)
            code = int(self._requests.recv(100))
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(request[0], code, out.read(), err.read())

    def text(self, *argv: str, cwd: Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """The same with what it printed as text."""
        done = self(*argv, cwd=cwd, stdin=stdin, **environment)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def close(self) -> None:
        self._requests.close()
        self._server.wait(DEADLINE)


def _serve(requests: socket.socket) -> str | None:
    """Fork a process for each request. Returns only in one of them, with the file for its status, or at the end."""
    while True:
        text, streams, _, _ = socket.recv_fds(requests, _LARGEST, 3)
        if not text:
            return None
        child = os.fork()
        if child == 0:
            requests.close()
            return _become(*json.loads(text), streams)
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(child, 0)
        requests.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(argv: list[str], cwd: str, environment: Mapping[str, str], status: str, streams: Sequence[int]) -> str:
    """Make this process what the interpreter makes of a new one."""
    signal.alarm(DEADLINE)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
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
