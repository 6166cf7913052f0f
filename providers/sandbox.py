"""What systemd takes away from a dyno: everything that a Ruby web process does not need."""

from __future__ import annotations

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
    # The second line subtracts from the first. EPERM, not a kill: Ruby asks for some of these and lives without.
    "SystemCallFilter": "@system-service\n~@privileged @resources",
    "SystemCallErrorNumber": "EPERM",
    "DevicePolicy": "closed",
    "KeyringMode": "private",
    # Every dyno has its own /dev/shm; otherwise it is a place that all users of the server may write to.
    "TemporaryFileSystem": "/dev/shm:rw,nosuid,nodev,noexec,size=64M,mode=1777",  # noqa: S108  # a tmpfs of its own
    # The state of all apps, their env files and their slugs are root's alone already; here they are not even names.
    "InaccessiblePaths": "-/var/lib/dynoctl -/etc/dyno -/run/dynoctl",
    "UMask": "0077",
}
"""Directives of ``[Service]``, scored by ``systemd-analyze security``; see docs/explanation/security.md."""
