"""Reach the SSH port of a host: over TCP, or through a ProxyCommand, which ends with the connection."""

from __future__ import annotations

import atexit
import errno
import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from functools import cache
from typing import IO

from infra.remote.ssh_settings import Settings
from infra.remote.steady_socket import SteadySocket

NO_ANSWER = frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})
"""Errors of a server that does not answer at all. One that refuses a connection is up."""

SILENCE = frozenset(os.strerror(number).lower() for number in NO_ANSWER)

REFUSES = os.strerror(errno.ECONNREFUSED).lower()

OPEN_FILES = 65536
"""The limit of open files to have if the system allows it. A connection takes one, and many systems begin with 1024."""

FULL = frozenset({errno.EMFILE, errno.ENFILE})
"""Errors of a process, or a machine, that may open no more files."""

MORE_FILES = "raise the limit of open files of this machine, to one for each server and 100 more: see ulimit -Hn"

EXAMPLE = "192.0.2."
"""How the addresses begin that are in examples only (RFC 5737), as in the dyno.yaml that ``init`` writes."""

SPARE = 8
"""Files that are opened for a connection at most, such as by a ProxyCommand; most are closed at once."""

_GRACE = 1.0
"""Seconds that a ProxyCommand has to end."""


class DialFailed(Exception):
    """A host's port cannot be reached. ``silent``: nothing at its address answered."""

    def __init__(self, summary: str, hint: str, *, silent: bool = False) -> None:
        super().__init__(summary)
        self.summary, self.hint, self.silent = summary, hint, silent


@cache
def more_open_files() -> None:
    """Raise this process's limit of open files as far as the system allows it. (Windows has no such limit.)"""
    with suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


_checking = threading.Lock()


def refuse_without_files() -> None:
    """Raise OSError if this process cannot open the files that a connection takes. If that fails in the middle, the
    error may be another one: a user is unknown, as /etc/passwd cannot be opened."""
    held: list[int] = []
    with _checking:
        try:
            while len(held) < SPARE:
                held += os.pipe()
        finally:
            for file in held:
                os.close(file)


def is_full(error: BaseException) -> bool:
    """Whether an error is that no more files may be opened."""
    return isinstance(error, OSError) and error.errno in FULL


def dial(settings: Settings, seconds: float) -> socket.socket:
    """A connection to the host of ``settings``. Raises DialFailed."""
    if settings.proxy_command:
        return _through(settings.proxy_command)
    port = settings.port
    try:
        found = socket.getaddrinfo(settings.host, port, settings.address_family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        hint = MORE_FILES if is_full(error) else "check the host name, and that this machine can resolve it"
        raise DialFailed(_words(error), hint) from None
    failed: list[OSError] = []
    for family, kind, protocol, _, address in found:
        try:
            connection = SteadySocket(family, kind, protocol)
        except OSError as error:
            failed.append(error)
            continue
        try:
            connection.settimeout(seconds)
            if settings.bind_address:
                _bind(connection, settings.bind_address)
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            failed.append(error)
    # As OpenSSH, all addresses are tried. One that refuses is a server that is up.
    spoke = [error for error in failed if not _is_silent(error)]
    last = (spoke or failed)[-1]
    text = f"timed out after {seconds:.0f} s" if isinstance(last, TimeoutError) and not last.errno else _words(last)
    hint = "check that the server is up, that sshd runs on it, and that its address and port are correct"
    if settings.host.startswith(EXAMPLE):
        hint = f"{settings.host} is an example address: write the address of your server in dyno.yaml"
    raise DialFailed(text, MORE_FILES if is_full(last) else hint, silent=not spoke) from None


def _is_silent(error: OSError) -> bool:
    return isinstance(error, TimeoutError) or error.errno in NO_ANSWER


def _bind(connection: socket.socket, address: str) -> None:
    try:
        found = socket.getaddrinfo(address, 0, connection.family, socket.SOCK_STREAM)
        connection.bind(found[0][4])
    except (OSError, UnicodeError) as error:
        raise OSError(errno.EADDRNOTAVAIL, f"BindAddress {address} of ssh_config: {_words(error)}") from None


def _words(error: BaseException) -> str:
    text = str(getattr(error, "strerror", None) or error or type(error).__name__)
    return text[:1].lower() + text[1:]


class ProxySocket(SteadySocket):
    """Our end of a ProxyCommand."""

    process: subprocess.Popen[bytes]
    reader: threading.Thread
    said = b""
    """What the command printed to stderr at last."""

    def close(self) -> None:
        """End the connection and the command."""
        super().close()
        if self.process.poll() is None:
            threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        _signal(self.process, signal.SIGHUP)
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            _signal(self.process, signal.SIGKILL)
            self.process.wait()

    def read(self, errors: IO[bytes]) -> None:
        """Keep the end of ``errors``, so that the command never waits for us to read it."""
        with errors:
            while piece := errors.read1(4096):  # type: ignore[attr-defined]
                self.said = (self.said + piece)[-500:]

    def complaint(self) -> str:
        """What the command printed to stderr at last, and how it ended."""
        try:
            status = self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            status = None
        self.reader.join(_GRACE)
        lines = self.said.decode(errors="replace").strip().splitlines()
        said = f": {lines[-1]}" if lines else ""
        return f"{said} (exit status {status})" if status else said


def _through(command: str) -> ProxySocket:
    ours, theirs = socket.socketpair()
    shell = os.environ.get("SHELL") or "/bin/sh"
    end = theirs.fileno()
    try:
        # As OpenSSH: the user's shell runs it. In its own session it cannot ask on our terminal, and ends as a group.
        process = subprocess.Popen(  # noqa: S603 -- the user's own ssh_config
            [shell, "-c", f"exec {command}"], stdin=end, stdout=end, stderr=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        ours.close()
        hint = MORE_FILES if is_full(error) else "check the environment variable SHELL"
        raise DialFailed(f"ProxyCommand: {shell}: {_words(error)}", hint) from None
    finally:
        theirs.close()
    piped = ProxySocket(fileno=ours.detach())
    assert process.stderr is not None  # noqa: S101 -- a pipe
    piped.process = process
    piped.reader = threading.Thread(target=piped.read, args=(process.stderr,), daemon=True)
    piped.reader.start()
    atexit.register(_signal, process, signal.SIGHUP)
    return piped


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
