"""The SSH agent: which keys it holds, and signatures of them (draft-ietf-sshm-ssh-agent)."""

from __future__ import annotations

import socket
import struct
from types import TracebackType

_LIST, _LISTED, _SIGN, _SIGNED, _EXTENSION = 11, 12, 13, 14, 27
_LARGEST = 256 << 10
"""Bytes of an answer. OpenSSH's agent has the same limit."""

_PATIENCE = 5
"""Seconds for the list of keys."""

_TOUCH = 60
"""Seconds for a signature: the user may have to touch a security key, or to confirm."""

_RSA_FLAGS = {"rsa-sha2-256": 2, "rsa-sha2-512": 4}


class AgentError(Exception):
    """The agent cannot be reached, or refuses."""


class Agent:
    """A connection to the agent at ``path``."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_PATIENCE)
            self._socket.connect(path)
        except (OSError, ValueError) as error:
            self._socket.close()
            why = getattr(error, "strerror", None) or str(error)
            raise AgentError(f"the agent at {path}: {why[:1].lower()}{why[1:]}") from None

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def bind(self, host_key: bytes, session: bytes, signature: bytes) -> None:
        """Tell which connection this is, as OpenSSH does: keys may be for some hosts only (``ssh-add -h``). An agent
        that does not know this extension has no such keys."""
        message = bytes([_EXTENSION]) + b"".join(
            _packed(part) for part in (b"session-bind@openssh.com", host_key, session, signature)
        )
        self._ask(message + b"\0", _PATIENCE)

    def keys(self) -> list[tuple[bytes, str]]:
        """The public keys and certificates that the agent holds, and their comments."""
        kind, body = self._ask(bytes([_LIST]), _PATIENCE)
        if kind != _LISTED or len(body) < 4:
            raise AgentError("the agent does not list its keys")
        found, rest = [], body[4:]
        for _ in range(int.from_bytes(body[:4], "big")):
            blob, rest = _string(rest)
            comment, rest = _string(rest)
            found.append((blob, comment.decode(errors="replace")))
        return found

    def sign(self, blob: bytes, data: bytes, algorithm: str) -> bytes:
        """The agent's signature of ``data`` with the key ``blob``."""
        flags = _RSA_FLAGS.get(algorithm, 0)
        kind, body = self._ask(bytes([_SIGN]) + _packed(blob) + _packed(data) + struct.pack(">I", flags), _TOUCH)
        if kind != _SIGNED:
            raise AgentError("the agent refuses to sign with it")
        return _string(body)[0]

    def _ask(self, message: bytes, seconds: float) -> tuple[int, bytes]:
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(_packed(message))
            length = int.from_bytes(self._read(4), "big")
            if not 0 < length <= _LARGEST:
                raise AgentError("the agent sends an invalid answer")
            answer = self._read(length)
        except TimeoutError:
            raise AgentError(f"the agent does not answer within {seconds:.0f} s") from None
        except OSError as error:
            raise AgentError(f"the agent: {error.strerror or error}") from None
        return answer[0], answer[1:]

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            if not piece:
                raise AgentError("the agent closed the connection")
            data += piece
        return data


def _packed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _string(data: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 + length:
        raise AgentError("the agent sends an invalid answer")
    return data[4 : 4 + length], data[4 + length :]
