"""Host names of a router: wildcards, and IDNA as clients encode it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.manifest import check, read
from infra.manifest.host_names import InvalidHost, ascii_form
from infra.manifest.model import Router as RouterConfig
from infra.model import routing
from infra.model.routing import Route
from providers.routers import haproxy
from providers.routers.contract import Site
from tests.unit.test_values import manifest


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("shop.example.org", "shop.example.org"),
        ("Shop.Example.ORG", "shop.example.org"),
        ("localhost", "localhost"),
        ("a-b.c1.example", "a-b.c1.example"),
        ("10.0.0.1", "10.0.0.1"),
        ("*.example.org", "*.example.org"),
        ("*.test", "*.test"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("日本語.jp", "xn--wgv71a119e.jp"),
        ("пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f"),
        ("x" * 63 + ".example", "x" * 63 + ".example"),
    ],
)
def test_the_form_that_clients_ask_for(text: str, host: str) -> None:
    assert ascii_form(text) == host
    assert ascii_form(host) == host


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("*", "first label only"),
        ("*.", "it is empty"),
        ("a.*.org", "first label only"),
        ("*a.example", "first label only"),
        ("*.*.example", "first label only"),
        ("shop.example.org.", "a label is empty"),
        (".example", "a label is empty"),
        ("a..b", "a label is empty"),
        ("shop.example.org:80", "has a character other than"),
        ("http://shop", "has a character other than"),
        ("a b.example", "has a character other than"),
        ("a_b.example", "has a character other than"),
        ("-a.example", "starts or ends with -"),
        ("a-.example", "starts or ends with -"),
        ("ab--c.example", "third and fourth"),
        ("a\nb.example", "has a character other than"),
        ("{a}.example", "has a character other than"),
        ("x" * 64 + ".example", "a label has 64 characters"),
        (".".join(["x" * 60] * 5), "it has 304 characters"),
        ("xn--a.example", "not valid punycode"),
        ("xn--.example", "not valid punycode"),
        ("xn--abc-.example", "not valid punycode"),
        ("straße.example", r"clients encode U\+00DF in different ways"),
        ("\u2603.example", r"U\+2603 is not allowed"),
        ("a\u3002b", r"U\+3002 is not allowed"),
        ("\u202eabc.example", r"U\+202E is not allowed"),
        ("\u0301a.example", "starts with a combining mark"),
        ("\U0001f680.example", r"U\+1F680 is not allowed"),
        ("ü" * 60 + ".example", "a label has"),
    ],
)
def test_what_is_no_host_name(text: str, why: str) -> None:
    with pytest.raises(InvalidHost, match=why):
        ascii_form(text)


def test_a_manifest_names_each_invalid_host(tmp_path: Path) -> None:
    hosts = ["bücher.example", "xn--bcher-kva.example", "*", "shop.example.org:80", "*.example.org"]
    router = {"kind": "caddy", "servers": ["grid-1"], "hosts": hosts, "tls": {"acme": "a@example.org"}}
    found = [(one.path, one.summary) for one in check(manifest(tmp_path, router=router))[1]]
    assert found == [
        ("router/hosts/1", "duplicate host xn--bcher-kva.example, which is bücher.example"),
        ("router/hosts/2", "invalid host '*': * is allowed as the whole first label only"),
        (
            "router/hosts/3",
            "invalid host 'shop.example.org:80': org:80 has a character other than a-z, 0-9 and -, "
            "or starts or ends with -",
        ),
        ("router/hosts/4", "no certificate can be obtained for *.example.org"),
    ]
    router = {"kind": "nginx", "servers": ["grid-1"], "hosts": ["bücher.example", "*.Example.org"]}
    model = read(manifest(tmp_path, router=router))
    assert model.router is not None and model.router.hosts == ("xn--bcher-kva.example", "*.example.org")


def test_an_exact_name_and_a_wildcard_of_two_apps_are_no_conflict() -> None:
    ours = RouterConfig("nginx", ("grid-1",), ("*.example.org", "xn--bcher-kva.example"))

    def conflicts(*hosts: str) -> list[str]:
        other = Route("blog", "nginx", hosts, {80: "plain"})
        return [found.summary for found in routing.conflicts("shop", ours, {"grid-1": ((other,), frozenset({80}))})]

    assert conflicts("shop.example.org", "*.a.example.org") == []
    assert conflicts("*.example.org") == ["grid-1: already routed to blog: *.example.org"]
    assert conflicts("xn--bcher-kva.example") == ["grid-1: already routed to blog: xn--bcher-kva.example"]


def test_haproxy_asks_for_wildcards_after_all_exact_names(tmp_path: Path) -> None:
    lines = ""
    for app, hosts in (("a", ("*.example.org", "*.b.example.org")), ("b", ("x.example.org",)), ("c", ())):
        lines += Site(app, hosts, 80, 0, "", 30, ()).frontends()
    (tmp_path / "frontends").write_text(lines)
    script = f"sites() {{ :; }}\n{haproxy.KIND.assemble}"
    text = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    chosen = [line.strip() for line in text.splitlines() if "backend" in line]
    assert chosen == [
        "use_backend dynoctl-b if { req.hdr(host),field(1,:),lower -m str x.example.org }",
        r"use_backend dynoctl-a if { req.hdr(host),field(1,:),lower -m reg ^[^.]+\.example\.org$ }",
        r"use_backend dynoctl-a if { req.hdr(host),field(1,:),lower -m reg ^[^.]+\.b\.example\.org$ }",
        "default_backend dynoctl-c",
    ]
