"""The status of dynos and servers: parsing and rendering."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from infra.fleet import vitals
from infra.fleet.site import examine
from infra.fleet.status import ServerStatus
from infra.fleet.vitals import Vitals
from infra.manifest import read
from infra.manifest.model import Manifest
from infra.model.dyno_status import Row, unknown
from infra.model.provider import Scope
from infra.model.release import new
from infra.ops.monitor import Sample, used
from infra.views import formation, top
from infra.views.dynos import span
from infra.views.style import Style
from providers.processes import Processes

SLUG = "ab" * 32
ROW = Row("web.1", "grid-1", "10.0.0.11", 5000, "up", SLUG, 7, 200, 43 << 20, 0, 7, 250, 512 << 20, 10.0, 3)
LOAD = Vitals(1000.0, (0.5, 0.4, 0.3), 2, 8 << 30, 6 << 30, 1000)
MANIFEST = """\
version: 1
app: {name: shop, source: .}
rackup: config.ru
dynos: {web: 2, worker: {count: 1, command: rake work}, clock: {count: 0, command: tick}}
servers: [{name: grid-1, host: 127.0.0.1}]
"""


def said(*records: str, written: str = "") -> str:
    unit = "dyno-shop-web-1.service"
    return "\n".join(
        [
            "now 1000.5",
            f"/etc/systemd/system/{unit}:X-Dynoctl-Listen=10.77.3.11",
            f"/etc/systemd/system/{unit}:X-Dynoctl-Port=5000",
            f"/etc/systemd/system/{unit}:X-Dynoctl-Cpu=250",
            f"Id={unit}",
            "ActiveState=active",
            "SubState=running",
            "MainPID=7",
            "NRestarts=2",
            "ActiveEnterTimestampMonotonic=800500000",
            "CPUUsageNSec=[not set]",
            "MemoryCurrent=[not set]",
            "MemoryMax=infinity",
            f"BindReadOnlyPaths=/srv/dyno/shop/{SLUG}:/app:rbind",
            "",
            "Id=dyno-shop-web-1-ready.service",
            "ActiveState=active",
            f"/sys/fs/cgroup/unified/dyno.slice/dyno-shop.slice/{unit}/cgroup.procs:7",
            f"/sys/fs/cgroup/unified/dyno.slice/dyno-shop.slice/{unit}/cgroup.procs:8",
            "/proc/7/status:VmRSS:\t    1024 kB",
            "/proc/7/stat:7 (a) R (b) S 1 7 7 0 -1 4194560 3044 0 0 0 100 20 0 0 20 0 1 0 5",
            "/proc/8/stat:8 (ruby) S 1 7 7 0 -1 4194560 3044 0 0 0 30 0 0 0 20 0 1 0 5",
            "/proc/9/stat:9 (other) S 1 7 7 0 -1 4194560 3044 0 0 0 999 0 0 0 20 0 1 0 5",
            "   0: 0B034D0A:1388 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 1 1 0",
            "   1: 0100007F:1388 00000000:0000 0A 00000000:00000009 00:00000000 00000000     0        0 1 1 0",
            *records,
            written,
        ]
    )


def test_a_dyno_is_parsed_without_accounting_by_systemd() -> None:
    (row,) = Processes().parse(Scope("shop", ""), "grid-1", said())
    assert (row.state, row.uptime, row.memory, row.memory_max) == ("up", 200, 1 << 20, None)
    assert (row.cpu_seconds, row.share, row.waiting, row.restarts, row.release) == (1.5, 250, 3, 2, 0)


def test_a_dyno_that_started_while_it_was_looked_at_has_no_negative_age() -> None:
    """A busy server takes seconds to answer, and tells the time first: ``ps`` said ``up -1d 23h``."""
    text = said().replace("TimestampMonotonic=800500000", "TimestampMonotonic=1003500000")
    (row,) = Processes().parse(Scope("shop", ""), "grid-1", text)
    assert row.uptime == 0
    job = f"/etc/systemd/system/dyno-shop-web-1.service:X-Dynoctl-Schedule=daily\n{text}".replace(
        "NRestarts=2",
        "Result=success\nExecMainStartTimestampMonotonic=999000000\nExecMainExitTimestampMonotonic=1003500000",
    ).replace("ActiveState=active\nSubState=running", "ActiveState=inactive\nSubState=dead")
    (row,) = Processes().parse(Scope("shop", ""), "grid-1", job)
    assert row.job is not None and (row.job.result, row.job.ended, row.job.took) == ("ok", 0, 4)
    assert (span(0), span(-3), span(-90_000)) == ("0s", "0s", "0s")


def test_a_dyno_without_a_unit_is_known_by_its_record() -> None:
    """Its unit file was removed by hand, and ``ps`` said that all dynos are up."""
    records = ("applied shop-web.1", "applied shop-web.2", "applied shop-admin-web.3", "applied x")
    one, two = Processes().parse(Scope("shop", ""), "grid-1", said(*records))
    assert (one.dyno, one.state, two) == ("web.1", "up", unknown("web.2", "grid-1", "removed"))


def test_a_dyno_whose_socket_does_not_listen_is_not_up() -> None:
    lines = [line for line in said().splitlines() if "0B034D0A:1388" not in line]
    (row,) = Processes().parse(Scope("shop", ""), "grid-1", "\n".join(lines))
    assert (row.state, row.waiting) == ("not listening", None)


@pytest.mark.parametrize(
    ("results", "written", "runs"),
    [
        (["ok"], 100, 1),
        (["ok", "ok"], 100, 2),
        (["ok", "unfinished"], 100, 1),  # v2 was begun at 200, and nothing of the dyno was written since
        (["ok", "unfinished"], 250, 2),
        (["ok", "failed"], 100, 1),
        (["ok", "reverted"], 250, 1),
        ([], 100, 0),
    ],
)
def test_which_release_a_dyno_runs(results: list[str], written: int, runs: int) -> None:
    records = [
        replace(new(number, SLUG, "x", manifest="m"), result=result, moved=True).as_json()
        for number, result in enumerate(results, 1)
    ]
    records.append(replace(new(9, "cd" * 32, "x", manifest="m"), result="ok", moved=True).as_json())
    bodies = [f"written {number * 100}.5 /var/lib/dynoctl/shop/releases/{number}.body" for number in (1, 2)]
    file = f"written {written}.25 /etc/systemd/system/dyno-shop-web-1.service"
    (row,) = Processes().parse(Scope("shop", ""), "grid-1", said(*records, "{damaged", *bodies, written=file))
    assert row.release == runs


@pytest.fixture
def model(tmp_path: Path) -> Manifest:
    (tmp_path / "dyno.yaml").write_text(MANIFEST)
    (tmp_path / "config.ru").write_text("run nil\n")
    return read(tmp_path / "dyno.yaml")


def test_ps_is_grouped_as_herokus(model: Manifest) -> None:
    crashed = replace(ROW, dyno="web.2", state="crashed", uptime=None, memory=None, pid=None, restarts=1, release=6)
    old = replace(ROW, dyno="old.1", port=0)
    site = examine(model, {"grid-1": ServerStatus([old, ROW, crashed])}, {})
    text = formation.render(model, site, Style(False))
    assert text == (
        "=== web (1 of 2 up): config.ru on thin\n"
        "web.1:  up 3m 20s  grid-1  10.0.0.11:5000  v7  43 of 512 MiB  0 restarts\n"
        "web.2:  crashed    grid-1  10.0.0.11:5000  v6  -              1 restart\n"
        "\n"
        "=== worker (0 of 1 up): rake work\n"
        "\n"
        "=== old (1 of 0 up): no longer in dyno.yaml\n"
        "old.1:  up 3m 20s  grid-1  -               v7  43 of 512 MiB  0 restarts  left over"
    )
    assert formation.by_type(model, [ROW, crashed])["web"] == {"command": "config.ru on thin", "wanted": 2, "up": 1}


def fleet(servers: int, dynos: int = 4) -> dict[str, ServerStatus]:
    """Servers with web dynos that are up."""
    found = {}
    for number in range(1, servers + 1):
        own = [
            replace(ROW, dyno=f"web.{dynos * (number - 1) + place}", server=f"grid-{number}", restarts=0)
            for place in range(1, dynos + 1)
        ]
        found[f"grid-{number}"] = ServerStatus(own)
    return found


def test_ps_of_a_thousand_servers_fits_a_screen(model: Manifest) -> None:
    model = replace(model, dynos={**model.dynos, "web": replace(model.dynos["web"], count=4000)})
    found = fleet(1000)
    rows = [*found["grid-5"].rows]
    rows[0] = replace(rows[0], state="crashed", uptime=None, memory=None, restarts=9)
    rows[1] = replace(rows[1], memory=61 << 20, restarts=2)
    found["grid-5"] = ServerStatus(rows)
    site = examine(model, found, {})
    text = formation.render(model, site, Style(False), brief=True)
    assert text.startswith(
        "=== web (3999 of 4000 up): config.ru on thin\n"
        "web.[1-16,18-4000]: up  on 1000 servers: grid-[1-1000]  v7  43 to 61 MiB  2 restarts\n"
        "web.17:  crashed  grid-5  10.0.0.11:5000  v7  -  9 restarts\n"
    )
    assert len(text.splitlines()) == 5
    assert len(formation.render(model, site, Style(False)).splitlines()) == 4003
    assert "web.18:" in formation.render(model, site, Style(False), ["grid-5"])
    few = examine(model, fleet(10), {})
    assert "web.40:" in formation.render(model, few, Style(False), brief=True), "forty dynos have a line each"


def test_many_dynos_that_fail_alike_share_a_line(model: Manifest) -> None:
    model = replace(model, dynos={**model.dynos, "web": replace(model.dynos["web"], count=400)})
    found = fleet(100)
    for server in list(found)[:9]:
        first, *rest = found[server].rows
        failed = replace(first, state="failed", uptime=None, memory=None, restarts=1)
        found[server] = ServerStatus([failed, *rest])
    text = formation.render(model, examine(model, found, {}), Style(False), brief=True)
    assert "web.[1,5,9,13,17,21,25,29,33]: failed  on 9 servers: grid-[1-9]  v7  9 restarts" in text
    lost = {f"grid-{number}": "timed out" for number in range(1, 101)}
    problems = [str(problem) for problem in examine(model, {}, lost).problems]
    assert problems[0].startswith("grid-1, grid-2, grid-3 and 97 more are unreachable. "), "one line, not a hundred"


def test_vitals_and_free_places() -> None:
    text = "now 12.5\nload 0.50 0.40 0.30\ncores 2\nMemTotal: 1024\nMemAvailable: 512\n"
    text += "/etc/a:X-Dynoctl-Cpu=250\n/etc/b:X-Dynoctl-Cpu=1000\n/etc/c:X-Dynoctl-Cpu=odd\n"
    now = vitals.parse(text, "shop")
    text += "/etc/d:X-Dynoctl-App=shop-pr-1\n/etc/d:X-Dynoctl-Idle=1800\n/etc/d:X-Dynoctl-Cpu=250\n"
    text += "/etc/e:X-Dynoctl-Idle=9\n"
    assert vitals.parse(text, "shop").taken == now.taken + 13, "one that may be idle counts as a twentieth"
    assert vitals.parse(text, "shop-pr-1").taken == now.taken + 250, "a plan of the app itself counts its whole quota"
    assert (now.load, now.memory, now.available, now.taken, now.places()) == (
        (0.5, 0.4, 0.3),
        1 << 20,
        1 << 19,
        1250,
        3,
    )
    assert now.places(2000) == 11, "with overcommit"
    assert replace(now, taken=5000).places() == 0, "an overloaded server has 0 free places, not a negative number"
    with pytest.raises(KeyError):
        vitals.parse("now 1\n", "shop")


def test_cpu_is_what_was_used_since_the_last_sample() -> None:
    old = Sample("grid-1", LOAD, ServerStatus([ROW]))
    assert used(old, 1002.0, [replace(ROW, cpu_seconds=10.5)]) == {"web.1": 0.25}
    assert used(old, 1002.0, [replace(ROW, cpu_seconds=0.5, pid=8)]) == {}, "it restarted in between"
    assert used(old, 1002.0, [replace(ROW, cpu_seconds=9.0)]) == {"web.1": 0.0}
    assert used(old, 1000.0, [ROW]) == {}


def test_top_as_text_and_as_json(model: Manifest) -> None:
    rows = [replace(ROW, dyno=f"web.{number}") for number in range(1, 31)]
    model = replace(model, dynos={"web": replace(model.dynos["web"], count=30)})
    samples = [
        Sample("grid-1", LOAD, ServerStatus(rows), {"web.1": 0.24, "web.9": 0.01}, samples=2),
        Sample("grid-2", unreachable="grid-2: no answer\x1b[2J"),
    ]
    now = datetime(2026, 1, 31, 10, 0)
    text = top.plain(model, samples, now, Console(width=200, color_system=None, force_terminal=True))
    assert "30 of 30 dynos up" in text and "q quits" not in text
    assert "grid-1  0.50 0.40 0.30      2  2.0 of 8.0 GiB     30     4" in text
    assert "unreachable: no answer\\x1b[2J" in text
    assert "web.1   grid-1  up     24% of 25%  43 of 512 MiB        3         0  v7       3m 20s" in text
    assert "web.30" in text and "more" not in text
    by_cpu = top.document(model, samples, "cpu")["dynos"]
    assert [row["dyno"] for row in by_cpu[:3]] == ["web.1", "web.9", "web.2"]  # type: ignore[index]

    def drawn(samples: list[Sample], width: int, offset: int = 0) -> list[str]:
        console = Console(width=width, color_system=None)
        with console.capture() as captured:
            console.print(top.screen(model, samples, now, (width, 24), ("dyno", offset))[0])
        lines = captured.get().splitlines()
        assert len(lines) == 24 and max(map(len, lines)) <= width
        return [line.rstrip() for line in lines]

    shown = drawn(samples, 120)
    assert shown[-1] == "and 15 more" and "█" in shown[-2 - 14], shown
    assert drawn(samples, 120, offset=99)[-2].startswith("web.30 "), "as far as it goes"
    assert drawn(samples, 120, offset=99)[-1] == "15 above"
    assert drawn(samples, 120, offset=3)[-1] == "3 above, 12 more"
    many = [
        replace(samples[0], server=f"grid-{number}", status=ServerStatus([replace(rows[0], dyno=f"web.{number}")]))
        for number in range(1, 33)
    ]
    many[20] = replace(many[20], unreachable="grid-21: gone")
    shown = drawn(many, 80)
    where = next(number for number, line in enumerate(shown) if line.startswith("SERVER"))
    assert shown[where + 1].startswith("grid-21  ") and "gone" in shown[where + 1], (
        "unreachable servers are never left out"
    )
    document = json.loads(json.dumps(top.document(model, samples)))
    assert document["servers"][0]["free_dynos"] == 4 and document["servers"][1]["away"]
    assert document["dynos"][0]["cpu"] == 0.24 and document["dynos"][1]["cpu"] is None
