"""Routers without servers: what is written for them, what is read back, what stands in their way."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DynoctlError
from infra.manifest.model import Router as RouterConfig
from infra.model import routing
from infra.model.provider import Dyno, Scope
from infra.model.resource import Action, Change, Found, Resource, fingerprint
from infra.model.routing import Route
from infra.model.target import host_port
from infra.ops import maintenance
from infra.plan.formation import _unreachable
from infra.sensitive import Sensitive
from providers import router
from providers.router import Router
from providers.routers import KINDS, assembly, haproxy
from providers.routers.contract import Site

GOLDEN = Path(__file__).parents[1] / "golden/routers"
DYNOS = [Dyno("web.1", "grid-1", "10.0.0.11", 5000), Dyno("web.2", "grid-2", "fd00::12", 5000)]
CONFIG = RouterConfig("nginx", ("grid-1",), ("shop.example.org",))
TLS = {"certificate": Sensitive("CERT\n"), "key": Sensitive("POISON-KEY")}
SCOPE = Scope("shop", "salt")


def site(**changes: Any) -> Site:
    upstreams = tuple((dyno.name, host_port(dyno.listen, dyno.port)) for dyno in DYNOS)
    plain = Site("shop", ("shop.example.org", "www.example.org"), 80, 443, "", 30, upstreams)
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("kind", "name"),
    [*((kind, name) for kind in KINDS for name in ("tls", "plain", "proxies", "nobody")), ("caddy", "acme")],
)
def test_the_text_for_a_site(kind: str, name: str) -> None:
    """As it is written; read the diff, for it is what answers the world."""
    one = {
        "tls": site(),
        "plain": site(hosts=(), https=0, http=8080),
        "proxies": site(app="shop-b", https=0, timeout=1, proxies=("10.0.0.0/8", "2001:db8::7/128")),
        "nobody": site(upstreams=(), https=0),
        "acme": site(acme="ops@example.org"),
    }[name]
    text = f"{one.frontends()}\n{KINDS[kind].open(one)}\n{KINDS[kind].closed(one)}"
    golden = GOLDEN / f"{kind}-{name}.txt"
    if os.environ.get("DYNOCTL_GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_the_unit(kind: str) -> None:
    text = assembly.unit(KINDS[kind])
    for line in ("User=dynoctl-router", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "ProtectSystem=strict"):
        assert f"\n{line}\n" in text


def resource(config: RouterConfig = CONFIG, tls: Any = None) -> Resource:
    return router.desired("grid-1", "shop", config, DYNOS, tls or {})


def files(change: Change) -> dict[str, str]:
    """What the steps bring to the server, by name."""
    commands = Router().steps(SCOPE, change)
    brought = [command for command in commands if command.stdin is not None]
    return {one.argv[4].rpartition("/")[2]: (one.stdin or b"").decode() for one in brought}


def observed(wanted: Resource, **more: str) -> Any:
    """What the server says where all of it has come to be."""
    import hashlib

    brought = files(Change(wanted, Action.CREATE, None, wanted.attributes))
    order = ("mark.json", "open", "closed", "frontends", "base", "unit")
    config = hashlib.sha256("".join(brought[name] for name in order).encode()).hexdigest()
    said = {"mark": brought["mark.json"].strip(), "config": config, "salt": "pepper", "state": "running"}
    for name, file in (("certificate", "tls.crt"), ("key", "tls.key")):
        if file in brought:
            said[name] = fingerprint("pepper", brought[file])
    return (
        Router().parse(SCOPE, "".join(f"{word} {text}\n" for word, text in {**said, **more}.items()))["shop"].attributes
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tls", [{}, TLS])
def test_what_was_written_is_what_is_read(kind: str, tls: Any) -> None:
    wanted = resource(replace(CONFIG, kind=kind), tls)
    change = Change(wanted, Action.UPDATE, observed(wanted), wanted.attributes)
    assert change.differing() == ()
    edited = Change(wanted, Action.UPDATE, observed(wanted, state="edited", config="other"), wanted.attributes)
    assert edited.differing() == ("config", "state")


def test_a_new_key_is_a_change_and_no_secret_is_told() -> None:
    wanted = resource(tls=TLS)
    found = observed(resource(tls={**TLS, "key": Sensitive("ANOTHER")}))
    change = Change(wanted, Action.UPDATE, found, wanted.attributes)
    assert change.differing() == ("key",)
    brought = Router().steps(SCOPE, change)
    keys = [one for one in brought if b"POISON" in (one.stdin or b"")]
    assert [key.secret for key in keys] == [True]
    assert not any("POISON" in word for one in brought for word in one.argv)
    assert "POISON" not in repr(brought) + repr(change) + json.dumps(Router().recorded(wanted.attributes, "salt"))


def test_damage_is_made_anew_and_absence_is_absence() -> None:
    assert Router().parse(SCOPE, "mark {\nstate running\n") == {"shop": Found({"state": "damaged"})}
    emptied = Router().parse(SCOPE, "mark \nkind haproxy\nstate edited\n")
    assert emptied == {"shop": Found({"state": "damaged", "kind": "haproxy"})}, "its router is removed as what it is"
    assert Router().parse(SCOPE, "leftover\n")["shop"].damaged
    assert Router().parse(SCOPE, "") == {}


def test_it_leads_to_dynos_as_they_came_out() -> None:
    wanted = resource()
    change = Change(
        wanted, "update", {"upstreams": {"web.1": "10.0.0.11:5000", "web.9": "10.0.0.9:1"}}, wanted.attributes
    )
    assert Router().upstreams(change) == {"web.1": "10.0.0.11:5000", "web.9": "10.0.0.9:1"}
    moved = Router().among(change, {"web.2": None, "web.9": "10.0.0.9:1"})
    assert moved.after is not None
    assert moved.after["upstreams"] == {"web.1": "10.0.0.11:5000", "web.9": "10.0.0.9:1"}
    assert moved.after["config"] != wanted.attributes["config"]
    assert "[fd00::12]:5000" not in files(moved)["open"]


def mark(config: RouterConfig, app: str = "shop", state: str = "open") -> Route:
    change = Change(resource(config), Action.CREATE, None, resource(config).attributes)
    text = json.loads(files(change)["mark.json"]) | {"app": app}
    found = routing.read(f"noise\nrouter {state} {json.dumps(text)}\nrouter open {{broken\n")
    assert len(found) == 1
    return found[0]


def test_marks() -> None:
    one = mark(CONFIG, state="closed")
    assert (one.kind, one.hosts, one.ports, one.closed) == ("nginx", ("shop.example.org",), {80: "plain"}, True)
    assert one.upstreams == {"web.1": "10.0.0.11:5000", "web.2": "[fd00::12]:5000"}
    assert [routing.split(text) for text in (*one.upstreams.values(), "x; y:1")] == [
        ("10.0.0.11", 5000),
        ("fd00::12", 5000),
        None,
    ]
    assert one.lasting() == mark(CONFIG).lasting(), "maintenance makes no plan stale"
    assert routing.closed("shop", {"grid-1": (one,), "grid-2": (mark(CONFIG),)}) == ["grid-1"]
    assert routing.closed("blog", {"grid-1": (one,)}) == []


@pytest.mark.parametrize("state", routing.DOWN)
def test_a_router_that_does_not_work_is_told(state: str) -> None:
    text = json.dumps(json.loads(files(Change(resource(), Action.CREATE, None, resource().attributes))["mark.json"]))
    down, well = (routing.read(f"router open {text}\nrouting {one}\n") for one in (state, "running"))
    found = {"grid-1": down, "grid-2": well, "grid-3": (), "grid-4": ()}
    assert routing.down("shop", ("grid-1", "grid-2", "grid-3"), found) == {"grid-1": state, "grid-3": "without a route"}
    assert routing.down("blog", (), found) == {}
    assert down[0].lasting() == well[0].lasting()


def test_upstreams_are_the_same_in_every_order() -> None:
    """Dynos on unreachable servers come last in the formation."""
    ordered = resource().attributes
    turned = router.desired("grid-1", "shop", CONFIG, DYNOS[::-1], {}).attributes
    assert turned == ordered
    change = Change(resource(), Action.CREATE, None, turned)
    assert files(change) == files(Change(resource(), Action.CREATE, None, ordered))
    many = [Dyno(f"web.{number}", "grid-1", "10.0.0.11", 5000 + number) for number in range(1, 12)]
    assert list(
        json.loads(
            files(
                Change(
                    resource(), Action.CREATE, None, router.desired("grid-1", "shop", CONFIG, many[::-1], {}).attributes
                )
            )["mark.json"]
        )["upstreams"]
    ) == [dyno.name for dyno in many]
    odd = Change(resource(), Action.UPDATE, {"upstreams": {"no dyno": "x", "web.1": "y"}}, None)
    assert set(Router().upstreams(odd)) == {"no dyno", "web.1"}, "what a server says may be anything"


def test_what_happened_to_a_router_is_not_what_somebody_did() -> None:
    assert [
        state for state in (*routing.DOWN, "edited", "disabled") if "state" in Router().spontaneous({"state": state})
    ] == [
        "failed",
        "starting",
        "not listening",
    ]


@pytest.mark.parametrize(
    ("mine", "other", "says"),
    [
        ({}, {"kind": "caddy"}, "the router is already caddy, for blog"),
        ({}, {"hosts": ("shop.example.org",)}, "already routed to blog: shop.example.org"),
        ({"hosts": ()}, {"hosts": ()}, "already routed to blog: the default route"),
        ({}, {"http": 8080, "https": 80, "acme": "a@b.c"}, "port 80 is already used for HTTPS by blog"),
        ({"http": 22}, {}, "port 22 is already in use, and not by dynoctl's router"),
    ],
)
def test_conflicts(mine: dict[str, Any], other: dict[str, Any], says: str) -> None:
    theirs = mark(replace(CONFIG, **{"hosts": ("blog.example.org",), **other}), "blog")
    found = {"grid-1": ((theirs, mark(CONFIG)), frozenset({22, 80}))}
    problems = list(routing.conflicts("shop", replace(CONFIG, **mine), found))
    assert any(says in problem.summary for problem in problems), problems


def test_neighbours_are_no_conflict() -> None:
    theirs = mark(replace(CONFIG, hosts=("blog.example.org",)), "blog")
    found = {"grid-1": ((theirs, mark(CONFIG)), frozenset({22, 80}))}
    assert list(routing.conflicts("shop", CONFIG, found)) == []
    assert list(routing.conflicts("shop", None, found)) == []


def test_a_dyno_on_a_silent_server_keeps_its_address() -> None:
    class Seen:
        routes = (mark(CONFIG),)

    found: Any = {"grid-1": Seen()}
    assert _unreachable("shop", found, {"web.2": "grid-2", "web.7": "grid-2"}) == (DYNOS[1],)


def test_pages(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    assert "<h1>" in maintenance.read_page(None, "haproxy")
    file.write_text("x" * 20000)
    assert len(maintenance.read_page(file, "nginx")) == 20000
    for kind, data in (("haproxy", b"x" * 20000), ("nginx", b"\xff\xfe"), ("caddy", b"  ")):
        file.write_bytes(data)
        with pytest.raises(DynoctlError):
            maintenance.read_page(file, kind)
    with pytest.raises(DynoctlError, match="cannot read"):
        maintenance.read_page(tmp_path, "nginx")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hosts", [("a.example",), ()])
def test_one_with_tls_beside_one_without(tmp_path: Path, kind: str, hosts: tuple[str, ...]) -> None:
    """One answer a port to a name that leads nowhere, whatever the apps on it do; the real shell puts it together."""
    sites = [site(app="aaa", hosts=hosts, https=0), site(app="bbb", hosts=("b.example", "c.example"))]
    (tmp_path / "frontends").write_text("".join(one.frontends() for one in sites))
    (tmp_path / "apps/bbb").mkdir(parents=True)
    for name in ("crt", "key"):
        (tmp_path / f"apps/bbb/tls.{name}").write_text(f"{name}\n")
    script = f"sites() {{ echo SITES; }}\n{KINDS[kind].assemble}"
    text = subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    nowhere = {
        "nginx": "listen 80 default_server",
        "haproxy": "default_backend dynoctl.nowhere",
        "caddy": "http://:80 {",
    }
    # HAProxy has a frontend for each port, so its other one has that line always.
    assert text.count(nowhere[kind]) == (0 if hosts == () else 1) + (kind == "haproxy")
    assert "SITES" in text
    if kind == "nginx":
        assert text.count("ssl_reject_handshake on") == 1
    if kind == "haproxy":
        tls = [line.split()[1] for line in text.splitlines() if line.endswith("strict-sni")]
        assert tls in ([":443"], [":443", ":::443"]), "IPv6 as well, if the machine has it"
        certificates = (tmp_path / "certificates-443").read_text()
        assert certificates == "apps/bbb/tls.pem b.example\napps/bbb/tls.pem c.example\n"
        assert (tmp_path / "apps/bbb/tls.pem").read_text() == "crt\nkey\n"


def test_no_app_has_a_name_of_the_router_itself(tmp_path: Path) -> None:
    """HAProxy refuses two backends with one name: the app ``nowhere`` could not be routed to."""
    sites = [site(app=app, hosts=(f"{app}.example",)) for app in ("nowhere", "redirect-shop", "shop")]
    (tmp_path / "frontends").write_text("".join(one.frontends() for one in sites))
    texts = "".join(KINDS["haproxy"].open(one) for one in sites)
    script = f"sites() {{ cat <<'END'\n{texts}\nEND\n}}\n{KINDS['haproxy'].assemble}"
    text = (
        KINDS["haproxy"].base
        + subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    )
    names = [line for line in text.splitlines() if line.startswith(("backend ", "frontend "))]
    assert len(names) == len({*names}) == 1 + 2 + 2 * 3


def test_haproxy_leaves_out_a_silent_server_before_a_request_is_sent_on() -> None:
    """HAProxy has two tries for a request, and both could meet dynos of one silent server: 7 of 25 servers cut off under
    load failed a request so. A check finds it within two intervals, and one is enough if there are dynos elsewhere."""
    assert 2 * haproxy.CHECK < haproxy.CONNECT
    here, there = ("web.1", "10.0.0.1:5000"), ("web.2", "10.0.0.2:5000")
    text = haproxy.KIND.open(replace(site(), upstreams=(here, there)))
    assert "server web.1 10.0.0.1:5000 check fall 1\n  server web.2 10.0.0.2:5000 check fall 1\n" in text
    assert "check\n" in haproxy.KIND.open(replace(site(), upstreams=(here,)))
    # Where the network of the router itself was cut off for 0.9 s, requests were answered with 503 after it was back.
    assert "server web.1-unchecked 10.0.0.1:5000 backup\n  server web.2-unchecked 10.0.0.2:5000 backup\n" in text
    assert "option allbackups\n" in haproxy.KIND.base
    assert "[srv_name,field(1,-)]" in haproxy.KIND.assemble, "the access log has the name of the dyno"
    assert (
        f"inter {haproxy.CHECK}ms fall 2" in haproxy.KIND.base and f"connect {haproxy.CONNECT}ms" in haproxy.KIND.base
    )


def test_the_default_has_its_own_certificate_first(tmp_path: Path) -> None:
    sites = [site(app="aaa", hosts=("a.example",)), site(app="bbb", hosts=())]
    (tmp_path / "frontends").write_text("".join(one.frontends() for one in sites))
    script = f"sites() {{ :; }}\n{KINDS['haproxy'].assemble}"
    text = subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert (tmp_path / "certificates-443").read_text() == "apps/bbb/tls.pem\napps/aaa/tls.pem a.example\n"
    assert "strict-sni" not in text


def test_the_room_for_upstreams_grows_with_them() -> None:
    assert " 256k;" in KINDS["nginx"].open(site())
    many = site(upstreams=tuple((f"web.{number}", f"10.0.0.1:{number}") for number in range(1, 1001)))
    assert " 8000k;" in KINDS["nginx"].open(many)
