"""Open an SSH connection to a server; an unknown or changed host key is refused."""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import Unreachable
from infra.model.target import Target, host_port
from infra.remote import limits
from infra.remote.channel import notice_silence

if TYPE_CHECKING:
    import fabric

SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
_NO_ANSWER = frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})
"""Errors of a server that does not answer at all. One that refuses a connection is up."""

_SILENCE = frozenset(os.strerror(number).lower() for number in _NO_ANSWER)

_OPEN_FAILED = re.compile(r"open FAILED: (.*): [^:]*$")


def connect(target: Target) -> fabric.Connection:
    """Log in to ``target``. Raises Unreachable with the cause and a hint."""
    import fabric
    import paramiko

    for named in (target.key, target.known_hosts):
        if named is not None and named.exists() and not named.is_file():
            raise Unreachable(
                f"cannot connect to {target.name}: {named} is not a regular file", "check ssh in dyno.yaml"
            )
    config = fabric.Config()
    kwargs: dict[str, Any] = {
        "banner_timeout": target.connect_timeout,
        "auth_timeout": target.connect_timeout,
    }
    if target.key is not None:
        # Only the configured key is tried: with others first, sshd may stop with "too many authentication failures".
        kwargs |= {"key_filename": str(target.key), "look_for_keys": False, "allow_agent": False}
    gateway = None
    if target.gateway is not None:
        gateway = fabric.Connection(target.gateway, config=config, connect_timeout=target.connect_timeout)
        gateway.connect_kwargs.update(kwargs)
        _strict(gateway, target)
    connection = fabric.Connection(
        target.host,
        user=target.user,
        port=target.port,
        config=config,
        gateway=gateway,
        connect_timeout=target.connect_timeout,
        connect_kwargs=kwargs,
    )
    if isinstance(connection.gateway, fabric.Connection) and gateway is None:
        _strict(connection.gateway, target)  # from ProxyJump in ssh_config
    _strict(connection, target)
    failure = f"cannot connect to {target.name} ({_address(connection)})"
    through = _Gateway(connection)
    try:
        for hop in _hops(connection):
            through.opens(hop)
            hop.open()
            if hop.transport is not None:
                notice_silence(hop.transport)
                # A gateway that waits for the next host would otherwise be waited for as long as an hour.
                hop.transport.channel_timeout = target.connect_timeout
    except paramiko.BadHostKeyException as error:
        host = target.host if target.port in (None, 22) else f"[{target.host}]:{target.port}"
        file = f" -f {target.known_hosts}" if target.known_hosts else ""
        raise Unreachable(
            f"{failure}: host key verification failed: {error.key.get_name()} {fingerprint(error.key)} does not match "
            "known_hosts; the server was reinstalled, or the connection is intercepted",
            f"if the server was reinstalled: ssh-keygen -R '{host}'{file}",
        ) from None
    except paramiko.AuthenticationException as error:
        raise Unreachable(
            f"{failure}: authentication failed for user {connection.user}: {error}",
            "check ssh.user and ssh.key in dyno.yaml, or load the key into the agent: ssh-add",
        ) from None
    except paramiko.ChannelException as error:
        reason = through.reason() or str(error)
        raise Unreachable(
            f"{failure}: through {through.name}: {reason}",
            "check that the server is up, and that its address and port are correct as the gateway sees them",
            silent=not through.failed and reason in _SILENCE,
        ) from None
    except paramiko.PasswordRequiredException:
        raise Unreachable(
            f"{failure}: the key {target.key} is encrypted",
            "load the key into the agent with ssh-add, and remove ssh.key from dyno.yaml",
        ) from None
    except paramiko.SSHException as error:
        raise _refused(target, failure, error, behind=not through.failed) from None
    except TimeoutError:
        raise Unreachable(
            f"{failure}: {through.failed}timed out after {target.connect_timeout} s",
            "check that the server is up and that its address and port are correct",
            silent=not through.failed,
        ) from None
    except (OSError, socket.gaierror, EOFError) as error:
        raise Unreachable(
            f"{failure}: {through.failed}{_reason(error)}",
            "check that the server is up, that sshd runs on it, and that its address and port are correct",
            silent=not through.failed and _cause(error).errno in _NO_ANSWER,
        ) from None
    return connection


def _hops(connection: fabric.Connection) -> list[fabric.Connection]:
    """The gateways on the way, the first one first, and the connection itself."""
    import fabric

    via = connection.gateway
    return [*(_hops(via) if isinstance(via, fabric.Connection) else ()), connection]


def _strict(connection: fabric.Connection, target: Target) -> None:
    """Refuse hosts that are not in known_hosts, which Fabric trusts by default, and answers without a limit."""
    import paramiko

    # We report errors ourselves; without a handler paramiko would log them to stderr with a traceback.
    log = logging.getLogger("paramiko")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    connection.connect_kwargs["transport_factory"] = limits.transport()
    client = connection.client
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    if target.known_hosts is not None:
        client.load_host_keys(str(target.known_hosts))
        return
    listed = connection.ssh_config.get("userknownhostsfile")
    files = [Path(name).expanduser() for name in listed.split()] if listed else [Path.home() / ".ssh/known_hosts"]
    for path in (*files, SYSTEM_KNOWN_HOSTS):
        if path.is_file():
            client.load_system_host_keys(str(path))


def _refused(target: Target, failure: str, error: Exception, *, behind: bool) -> Unreachable:
    """The error of an SSH failure; ``behind`` any gateway, which is open."""
    text = str(error)[:300]  # it may quote what the server sent
    if "Timeout opening channel" in text:
        return Unreachable(
            f"{failure}: timed out after {target.connect_timeout} s",
            "check that the server is up and that the gateway can reach its address and port",
            silent=behind,
        )
    if "not found in known_hosts" in text:
        file = target.known_hosts or "~/.ssh/known_hosts"
        port = "" if target.port in (None, 22) else f"-p {target.port} "
        return Unreachable(
            f"{failure}: unknown host key: {target.host} is not in {file}",
            f"add it, and compare its fingerprint with the server's: ssh-keyscan {port}{target.host} >> {file}",
        )
    if "No authentication methods available" in text:
        return Unreachable(
            f"{failure}: authentication failed: no key available",
            "set ssh.key in dyno.yaml, or load a key into the agent: ssh-add",
        )
    return Unreachable(f"{failure}: SSH failed: {text}", "check sshd on the server: journalctl -u ssh")


def _address(connection: fabric.Connection) -> str:
    return host_port(connection.host, connection.port)


def _cause(error: BaseException) -> OSError:
    inner = getattr(error, "errors", None)  # paramiko's NoValidConnectionsError hides the real reason here
    if isinstance(inner, dict) and inner:
        error = next(iter(inner.values()))
    return error if isinstance(error, OSError) else OSError(None, str(error) or type(error).__name__)


def _reason(error: BaseException) -> str:
    cause = _cause(error)
    text: str = cause.strerror or str(cause) or type(cause).__name__
    return text[:1].lower() + text[1:]


class _Gateway:
    """The last gateway of a connection, if it has one: its failure says nothing about the server behind it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._last: Any = None
        self._messages: list[str] = []
        self.name = "the gateway"
        self.failed = ""
        """What an error begins with as long as a gateway is not open."""

    def opens(self, hop: Any) -> None:
        """Note that a connection is opened through those before it."""
        if self._last is not None:
            # sshd says why it cannot reach the next host, and paramiko tells only its log.
            log = logging.getLogger(f"paramiko.{id(self):x}")
            handler = logging.Handler()
            handler.emit = lambda record: self._messages.append(record.getMessage())  # type: ignore[method-assign]
            log.addHandler(handler)
            self._last.transport.set_log_channel(log.name)
        if hop is self._connection:
            self.failed = ""
        else:
            self._last, self.name = hop, f"the gateway {_address(hop)}"
            self.failed = f"{self.name}: "

    def reason(self) -> str:
        """Why the gateway could not reach the server, in its own words; "" if it did not say."""
        found = [match[1] for message in self._messages if (match := _OPEN_FAILED.search(message))]
        return found[-1][:1].lower() + found[-1][1:] if found else ""


def fingerprint(key: Any) -> str:
    """A host key's fingerprint as ssh-keygen prints it: ``SHA256:...``."""
    import base64
    import hashlib

    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
