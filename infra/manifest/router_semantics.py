"""Checks of a router that a schema cannot express: existing servers, distinct ports, complete certificates."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest import addresses
from infra.manifest.document import Document
from infra.manifest.host_names import InvalidHost, ascii_form, link_local
from infra.manifest.suggestions import nearest


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Every error in ``router``, in servers without dynos, and in the addresses of dynos."""
    servers = [server for server in _list(data.get("servers")) if isinstance(server, dict)]
    if servers and all(server.get("dynos", True) is False for server in servers):
        yield document.diagnostic(
            ("servers", 0, "dynos"), "no server can run dynos", hint="remove dynos: false from at least one server"
        )
    yield from _link_local(document, servers)
    router = data.get("router")
    if not isinstance(router, dict):
        return
    names = [str(server.get("name")) for server in servers]
    hosts = {str(server.get("host")): str(server.get("name")) for server in servers}
    yield from _servers(document, router, names, hosts)
    yield from _reachable(document, router, servers)
    yield from _hosts(document, router)
    yield from _proxies(document, router)
    yield from _ports(document, router)
    yield from _tls(document, router)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _hosts(document: Document, router: Mapping[str, Any]) -> Iterator[Diagnostic]:
    known: dict[str, str] = {}
    for index, text in enumerate(_list(router.get("hosts"))):
        path = ("router", "hosts", index)
        if not isinstance(text, str):
            continue
        try:
            host = ascii_form(text)
        except InvalidHost as error:
            hint = "without router.hosts, the app gets every host name" if text == "*" else _plain(text)
            expected = "a host name without a port, such as shop.example.org or *.example.org"
            yield document.diagnostic(path, f"invalid host {text!a}: {error}", expected=expected, hint=hint)
            continue
        if host in known:
            same = "" if known[host] == text else f", which is {known[host]}"
            yield document.diagnostic(path, f"duplicate host {text}{same}", hint="remove the duplicate")
        known.setdefault(host, text)
        if host.startswith("*.") and isinstance(router.get("tls"), dict) and "acme" in router["tls"]:
            yield document.diagnostic(
                path,
                f"no certificate can be obtained for {text}",
                expected="a host name without *, or tls with certificate and key",
            )


def _plain(text: str) -> str:
    """What to write for a URL or an address with a port, or for a name with an underscore."""
    found = addresses.parts(text)
    try:
        name = "" if found is None else ascii_form(found.host.replace("_", "-"))
    except InvalidHost:
        return ""
    return f"use {name}" if name and name != text else ""


def _servers(
    document: Document, router: Mapping[str, Any], names: list[str], hosts: Mapping[str, str]
) -> Iterator[Diagnostic]:
    chosen = _list(router.get("servers"))
    for index, name in enumerate(chosen):
        path = ("router", "servers", index)
        if not isinstance(name, str):
            continue
        if name not in names:
            suggestion = hosts.get(name) or nearest(name, names)
            hint = (
                f"name each server: [{', '.join(names)}]"
                if name == "all" or "*" in name
                else f"did you mean {suggestion}?"
                if suggestion
                else f"add {name} to servers"
            )
            known = f"one of: {', '.join(names)}" if names else "a name in servers"
            yield document.diagnostic(path, f"unknown server {name}", expected=known, hint=hint)
        elif name in chosen[:index]:
            yield document.diagnostic(path, f"duplicate server {name}", hint="remove the duplicate")


def _link_local(document: Document, servers: list[dict[str, Any]]) -> Iterator[Diagnostic]:
    for index, server in enumerate(servers):
        key = "listen" if "listen" in server else "host"
        if server.get("dynos", True) is not False and link_local(str(server.get(key))):
            yield document.diagnostic(
                ("servers", index, key),
                f"dynos cannot listen on {server[key]}, a link-local address",
                expected="another address of the server" if key == "listen" else "listen with another of its addresses",
            )


def _reachable(document: Document, router: Mapping[str, Any], servers: list[dict[str, Any]]) -> Iterator[Diagnostic]:
    routers = {str(name) for name in _list(router.get("servers"))}
    for index, server in enumerate(servers):
        try:
            listen = ipaddress.ip_address(server["listen"])
        except (KeyError, ValueError):
            continue
        elsewhere = routers - {str(server.get("name"))}
        if server.get("dynos", True) is False or not (listen.is_unspecified or (listen.is_loopback and elsewhere)):
            continue
        yield document.diagnostic(
            ("servers", index, "listen"),
            f"the router cannot reach dynos on {listen} from {min(elsewhere or routers)}",
            expected="an address that the routers can reach, or no listen",
        )


def _proxies(document: Document, router: Mapping[str, Any]) -> Iterator[Diagnostic]:
    for index, text in enumerate(_list(router.get("trusted_proxies"))):
        if not isinstance(text, str):
            continue
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            yield document.diagnostic(
                ("router", "trusted_proxies", index),
                f"invalid network {text!r}: {error}",
                expected="an address or a network, such as 10.0.0.0/8",
            )
            continue
        if network.prefixlen == 0:
            yield document.diagnostic(
                ("router", "trusted_proxies", index),
                f"{text} trusts every client",
                expected="the networks of the load balancers",
            )


def _ports(document: Document, router: Mapping[str, Any]) -> Iterator[Diagnostic]:
    listen = router.get("listen", 80)
    if not isinstance(listen, dict):
        listen = {"http": listen}
    if "https" in listen and "tls" not in router:
        yield document.diagnostic(
            ("router", "listen", "https"),
            "HTTPS requires a certificate",
            key=True,
            expected="router.tls with certificate and key, or with acme",
        )
    if ("tls" in router or "https" in listen) and listen.get("http", 80) == listen.get("https", 443):
        yield document.diagnostic(
            ("router", "listen"),
            "http and https cannot use the same port",
            expected="different ports, such as 80 and 443",
        )


def _tls(document: Document, router: Mapping[str, Any]) -> Iterator[Diagnostic]:
    tls = router.get("tls")
    if not isinstance(tls, dict):
        return
    if "acme" in tls:
        if router.get("kind") != "caddy":
            yield document.diagnostic(
                ("router", "tls", "acme"),
                f"{router.get('kind')} does not support acme",
                key=True,
                expected="certificate and key, or kind: caddy",
            )
        if "certificate" in tls or "key" in tls:
            yield document.diagnostic(
                ("router", "tls", "acme"),
                "acme cannot be combined with certificate and key",
                key=True,
                hint="remove acme, or certificate and key",
            )
        if not router.get("hosts"):
            yield document.diagnostic(
                ("router", "tls", "acme"),
                "acme requires host names",
                key=True,
                expected="at least one host name in router.hosts",
            )
    elif ("certificate" in tls) != ("key" in tls):
        missing = "key" if "certificate" in tls else "certificate"
        yield document.diagnostic(
            ("router", "tls"), f"missing key {missing!r} in router/tls", expected="certificate and key"
        )
