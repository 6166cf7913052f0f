"""The TCP listeners of a server, as /proc/net has them, and which of them prevent another one."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

LISTENER = re.compile(r" *[0-9]+: (?P<address>[0-9A-F]{8}|[0-9A-F]{32}):(?P<port>[0-9A-F]{4}) [0-9A-F:]+ 0A ")
"""The start of a line of /proc/net/tcp or tcp6 that is a listener."""

_ANY = "[0-9A-F]+"
_MAPPED = "0000000000000000FFFF0000"


def taken_by(host: str) -> list[str]:
    """Patterns for the addresses, as /proc/net has them, whose listeners prevent one on ``host`` with the same port:
    itself and all addresses, of IPv6 also for IPv4. If ``host`` is no address, or all of IPv6, every listener does."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return [_ANY]
    if address.version == 6:
        return [_ANY] if address.is_unspecified else [_text(address), "0" * 32]
    text = "[0-9A-F]{8}" if address.is_unspecified else _text(address)
    return [text, f"{_MAPPED}{text}", "0" * 8, "0" * 32]


def prevents(found: str, host: str) -> bool:
    """Whether a listener on ``found``, an address as /proc/net has it, prevents one on ``host``."""
    return any(re.fullmatch(pattern, found) for pattern in taken_by(host))


def readable(found: str) -> str:
    """An address as people write it, in brackets if it is one of IPv6."""
    packed = b"".join(bytes.fromhex(found[start : start + 8])[::-1] for start in range(0, len(found), 8))
    address = ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return f"[{address}]" if address.version == 6 and mapped is None else str(mapped or address)


def _text(address: IPv4Address | IPv6Address) -> str:
    words = [address.packed[start : start + 4] for start in range(0, len(address.packed), 4)]
    return "".join(f"{int.from_bytes(word, 'little'):08X}" for word in words)
