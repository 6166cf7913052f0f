"""A socket listens if the kernel says so; for systemd, one that its process has shut down is active for ever."""

from __future__ import annotations

import pytest

from infra.model.provider import Scope
from infra.model.resource import Found
from providers import ini, listeners, socket
from providers.socket import Socket

LISTENING = "   0: {address}:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0"
V6 = "000080FE000000000000000001000000"


def seen(listen: str, *sockets: str, active: str = "active") -> Found:
    name = "dyno-shop-web-1.socket"
    text = ini.render(socket.settings("shop", "web.1", listen, 5000)).splitlines()
    lines = [f"file {name}", name, *(f"={line}" for line in text)]
    lines += [f"Id={name}", f"ActiveState={active}", "UnitFileState=enabled", "", *sockets]
    return Socket().parse(Scope("shop", ""), "\n".join(lines))["shop-web.1"]


@pytest.mark.parametrize(
    ("listen", "address"),
    [("10.0.0.11", "0B00000A"), ("0.0.0.0", "00000000"), ("fe80::1", V6), ("::", "0" * 32)],  # noqa: S104  # a value
)
def test_a_socket_listens_where_it_should(listen: str, address: str) -> None:
    here = LISTENING.format(address=address, port=5000)
    assert seen(listen, here) == Found(socket.desired("shop", "web.1", listen, 5000))
    for other in ((), (LISTENING.format(address=address, port=5001),), (here.replace(" 0A ", " 01 "),)):
        assert seen(listen, *other).attributes["state"] == "not listening"
    assert seen("10.0.0.12", LISTENING.format(address="0B00000A", port=5000)).attributes["state"] == "not listening"


def test_by_itself_or_by_hand() -> None:
    assert Socket().spontaneous(seen("10.0.0.11").attributes) == ("state",)
    assert Socket().spontaneous(seen("10.0.0.11", active="failed").attributes) == ("state",)
    stopped = seen("10.0.0.11", active="inactive").attributes
    assert (stopped["state"], Socket().spontaneous(stopped)) == ("stopped", ())


def test_what_is_no_listener_is_ignored() -> None:
    here = LISTENING.format(address="0B00000A", port=1)
    assert listeners.parse(f"\ndrop-in set /x\nId=a\n=\n{here}\nx {here}\n") == {("0B00000A", 1): 0}
