"""Open an SSH connection to a server as OpenSSH would; an unknown or changed host key is refused."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import Unreachable
from infra.model.target import Target, host_port
from infra.remote.bare_connection import bare
from infra.remote.busy import REFUSED, Dropped, patiently
from infra.remote.channel import notice_silence
from infra.remote.dial import (
    MORE_FILES,
    SILENCE,
    DialFailed,
    ProxySocket,
    dial,
    is_full,
    more_open_files,
    refuse_without_files,
)
from infra.remote.gateways import Gateways
from infra.remote.host_keys import HostKeyRejected, HostKeys
from infra.remote.login import Login, LoginRefused, transport
from infra.remote.ssh_config import ConfigError, route
from infra.remote.ssh_settings import Settings

if TYPE_CHECKING:
    import fabric

_PATIENCE = Target.connect_timeout


def connect(target: Target, config: Path | None = None) -> fabric.Connection:
    """Log in to ``target``, on the way that ssh_config has for it. ``config`` is the only ssh_config to read, as with
    ``ssh -F``. Raises Unreachable with the cause and a hint."""
    more_open_files()
    failure = f"cannot connect to {target.name} ({target.host})"
    try:
        for named in (target.key, target.known_hosts):
            if named is not None and _is_irregular(named):
                raise Unreachable(f"{failure}: {named} is not a regular file", "check ssh in dyno.yaml")
        refuse_without_files()
        hops = route(target, config)
        return _connected(target, hops)
    except Unreachable:
        raise
    except ConfigError as error:
        raise Unreachable(f"{failure}: {error.summary}", error.hint) from None
    except Exception as error:  # whatever a library or the system raises: nobody else knows what it means
        hint = MORE_FILES if is_full(error) else f"check that ssh can connect: ssh -v {target.host}"
        raise Unreachable(f"{failure}: {_text(error)}", hint) from None


def _is_irregular(file: Path) -> bool:
    """Whether a path of the manifest is something else than a file. Raises ConfigError if nobody can tell."""
    try:
        return file.exists() and not file.is_file()
    except OSError as error:
        raise ConfigError(f"{file}: {_text(error)}", "check ssh in dyno.yaml") from None


def _connected(target: Target, hops: tuple[Settings, ...]) -> fabric.Connection:
    # We report errors ourselves; without a handler paramiko would log them to stderr with a traceback.
    log = logging.getLogger("paramiko")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    return _way_to(target, hops, f"cannot connect to {target.name} ({host_port(hops[-1].host, hops[-1].port)})")


_gateways = Gateways()


def _way_to(target: Target, hops: tuple[Settings, ...], failure: str, *, own: bool = True) -> fabric.Connection:
    """A connection to the last of ``hops``, through the others. ``own``: it is the server's, not a gateway's."""
    hop, before = hops[-1], hops[:-1]
    seconds = _seconds(target, hop)
    via: fabric.Connection | None = None
    if before:
        gateway = f"the gateway {host_port(before[-1].host, before[-1].port)}"
        try:
            via = _gateways.get(before, partial(_way_to, target, before, gateway, own=False))
        except Unreachable as error:
            raise Unreachable(f"{failure}: {error.summary}", error.hint) from None
    try:
        # Everything waits for a gateway that starts again; a server that refuses is up, and rarely is about to listen.
        return patiently(partial(_open, hop, via, seconds, failure, own), seconds, REFUSED if own else seconds)
    except BaseException:
        if via is not None:
            _leave(via)
        raise


def _leave(gateway: fabric.Connection) -> None:
    """Close a gateway's connection, unless others use it."""
    if _gateways.release(gateway):
        close(gateway)


def close(connection: fabric.Connection | None) -> None:
    """Close a connection, and the gateways that only this one goes through."""
    if connection is None:
        return
    with suppress(Exception):  # a connection that is gone needs no word of it
        connection.transport.sock.shutdown(socket.SHUT_RDWR)  # its thread need not wait for its next look
    with suppress(Exception):
        connection.client.close()
    if connection.gateway is not None:  # a Connection is false if its configuration is empty
        _leave(connection.gateway)


def _seconds(target: Target, hop: Settings) -> int:
    """The limit of each wait: the manifest's, or that of ssh_config if the manifest has the default."""
    return hop.connect_timeout or _PATIENCE if target.connect_timeout == _PATIENCE else target.connect_timeout


def _open(hop: Settings, via: fabric.Connection | None, seconds: int, failure: str, own: bool) -> fabric.Connection:
    """Open one connection of the way, through ``via``. ``own``: it is the server's, not a gateway's."""
    keys = HostKeys(hop, direct=via is None and not hop.proxy_command)
    limits = dict.fromkeys(("banner_timeout", "auth_timeout", "channel_timeout"), seconds)
    connection = bare(hop.host, hop.user, hop.port, seconds, {"auth_strategy": Login(hop, seconds), **limits})
    # Without a key in the client's own store, every host key goes to the policy.
    connection.client.set_missing_host_key_policy(_policy(keys))
    login: Any = transport()
    with _translated(failure, hop, via, seconds, own) as reached:
        offered = keys.algorithms()
        sock = dial(hop, seconds) if via is None or hop.proxy_command else _tunnel(via, hop, seconds)
        reached.append(sock)
        connection.connect_kwargs.update(sock=sock, transport_factory=partial(login, offered=offered))
        try:
            connection.open()
            notice_silence(connection.transport)
        except BaseException:
            packets = getattr(connection.client.get_transport(), "packetizer", None)
            connection.client.close()
            sock.close()
            if getattr(packets, "dropped", False) and not isinstance(sock, ProxySocket):
                raise Dropped(failure, printable(str(getattr(packets, "greeting", "")))) from None
            raise
    connection.gateway = via
    return connection


def _one_more(text: str) -> str:
    """What to do about a server that has no algorithm of some kind in common with paramiko."""
    import paramiko

    offered = {
        "kex": ("KexAlgorithms", "preferred_kex"),
        "cipher": ("Ciphers", "preferred_ciphers"),
        "mac": ("MACs", "preferred_macs"),
    }
    for word, (setting, name) in offered.items():
        if word in text:
            known = [each for each in getattr(paramiko.Transport, f"_{name}") if "cbc" not in each]
            return f"allow one of these in {setting} of sshd_config on the server: {', '.join(known[:4])}"
    return "allow one more algorithm in sshd_config of the server, or in HostKeyAlgorithms of ssh_config"


def _policy(keys: HostKeys) -> Any:
    import paramiko

    class Check(paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
            keys.check(client.get_transport().sent_key)  # type: ignore[union-attr]

    return Check()


def _tunnel(via: fabric.Connection, hop: Settings, seconds: float) -> Any:
    """A connection to the host of ``hop`` from the gateway ``via``, which other servers use at the same time."""
    import paramiko

    try:
        return via.transport.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=seconds)
    except paramiko.SSHException:
        failure = via.transport.open_failure()
        if failure is None:
            raise
        raise paramiko.ChannelException(*failure) from None


def _answers(via: fabric.Connection, seconds: float) -> bool:
    """Whether a gateway still answers, if only that it opens no session. Nothing is known of the servers behind one
    that was cut off after its login."""
    try:
        via.transport.open_session(timeout=seconds).close()
    except Exception:  # whatever a library raises
        return via.transport.open_failure() is not None
    return True


@contextmanager
def _translated(
    failure: str, hop: Settings, via: fabric.Connection | None, seconds: int, own: bool
) -> Iterator[list[Any]]:
    """Turn every exception of the libraries and of the system into Unreachable. Yields a list for the socket, once
    there is one: from then on, something at the address has answered."""
    import paramiko

    reached: list[Any] = []
    try:
        yield reached
    except Dropped:
        raise
    except (HostKeyRejected, LoginRefused) as error:
        raise Unreachable(f"{failure}: {printable(error.summary)}", error.hint) from None
    except DialFailed as error:
        raise Unreachable(f"{failure}: {error.summary}", error.hint, silent=own and error.silent) from None
    except paramiko.ChannelException as error:
        text = printable(error.text[:1].lower() + error.text[1:]) or _text(error)
        through = f"through the gateway {host_port(via.host, via.port)}: " if via is not None else ""
        raise Unreachable(
            f"{failure}: {through}{text}",
            "check that the server is up, and that its address and port are correct as the gateway sees them",
            silent=own and text in SILENCE,
        ) from None
    except Exception as error:
        text = _text(error)
        late = isinstance(error, TimeoutError) or "Timeout opening channel" in text or "No existing session" in text
        proxy = next((sock for sock in reached if isinstance(sock, ProxySocket)), None)
        if proxy is not None:
            text = f"timed out after {seconds} s" if late else text
            raise Unreachable(
                f"{failure}: ProxyCommand of ssh_config: {text}{printable(proxy.complaint())}",
                f"run it by hand: {hop.proxy_command}",
            ) from None
        if text == "Error reading SSH protocol banner":
            raise Unreachable(
                f"{failure}: timed out after {seconds} s: it accepts connections, but sends no SSH version",
                "check that sshd listens on this port, and the load of the server",
            ) from None
        if late:
            raise Unreachable(
                f"{failure}: timed out after {seconds} s",
                "check that the server is up, and that its address and port are correct",
                silent=own and via is not None and not reached and _answers(via, seconds),
            ) from None
        if isinstance(error, OSError | EOFError):
            hint = "check that sshd runs on the server, and that its address and port are correct"
            raise Unreachable(f"{failure}: {text}", MORE_FILES if is_full(error) else hint) from None
        hint = "check sshd on the server: journalctl -u ssh"
        if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
            hint = _one_more(text)
        raise Unreachable(f"{failure}: SSH failed: {text}", hint) from None


def printable(text: str) -> str:
    """A text without control characters: a server may have sent it."""
    return "".join(character if character.isprintable() else " " for character in text).rstrip()


def _text(error: BaseException) -> str:
    """An exception in words: what a server sent may be in it."""
    try:
        text = str(getattr(error, "strerror", None) or error or "")[:300]
    except Exception:  # some exceptions of paramiko cannot be printed
        text = ""
    text = printable(text)
    if isinstance(error, EOFError) and not text:
        return "the server closed the connection"
    text = text.strip() or type(error).__name__
    return text[:1].lower() + text[1:] if isinstance(error, OSError) else text
