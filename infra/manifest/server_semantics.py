"""Checks of servers that a schema cannot express: distinct names and hosts, addresses, groups that exist."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest import addresses
from infra.manifest.document import Document, Path, list_of, map_of
from infra.manifest.suggestions import nearest


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Every error in the names, addresses and groups of ``servers``."""
    groups = map_of(data.get("groups"))
    names: dict[str, int] = {}
    hosts: dict[tuple[str, int], int] = {}
    for index, server in enumerate(list_of(data.get("servers"))):
        server = map_of(server)
        path: Path = ("servers", index)
        name, host, port = server.get("name"), server.get("host"), server.get("port", 22)
        if isinstance(name, str) and names.setdefault(name, index) != index:
            yield document.diagnostic(
                (*path, "name"),
                f"duplicate server name {name}",
                hint=f"rename it: servers/{names[name]} has the same name",
            )
        if isinstance(host, str) and isinstance(port, int) and hosts.setdefault((host, port), index) != index:
            yield document.diagnostic(
                (*path, "host"),
                f"duplicate host {host}",
                hint=f"remove it: servers/{hosts[(host, port)]} has the same host and port",
            )
        for number, group in enumerate(list_of(server.get("groups"))):
            if isinstance(group, str) and group not in groups:
                suggestion = nearest(group, [*groups])
                yield document.diagnostic(
                    (*path, "groups", number),
                    f"unknown group {group}",
                    hint=f"did you mean {suggestion}?" if suggestion else f"add {group} to groups",
                )
        if isinstance(host, str) and addresses.is_no_ipv4(host):
            yield document.diagnostic(
                (*path, "host"), f"invalid value for host: {host!r}", expected="an IPv4 address, such as 10.0.0.11"
            )
        listen = server.get("listen")
        if isinstance(listen, str) and listen and not _is_address(listen):
            yield document.diagnostic(
                (*path, "listen"),
                f"invalid value for listen: {listen!r}",
                expected="an IP address of the server, such as 10.0.0.11",
                hint="leave it out: the default is the address by which the server is reached",
            )


def _is_address(text: str) -> bool:
    if not text.isprintable():
        return False  # ipaddress accepts any text after the % of an IPv6 address
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
