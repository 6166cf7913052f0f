"""The TCP sockets of a server that listen, and how many connections wait in each, from /proc/net."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.model import answer

LIST = "grep -hs ' 0A ' /proc/net/tcp /proc/net/tcp6\n"
"""Shell code that prints what ``parse`` reads."""

# For systemd, a socket that a dyno has shut down is active for ever. A dyno can also set an option with which the
# kernel drops all packets, such as IP_MINTTL. If nothing waits in a socket, the kernel alone makes a connection: one
# that times out means such an option. If something waits, the queue may be full.
LISTENS = """\
listens() {
  systemctl is-active -q "$1.socket" || return
  place=$(systemctl show -p Listen --value "$1.socket") && place=${place%% (Stream)*} && port=${place##*:}
  found=$(grep -hsE "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$port") [0-9A-F]+:[0-9A-F]+ 0A " /proc/net/tcp /proc/net/tcp6)
  case $found in '') return 1 ;; *' 0A 00000000:00000000 '*) ;; *) return 0 ;; esac
  host=${place%:*}; host=${host#\\[}; host=${host%]}
  timeout 3 bash -c ': < "/dev/tcp/$0/$1"' "$host" "$port" 2>/dev/null
  [ $? -ne 124 ]
}
"""
"""A shell function that fails if a dyno's socket, given without ``.socket``, does not listen or drops all packets."""

_SOCKET = re.compile(r"^ *\d+: ([0-9A-F]+):([0-9A-F]{4}) [0-9A-F:]+ 0A [0-9A-F]{8}:([0-9A-F]{8}) ", re.MULTILINE)

Listeners = Mapping[tuple[str, int], int]
"""The number of waiting connections by address (as ``address`` returns it) and port."""


def parse(output: str) -> Listeners:
    """The listeners in these lines. Other lines are ignored."""
    return {
        (address if len(address) == 8 else "6", int(port, 16)): int(waiting, 16)
        for address, port, waiting in _SOCKET.findall(output)
    }


def address(text: str) -> str:
    """An IPv4 address as in /proc/net/tcp; every IPv6 address is ``6``."""
    parts = text.split(".")
    numbers = [number for part in parts if (number := answer.digits(part)) is not None and number < 256]
    if len(parts) != 4 or len(numbers) != 4:
        return "6"
    return "".join(f"{number:02X}" for number in reversed(numbers))
