"""Whether an app is up: the requests that a router's log tells, what is wrong with which dyno, and the verdict."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.cli.top import KEY, SCROLL_KEYS, SORT_KEYS
from infra.fleet.site import Site, examine
from infra.fleet.status import ServerStatus
from infra.manifest import read
from infra.manifest.model import Manifest
from infra.model import paths, routing, traffic
from infra.model.dyno_status import Job, Row, unknown
from infra.model.one_offs import OneOff
from infra.model.routing import ACCESS_LOG, Route
from infra.model.traffic import Rates, Traffic, rates
from infra.views import formation, under_way
from infra.views import site as view
from infra.views.style import Style
from infra.views.top import SORTS
from tests.unit.test_router_log import HAPROXY, NGINX, caddy

MANIFEST = """\
version: 1
app: {name: shop, source: .}
rackup: config.ru
dynos: {web: 3, worker: {count: 1, command: rake work}}
servers: [{name: grid-1, host: 10.0.0.11}, {name: grid-2, host: 10.0.0.12}]
router: {kind: nginx, servers: [grid-1], hosts: [shop.example.org]}
"""


def row(dyno: str, server: str = "grid-1", **changes: Any) -> Row:
    port = 5000 if dyno.startswith("web") else 0
    usual = Row(dyno, server, "10.0.0.11", port, "up", "ab" * 32, 7, 200, 43 << 20, 0, 7, 250, 512 << 20, 10.0, 0)
    return replace(usual, **changes)


DYNOS = ("web.1", "web.2", "web.3")
ROUTE = Route("shop", "nginx", ("shop.example.org",), {80: "plain"}, dict.fromkeys(DYNOS, "10.0.0.12:5000"))
REQUESTS = {(name, 200, 20): 60 for name in DYNOS}
WELL = {
    "grid-1": ServerStatus([row("web.1"), row("worker.1")], (ROUTE,), "", Traffic(60, REQUESTS)),
    "grid-2": ServerStatus([row("web.2", "grid-2"), row("web.3", "grid-2")]),
}


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "dyno.yaml").write_text(MANIFEST)
    (tmp_path / "config.ru").write_text("run nil\n")
    return read(tmp_path / "dyno.yaml")


def with_rows(*rows: Row, **changes: Any) -> dict[str, ServerStatus]:
    """What servers say if some dynos are other than well."""
    found = {(one.dyno, one.server): one for status in WELL.values() for one in status.rows}
    found |= {(one.dyno, one.server): one for one in rows}
    statuses = {
        name: replace(status, rows=[one for one in found.values() if one.server == name])
        for name, status in WELL.items()
    }
    return statuses | {"grid-1": replace(statuses["grid-1"], **changes)}


def _of(release: int, *dynos: str) -> list[Row]:
    """Dynos of a release where they are."""
    homes = {one.dyno: one.server for status in WELL.values() for one in status.rows}
    return [row(dyno, homes[dyno], release=release) for dyno in dynos]


def slow(*answers: tuple[str, int, int], count: int = 5) -> dict[str, ServerStatus]:
    return with_rows(traffic=Traffic(60, REQUESTS | dict.fromkeys(answers, count)))


def told(site: Site) -> list[str]:
    return [str(problem) for problem in site.problems]


def test_an_app_that_is_well(manifest: Manifest) -> None:
    site = examine(manifest, WELL, {})
    assert (site.state, told(site)) == ("up", [])
    assert view.above("shop", site, Style(False)) == (
        "shop is up: 4 of 4 dynos and 1 of 1 router up, 3.0 req/s, p95 20 ms\n"
    )
    assert view.above("shop", site, Style(False), 60) == (
        "shop is up: 4 of 4 dynos and 1 of 1 router up, 3.0 req/s,\n  p95 20 ms\n"
    )
    assert formation.render(manifest, site, Style(False)).splitlines()[:6] == [
        "=== router (1 of 1 up): nginx: shop.example.org",
        "grid-1:  up  3.0 req/s  p95 20 ms  0% failed",
        "",
        "=== web (3 of 3 up): config.ru on thin",
        "web.1:     up 3m 20s  grid-1  10.0.0.11:5000  v7  43 of 512 MiB  0 restarts  1.0/s  p95 20 ms",
        "web.2:     up 3m 20s  grid-2  10.0.0.11:5000  v7  43 of 512 MiB  0 restarts  1.0/s  p95 20 ms",
    ]
    narrow = formation.render(manifest, site, Style(False), width=80).splitlines()
    assert max(map(len, narrow)) <= 80 and narrow[4].endswith("0 restarts  1.0/s  p95 20 ms")
    document = json.loads(json.dumps([view.document(site), *(view.dyno(site, one) for one in site.rows)]))
    assert document[0]["site"]["state"] == "up" and document[0]["routes"][0]["p95_ms"] == 20
    assert (document[1]["p95_ms"], document[1]["note"], document[4]["requests_per_second"]) == (20, None, None)


def test_little_traffic_is_not_shown_as_none(manifest: Manifest) -> None:
    """Two requests in a minute are ``0.03`` of them in a second."""
    found = with_rows(traffic=Traffic(60, {("web.1", 200, 96): 2}))
    site = examine(manifest, found, {})
    assert view.above("shop", site, Style(False)).endswith(", <0.1 req/s, p95 96 ms\n")
    shown = formation.render(manifest, site, Style(False)).splitlines()
    assert shown[1] == "grid-1:  up  <0.1 req/s  p95 96 ms  0% failed"
    assert [line.partition("restarts")[2] for line in shown if "restarts" in line] == [
        "  <0.1/s  p95 96 ms",
        "  no requests",
        "  no requests",
        "",  # a worker answers none
    ]
    assert view.rate(Rates(3, 0.05)) == "0.1" and view.rate(Rates(0, 0.0)) == "0.0"
    assert max(map(len, formation.render(manifest, site, Style(False), width=80).splitlines())) <= 80


def test_a_line_ends_with_what_is_known(manifest: Manifest) -> None:
    """After an apply, nothing is known of requests."""
    shown = formation.render(manifest, examine(manifest, with_rows(traffic=None), {}), Style(False)).splitlines()
    assert shown[1] == "grid-1:  up"
    assert all(line.endswith("0 restarts") for line in shown if "restarts" in line)


LOGS = "To see why: dynoctl logs --dyno web.1"
APPLY = "dynoctl apply"
BAD = "if its release is bad: dynoctl rollback"
FINISH = "To finish the rollout: dynoctl apply; after a rollback: dynoctl rollback"
GONE = "{} is unreachable. To see what is wrong: dynoctl doctor; if it is gone for good: dynoctl apply --evacuate {}"
CASES: Mapping[str, tuple[dict[str, ServerStatus], Mapping[str, str], str, Sequence[str]]] = {
    "crashed": (with_rows(row("web.1", state="crashed")), {}, "degraded", [f"web.1 on grid-1 crashed. {LOGS}"]),
    "failed": (
        with_rows(row("web.1", state="failed")),
        {},
        "degraded",
        [f"web.1 on grid-1 failed, and systemd does not restart it. {LOGS}"],
    ),
    "stopped by hand": (
        with_rows(row("web.1", state="down")),
        {},
        "degraded",
        ["web.1 on grid-1 is stopped. To start it: dynoctl restart web.1"],
    ),
    "a schedule without its timer": (
        with_rows(row("report.1", state="stopped", job=Job("daily")), row("web.1", state="stopped")),
        {},
        "degraded",
        [
            "Each of report.1, web.1 is stopped. To start them: dynoctl apply",
            "report.1 on grid-1 is no longer in dyno.yaml. To remove it: dynoctl apply",
        ],
    ),
    "all crashed": (
        with_rows(row("web.1", state="crashed"), *(row(name, "grid-2", state="crashed") for name in DYNOS[1:])),
        {},
        "down",
        [f"Each of web.1, web.2, web.3 crashed. {LOGS}"],
    ),
    "router stopped": (
        with_rows(routes=(replace(ROUTE, state="stopped"),)),
        {},
        "down",
        [f"The router on grid-1 is stopped. To repair it: {APPLY}"],
    ),
    "no route": (
        with_rows(routes=(), routed=True),
        {},
        "down",
        [f"The router on grid-1 has no route to this app. To repair it: {APPLY}"],
    ),
    "maintenance": (
        with_rows(routes=(replace(ROUTE, closed=True),), traffic=Traffic(60, {("", 503, 0): 100})),
        {},
        "maintenance",
        ["Maintenance mode is on (grid-1). To end it: dynoctl maintenance off"],
    ),
    "a router that answers by itself": (
        with_rows(traffic=Traffic(60, {("", 502, 0): 100})),
        {},
        "down",
        ["100% of the requests of the last minute failed (5xx). To see them: dynoctl logs -t router"],
    ),
    "a router that was never applied": (
        with_rows(routes=(), traffic=None),
        {},
        "up",
        ["The router on grid-1 is in dyno.yaml and was not applied yet. To create it: dynoctl apply"],
    ),
    "one visitor loads a broken page again": (
        with_rows(traffic=Traffic(60, {("web.1", 500, 20): 6})),
        {},
        "degraded",
        ["100% of the requests of the last minute failed (5xx). To see them: dynoctl logs -t router"],
    ),
    "some requests fail": (
        slow(("web.1", 500, 20), count=20),
        {},
        "degraded",
        ["10% of the requests of the last minute failed (5xx). To see them: dynoctl logs -t router"],
    ),
    "few requests fail": (slow(("web.1", 500, 20), count=4), {}, "up", []),
    "memory": (
        with_rows(row("worker.1", memory=490 << 20)),
        {},
        "up",
        [
            "worker.1 on grid-1 uses 96% of its memory limit of 512 MiB. To raise it: dynos.worker.memory in dyno.yaml, "
            "then dynoctl apply"
        ],
    ),
    "left over": (
        with_rows(row("web.4"), row("old.1")),
        {},
        "up",
        [f"Each of old.1, web.4 is no longer in dyno.yaml. To remove it: {APPLY}"],
    ),
    "not routed": (
        with_rows(routes=(replace(ROUTE, upstreams=dict.fromkeys(DYNOS[1:], "10.0.0.12:5000")),)),
        {},
        "degraded",
        [f"web.1 on grid-1 gets no requests, as no router knows it. To route to it: {APPLY}"],
    ),
    "none is routed": (
        with_rows(routes=(replace(ROUTE, upstreams={}),), traffic=None),
        {},
        "down",
        [f"Each of web.1, web.2, web.3 gets no requests, as no router knows it. To route to it: {APPLY}"],
    ),
    "not routed, and near its memory limit": (
        with_rows(
            row("web.1", memory=490 << 20),
            routes=(replace(ROUTE, upstreams=dict.fromkeys(DYNOS[1:], "10.0.0.12:5000")),),
        ),
        {},
        "degraded",
        [
            "web.1 on grid-1 uses 96% of its memory limit of 512 MiB. To raise it: dynos.web.memory in dyno.yaml, "
            "then dynoctl apply",
            f"web.1 on grid-1 gets no requests, as no router knows it. To route to it: {APPLY}",
        ],
    ),
    "twice": (
        with_rows(row("web.2")),
        {},
        "up",
        [f"web.2 runs 2 times: on grid-1, grid-2. To remove one of them: {APPLY}"],
    ),
    "missing": (
        {**WELL, "grid-2": ServerStatus([row("web.2", "grid-2")])},
        {},
        "up",
        [f"web.3 is on no server. To start it: {APPLY}"],
    ),
    "unreachable": (
        {"grid-1": WELL["grid-1"]},
        {"grid-2": "grid-2: timed out"},
        "degraded",
        [GONE.format("grid-2", "grid-2")],
    ),
    "the router's server is unreachable": (
        {"grid-2": WELL["grid-2"]},
        {"grid-1": "cannot connect to grid-1: timed out"},
        "unknown",
        [GONE.format("grid-1", "grid-1")],
    ),
    "nobody answers": (
        {},
        {"grid-1": "cannot connect", "grid-2": ""},
        "unknown",
        [GONE.format("grid-1", "grid-1")],
    ),
    "nothing applied": ({"grid-1": ServerStatus(), "grid-2": ServerStatus()}, {}, "not applied", []),
    "not asked yet": ({}, {"grid-1": "", "grid-2": ""}, "unknown", []),
    "starting": (with_rows(row("web.1", state="starting")), {}, "up", []),
    "out of memory now and then": (
        with_rows(row("web.1", restarts=2, uptime=30), row("web.2", "grid-2", restarts=1, uptime=599)),
        {},
        "up",
        [f"Each of web.1, web.2 ended by itself and was started again, web.1 2 times. {LOGS}; {BAD}"],
    ),
    "out of memory, and starting again": (
        with_rows(row("web.1", restarts=1, state="starting", uptime=None)),
        {},
        "degraded",
        [f"web.1 on grid-1 ended by itself and was started again 1 time. {LOGS}; {BAD}"],
    ),
    "out of memory, with nothing to go back to": (
        with_rows(row("web.1", restarts=2, uptime=30, release=1), *_of(1, "web.2", "web.3", "worker.1")),
        {},
        "up",
        [f"web.1 on grid-1 ended by itself and was started again 2 times. {LOGS}"],
    ),
    "a second release that was cut off": (
        with_rows(row("web.1", release=2), *_of(1, "web.2", "web.3", "worker.1")),
        {},
        "up",
        ["Each of web.2, web.3, worker.1 runs v1, and others run v2. To finish the rollout: dynoctl apply"],
    ),
    "out of memory some time ago": (with_rows(row("web.1", restarts=2, uptime=600)), {}, "up", []),
    "an apply that was cut off": (
        with_rows(row("web.2", "grid-2", release=6), row("worker.1", release=0)),
        {},
        "up",
        [f"web.2 on grid-2 runs v6, and others run v7. {FINISH}"],
    ),
    "two that were cut off": (
        with_rows(row("web.2", "grid-2", release=6), row("web.1", release=4)),
        {},
        "up",
        [f"Each of web.1, web.2 runs a release from v4 to v6, and others run v7. {FINISH}"],
    ),
    "a server that comes back after its evacuation": (
        with_rows(row("web.2", release=8), row("web.2", "grid-2", release=7), *_of(8, "web.1", "web.3", "worker.1")),
        {},
        "up",
        [f"web.2 runs 2 times: on grid-1, grid-2. To remove one of them: {APPLY}"],
    ),
    "a unit removed by hand": (
        with_rows(unknown("web.2", "grid-2", "removed")),
        {},
        "degraded",
        [f"web.2 on grid-2 has no unit any more, and was not removed by an apply. To repair it: {APPLY}"],
    ),
    "removed on one server, and on another that is silent": (
        {"grid-1": with_rows(unknown("web.2", "grid-1", "removed"))["grid-1"]},
        {"grid-2": "timed out"},
        "degraded",
        [GONE.format("grid-2", "grid-2")],
    ),
    "what is left of an interrupted removal": (
        with_rows(unknown("web.4", "grid-2", "removed"), unknown("web.2", "grid-1", "removed")),
        {},
        "up",
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_and_its_cure(manifest: Manifest, case: str) -> None:
    found, lost, state, problems = CASES[case]
    site = examine(manifest, found, lost)
    assert (site.state, told(site)) == (state, list(problems))
    above = view.above("shop", site, Style(False))
    assert above.startswith("shop") and formation.render(manifest, site, Style(False))
    if state == "not applied":
        assert above == "shop is not applied: nothing of it runs. To start it: dynoctl apply\n"
        assert view.headline("shop", site)[0] == "shop is not applied"


SLOW = "web.2 on grid-2 is slow: {}. To see its log: dynoctl logs --dyno web.2; to restart it: dynoctl restart web.2"


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (slow(("web.2", 200, 400), count=61), SLOW.format("median 400 ms, the others 20 ms")),
        (slow(("web.2", 200, 400), count=4), SLOW.format("p95 400 ms, the others 20 ms")),
        (slow(("web.2", 101, 90000), count=61), None),
        (slow(("web.2", 200, 119), count=61), None),
        (slow(("web.2", 200, 400), ("web.1", 200, 400), ("web.3", 200, 400), count=61), None),
    ],
    ids=["all its requests", "some", "a WebSocket", "not by much", "as all others"],
)
def test_a_slow_dyno_is_named(manifest: Manifest, found: dict[str, ServerStatus], problem: str | None) -> None:
    site = examine(manifest, found, {})
    assert told(site) == ([] if problem is None else [problem])
    assert site.notes == ({} if problem is None else {("web.2", "grid-2"): "slow"})
    assert site.state == ("up" if problem is None else "degraded")


def test_dynos_of_a_server_that_does_not_answer(manifest: Manifest) -> None:
    """The router knows where they are; ``top`` also knows what they were."""
    site = examine(manifest, {"grid-1": WELL["grid-1"]}, {"grid-2": "grid-2: timed out"})
    assert [(one.dyno, one.server, one.state) for one in site.rows][1:3] == [
        ("web.2", "grid-2", "unknown"),
        ("web.3", "grid-2", "unknown"),
    ]
    shown = re.sub(" +", " ", formation.render(manifest, site, Style(False)))
    assert "web.2: unknown grid-2 1.0/s p95 20 ms\n" in shown, "no line of what is not known"
    before = examine(manifest, WELL, {"grid-2": "grid-2: timed out"})
    assert [(one.dyno, one.state, one.release) for one in before.rows][1:3] == [
        ("web.2", "unknown", 7),
        ("web.3", "unknown", 7),
    ]


def test_a_drained_server_and_one_off_dynos(manifest: Manifest) -> None:
    drained = replace(manifest, servers=(manifest.servers[0], replace(manifest.servers[1], drain=True)))
    found = {**WELL, "grid-2": replace(WELL["grid-2"], one_offs=(OneOff("run.123456", "ab"),))}
    site = examine(drained, found, {})
    assert told(site) == [f"Each of web.2, web.3 has to leave its server. To move it: {APPLY}"]
    text = formation.render(drained, site, Style(False))
    assert "p95 20 ms  leaving\n" in text and text.endswith("=== one-off dynos\nrun.123456:  running  grid-2")
    assert view.document(site)["one_offs"] == [{"name": "run.123456", "server": "grid-2"}]


def test_dynos_that_are_on_no_server_count_as_not_up(manifest: Manifest) -> None:
    """After an apply that failed on a server, ``ps`` said ``1 of 1 dynos up`` above ``web (1 of 3 up)``. A router that
    was not made either has no address."""
    site = examine(manifest, {"grid-1": ServerStatus(), "grid-2": ServerStatus([row("web.2", "grid-2")])}, {})
    assert (site.missing, site.planned) == (("web.1", "web.3", "worker.1"), ("grid-1",))
    head, *told = view.above("shop", site, Style(False)).splitlines()
    assert head == "shop is up: 1 of 4 dynos up"
    assert told[-1] == "  web.1, web.3, worker.1 are on no server. To start them: dynoctl apply"


def test_who_applies_comes_first(manifest: Manifest) -> None:
    half = row("web.2", "grid-2", release=6)  # what it has not finished is not wrong
    site = examine(manifest, with_rows(half, holder="root@vm since 2026-11-28T17:30:00Z (pid 7), applying v2"), {})
    assert site.problems == ()
    words = under_way.sentences(site.applying)[0]
    assert words.startswith("root@vm is applying v2 since ")
    assert view.above("shop", site, Style(False)).startswith(words)
    assert view.document(site)["applying"] == under_way.document(site.applying)


def log(
    tmp_path: Path, *lines: str, ends: bool = True, changed: int = 0, loaded: float | None = None
) -> Traffic | None:
    """What the script makes of a journal with these lines, the newest first. ``changed`` and ``loaded`` are when the
    route was written, and used."""
    (tmp_path / "apps/shop").mkdir(parents=True, exist_ok=True)
    (tmp_path / "apps/shop/mark.json").touch()
    os.utime(tmp_path / "apps/shop", (changed, changed))
    if loaded is not None:
        (tmp_path / "loaded").touch()
        os.utime(tmp_path / "loaded", (loaded, loaded))
    (tmp_path / "log").write_text("".join(f"{line}\n" for line in lines))
    for name, script in {
        "journalctl": f'echo "$@" > {tmp_path}/asked; cat {tmp_path}/log; {"true" if ends else "false"}',
        "date": "echo 1000",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    script = f"LC_ALL=C; PATH={tmp_path}:$PATH; app=shop\n"
    script += traffic.SCRIPT.replace(routing.LIVE, str(tmp_path)).replace(paths.ROUTER, str(tmp_path))
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return traffic.read(done.stdout)


def caddys(**changes: Any) -> str:
    """A line as Caddy writes it, without a blank between values."""
    return entry(json.dumps(json.loads(caddy(**changes)), separators=(",", ":")), "caddy")


def entry(message: str, identifier: str = ACCESS_LOG, second: int = 990) -> str:
    return f"{second}.123456 grid-1 {identifier}[7]: {message.strip()}"


def test_the_requests_of_each_program(tmp_path: Path) -> None:
    other = NGINX.replace("app=shop ", "app=shop-admin ")
    lie = NGINX.replace('path="/x?a=1"', 'path="/ dyno=\\x22web.1\\x22 app=shop"')
    found = log(
        tmp_path,
        entry(NGINX),
        entry(NGINX),
        entry(HAPROXY),
        caddys(),
        caddys(user_id='app=shop dyno=web.3 protocol=http client=1 proxied="x,"duration":9', duration=1.5),
        caddys(request={"uri": '/","user_id":"app=shop dyno=web.9 ","duration":9,"size":1,"status":500}'}),
        caddys(user_id="app=other dyno=web.4 protocol=http client=1"),
        caddys(duration=9e-07),
        entry(other),
        entry(other.replace('dyno="web.2"', 'dyno="app=shop "')),
        entry(lie),
        entry(HAPROXY.replace('dyno="web.2"', 'dyno="<NOSRV>"').replace('status="200"', 'status="503"')),
        entry(HAPROXY.replace('status="200"', 'status="-1"')),
        entry("2026/01/31 [error] 7#7: *1 connect() failed", "nginx"),
        "-- Boot 0123 --",
    )
    assert found == Traffic(
        60, {("web.2", 200, 18): 6, ("web.3", 200, 1500): 1, ("web.2", 200, 0): 1, ("", 503, 18): 1}
    )


def test_a_busy_log_is_read_in_part(tmp_path: Path) -> None:
    count = 2 * traffic.BYTES // len(NGINX)
    found = log(tmp_path, *(entry(NGINX, second=1000 - number * 20 // count) for number in range(count)))
    assert found is not None and 5 < found.seconds < 20
    total, by_dyno = rates([found, Traffic(60, {("web.1", 500, 7): 60})])
    assert total.per_second - 1 == pytest.approx(count / 20, rel=0.2), (
        "not of a minute, but of the seconds that were read"
    )
    assert (by_dyno["web.1"].failed, by_dyno["web.1"].p95, total.p95) == (1.0, 7, 18)


@pytest.mark.parametrize(
    ("changed", "loaded", "since", "seconds"),
    [
        (995, 997.5, "997.500", 3),
        (1000, 1000.25, "1000.250", 1),
        (900, 990, "940", 60),
        (990, 900, "940", 60),
        (990, None, "940", 60),
    ],
    ids=["before", "now", "another app's", "not yet", "never"],
)
def test_requests_before_the_route_changed_do_not_count(
    tmp_path: Path, changed: int, loaded: float | None, since: str, seconds: int
) -> None:
    """Those that maintenance mode refused a moment ago would say that the app is down."""
    assert log(tmp_path, entry(NGINX, second=999), changed=changed, loaded=loaded) == Traffic(
        seconds, {("web.2", 200, 18): 1}
    )
    assert f"--since=@{since} " in (tmp_path / "asked").read_text()


def test_a_clock_that_was_set_back_does_not_hide_requests(tmp_path: Path) -> None:
    """The router was loaded in what is now the future: until then there would be no requests. Those of the hours that
    come again are none of the last minute."""
    found = log(tmp_path, entry(NGINX, second=999), changed=9000, loaded=9001.5)
    assert found == Traffic(60, {("web.2", 200, 18): 1})
    assert "--since=@940 --until=@1001 " in (tmp_path / "asked").read_text()


def test_a_log_without_requests_and_one_that_cannot_be_read(tmp_path: Path) -> None:
    assert log(tmp_path) == Traffic(60, {})
    assert log(tmp_path, ends=False) is None
    assert traffic.read(
        "traffic 1 x\ntraffic 1 1 at\ntraffic 1 1 all\ntraffic a b c d e f\ntraffic 9 1 200 1e999 web.1"
    ) == Traffic(60, {})


def test_keys_of_a_terminal() -> None:
    keys = ["m", "\x1b[B", "\x1bOA", "\x1b[5~", " ", "\x1b[1;5C", "\x1bx", "\n"]
    found, text = [], ""
    for character in "".join(keys):
        text += character
        if KEY.fullmatch(text):
            found.append(text)
            text = ""
    assert (found, text) == (keys, "")
    assert {*SCROLL_KEYS, *SORT_KEYS} >= {"m", "\x1b[B", "\x1bOA", "\x1b[5~", " "}
    assert {*SORT_KEYS.values()} == {*SORTS}
