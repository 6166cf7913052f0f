"""SSH certificates: what they say, and whether one vouches for a server (OpenSSH's PROTOCOL.certkeys)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from infra.remote.known_hosts import matches

SUFFIX = "-cert-v01@openssh.com"
USER, _HOST = 1, 2
"""What a certificate is for."""

_FIELDS = {
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
} | {f"ecdsa-sha2-nistp{bits}": 2 for bits in (256, 384, 521)}
"""How many fields the public key of a type has."""

_FOREVER = (1 << 64) - 1


@dataclass(frozen=True)
class Certificate:
    """A certificate of a host's or a user's key."""

    key: bytes
    """The plain public key."""

    key_id: str
    kind: int
    principals: tuple[str, ...]
    after: int
    before: int
    critical: bytes
    authority: bytes
    """The public key that signed it."""

    signed: bytes
    signature: bytes

    def objection(self, host: str, algorithms: Sequence[str]) -> str:
        """Why the certificate does not vouch for ``host``, or "". ``algorithms`` are those that its signature may
        have; () for all."""
        now = time.time()
        if not self._signed_with(algorithms):
            return "its signature is invalid, or of a kind that is not accepted"
        if self.kind != _HOST:
            return "it is not the certificate of a host"
        if now < self.after:
            return f"it is not valid before {_date(self.after)}"
        if now >= self.before:
            return f"it expired on {_date(self.before)}"
        if self.critical:
            return "it has critical options, and none is supported"
        if self.principals and not any(matches(host.lower(), name) for name in self.principals):
            return f"it is for {', '.join(self.principals)[:200]}, not for {host}"
        return ""

    def _signed_with(self, algorithms: Sequence[str]) -> bool:
        import paramiko

        try:
            kind = paramiko.Message(self.authority).get_text()
            algorithm = paramiko.Message(self.signature).get_text()
            if algorithms and algorithm not in algorithms:
                return False
            key = paramiko.PKey.from_type_string(kind, self.authority)
            return bool(key.verify_ssh_sig(self.signed, paramiko.Message(self.signature)))
        except Exception:  # any of two libraries, for bytes that a server chose: not a valid signature
            return False


def _date(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(min(seconds, _FOREVER >> 1)))
    except (OverflowError, ValueError, OSError):
        return f"second {seconds}"


def parse(blob: bytes) -> Certificate | None:
    """The certificate in a public key; None for a plain key. Raises ValueError."""
    import paramiko

    message = paramiko.Message(blob)
    try:
        kind = message.get_text()
        if not kind.endswith(SUFFIX):
            return None
        plain = kind.removesuffix(SUFFIX) + ("@openssh.com" if kind.startswith("sk-") else "")
        message.get_binary()  # a nonce
        key = paramiko.Message()
        key.add_string(plain)
        for _ in range(_FIELDS[plain]):
            key.add_string(message.get_binary())
        message.get_int64()  # a serial number
        role, key_id, names = message.get_int(), message.get_binary(), paramiko.Message(message.get_binary())
        principals = []
        while names.get_remainder():
            principals.append(names.get_binary().decode("latin-1"))
        after, before, critical = message.get_int64(), message.get_int64(), message.get_binary()
        message.get_binary()  # extensions, which hosts do not have
        message.get_binary()  # reserved
        authority = message.get_binary()
        signed = message.get_so_far()
        return Certificate(
            key=key.asbytes(),
            key_id=key_id.decode(errors="replace"),
            kind=role,
            principals=tuple(principals),
            after=after,
            before=before,
            critical=critical,
            authority=authority,
            signed=signed,
            signature=message.get_binary(),
        )
    except Exception as error:  # paramiko's reader of messages raises whatever goes wrong in it
        raise ValueError(f"an invalid certificate: {type(error).__name__}") from None
