"""The sandbox of every dyno: systemd settings that remove what a Ruby web process does not need."""

from __future__ import annotations

from infra.model import paths

SANDBOX: dict[str, str] = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "PrivateUsers": "yes",
    "PrivateIPC": "yes",
    "RemoveIPC": "yes",
    "ProtectProc": "invisible",
    "ProcSubset": "pid",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "LockPersonality": "yes",
    "SystemCallArchitectures": "native",
    # The second line subtracts from the first. Calls fail with EPERM instead of killing: Ruby tries some and copes.
    "SystemCallFilter": "@system-service\n~@privileged @resources",
    "SystemCallErrorNumber": "EPERM",
    "DevicePolicy": "closed",
    "KeyringMode": "private",
    # A private /dev/shm: the server's is writable by all users.
    "TemporaryFileSystem": "/dev/shm:rw,nosuid,nodev,noexec,size=64M,mode=1777",  # noqa: S108  # a tmpfs of its own
    "InaccessiblePaths": paths.HIDDEN,
    "UMask": "0077",
}
"""Directives of ``[Service]``, scored by ``systemd-analyze security``; see docs/explanation/security.md."""
