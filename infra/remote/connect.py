"""Open an SSH connection to a server, strictly: an unknown or changed host key is refused."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import Unreachable
from infra.model.target import Target

if TYPE_CHECKING:
    import fabric

SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
KEEPALIVE = 15
"""Seconds between SSH keep-alive packets on an idle connection."""


def connect(target: Target) -> fabric.Connection:
    """Log in to ``target``. Raises Unreachable with what to do about it."""
    import fabric
    import paramiko

    config = fabric.Config()
    kwargs: dict[str, Any] = {
        "banner_timeout": target.connect_timeout,
        "auth_timeout": target.connect_timeout,
    }
    if target.key is not None:
        # A key that was named is the only one tried: five others first would end in "too many failures".
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
        _strict(connection.gateway, target)  # a ProxyJump of ssh_config
    _strict(connection, target)
    try:
        connection.open()
    except paramiko.BadHostKeyException as error:
        raise Unreachable(
            f"{target.name}: the host key of {target.host} is not the one in known_hosts",
            f"It offered {error.key.get_name()} {fingerprint(error.key)}. Somebody may stand in between. "
            "If the server was rebuilt, replace its line in known_hosts.",
        ) from None
    except paramiko.AuthenticationException as error:
        raise Unreachable(
            f"{target.name}: {connection.user}@{target.host} did not let us in: {error}",
            "Check ssh.user and ssh.key, or load the key into the agent.",
        ) from None
    except paramiko.PasswordRequiredException:
        raise Unreachable(
            f"{target.name}: the key {target.key} is encrypted",
            "Load it into the agent: ssh-add, and leave ssh.key out.",
        ) from None
    except paramiko.SSHException as error:
        raise _refused(target, error) from None
    except TimeoutError:
        raise Unreachable(
            f"{target.name}: no answer from {target.host} within {target.connect_timeout} s",
            "Check that the server is up and that its address is right.",
        ) from None
    except (OSError, socket.gaierror, EOFError) as error:
        raise Unreachable(
            f"{target.name}: cannot reach {target.host}: {_reason(error)}",
            "Check that the server is up, its sshd runs, and its address is right.",
        ) from None
    transport = connection.transport
    if transport is not None:
        transport.set_keepalive(KEEPALIVE)
    return connection


def _strict(connection: fabric.Connection, target: Target) -> None:
    """Replace Fabric's trust in unknown hosts by known_hosts and a refusal."""
    import paramiko

    # What is wrong is said once, in our words; without a handler its log would end on stderr with a traceback.
    log = logging.getLogger("paramiko")
    log.addHandler(logging.NullHandler())
    log.propagate = False
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


def _refused(target: Target, error: Exception) -> Unreachable:
    text = str(error)
    if "not found in known_hosts" in text:
        file = target.known_hosts or "~/.ssh/known_hosts"
        port = "" if target.port in (None, 22) else f"-p {target.port} "
        return Unreachable(
            f"{target.name}: the host key of {target.host} is unknown, so it was refused",
            f"Compare its fingerprint with the server's own, then: ssh-keyscan {port}{target.host} >> {file}",
        )
    if "No authentication methods available" in text:
        return Unreachable(
            f"{target.name}: {target.host} did not let us in: there is no key to try",
            "Name one with ssh.key, or load it into the agent: ssh-add.",
        )
    return Unreachable(f"{target.name}: SSH with {target.host} failed: {text}", "Check the server's sshd.")


def _reason(error: BaseException) -> str:
    inner = getattr(error, "errors", None)  # paramiko's NoValidConnectionsError hides the real reason here
    if isinstance(inner, dict) and inner:
        error = next(iter(inner.values()))
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def fingerprint(key: Any) -> str:
    """A host key's fingerprint as ssh-keygen prints it: ``SHA256:...``."""
    import base64
    import hashlib

    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
