"""Every parser of what a server says, fed with damaged and hostile answers: it returns values that can be used and shown, or
the answer is invalid; it never raises anything else.

``FUZZ=soak`` runs a million of them, ``FUZZ_SEED`` one again."""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DynoctlError
from infra.fleet import facts as server_facts
from infra.fleet import identity, inventory, latest_releases, lock, logins, room, vitals
from infra.fleet.facts import Facts
from infra.fleet.observe import Observed
from infra.fleet.site import examine
from infra.fleet.status import ServerStatus
from infra.manifest import read
from infra.manifest.backings import Service
from infra.manifest.model import Manifest
from infra.model import lock_holder, merged_releases, one_offs, release, routing, traffic
from infra.model.answer import InvalidAnswer, reading
from infra.model.dyno_status import Row
from infra.model.provider import Scope
from infra.model.resource import Found, digest_of
from infra.ops import connectivity, journal, server_checks
from infra.ops.monitor import Sample
from infra.registry import Everything
from infra.remote.quote import sections
from infra.state import audit_log, config, release_body, releases
from infra.views import attributes, drift, formation, history, logs, online, style, top
from infra.views import releases as releases_view
from infra.views import site as site_view
from providers.run import Runs

TOTAL = {"ci": 20_000, "soak": 1_000_000}[os.environ.get("FUZZ", "ci")]
SEED = os.environ.get("FUZZ_SEED", "")

SLUG = "ab" * 32
PLAIN = style.Style(False)
RELEASE = {
    "number": 2,
    "slug": SLUG,
    "digest": "cd" * 32,
    "salt": "0f" * 16,
    "manifest": "123456789abc",
    "who": "ann@laptop",
    "when": "2026-11-28T10:00:00Z",
    "commit": "abc1234",
    "message": "ship",
    "result": "ok",
    "of": 0,
    "commanded": True,
    "on": "",
    "moved": True,
}
WAY = {"name": "grid-1", "host": "10.0.0.11", "user": "root", "port": "22", "gateway": "", "address": "10.0.0.11"}
META = {
    "version": 1,
    "dynoctl": "0.3.0",
    "app": "shop",
    "environment": "default",
    "serial": 7,
    "who": "ann@laptop",
    "when": "2026-11-28T10:00:00Z",
    "dynos": {"web.1": "m1", "web.2": "m2"},
    "servers": {"m1": WAY, "m2": {**WAY, "name": "grid-2", "host": "10.0.0.12"}},
    "spares": {},
    "settled": {"dynoctl": "0.3.0"},
    "config": {"version": 1, "dynos": {"web": {"name": "web", "count": 2}}, "keep": 5},
    "routers": ["m1"],
    "moving": {"web.2": "m1"},
}
MARK = {
    "app": "shop",
    "kind": "nginx",
    "hosts": ["shop.example.org"],
    "ports": {"80": "redirect", "443": "tls"},
    "http": 80,
    "https": 443,
    "acme": "",
    "timeout": 60,
    "upstreams": {"web.1": "10.0.0.11:5000"},
}
ORIGIN = {"repository": "git.example.org/shop", "path": "dyno.yaml", "host": "laptop", "file": "/home/ann/dyno.yaml"}
UNIT = "dyno-shop-web-1"
SOCKETS = "   0: 0B00000A:1388 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 1 1 0"
FACTS = f"""\
machine_id m1
hostname grid-1
connection 10.0.0.2 50000 10.0.0.11 22
cores 4
systemd systemd 252 (252.31-1)
squashfs yes
ruby ruby 3.1.2
apt Version: 1:3.3+b1
missing /usr/bin/thin
{SOCKETS}
           |-- 10.0.0.11
fe800000000000000000000000000001 02 40 20 80 eth0
/etc/systemd/system/{UNIT}.service:X-Dynoctl-App=shop
/etc/systemd/system/{UNIT}.service:X-Dynoctl-Dyno=web.1
/etc/systemd/system/{UNIT}.service:X-Dynoctl-Port=5000
/etc/systemd/system/{UNIT}.service:X-Dynoctl-Cpu=250
recorded yes
salt 0011
meta {json.dumps(META)}
{json.dumps({"key": "unit.shop-web.1", "attributes": {"enabled": True}, "port": 5000})}
{json.dumps(RELEASE)}
body 2
commanded 2
pending web.2
origin /var/lib/dynoctl/shop/origin {json.dumps(ORIGIN)}
backup web.1
held dyno-shop-web-3.socket 10.0.0.11:5002 (Stream)
router open {json.dumps(MARK)}
routing running
one-off Id=dynoctl-run-shop.123456.service
one-off ActiveState=active
one-off BindReadOnlyPaths=/srv/dyno/shop/{SLUG}:/app:rbind
lock ann@laptop since 2026-11-28T10:00:00Z (pid 1), applying v2
"""
SHOWN = f"""\
Id={UNIT}.service
LoadState=loaded
ActiveState=active
SubState=running
Result=success
UnitFileState=enabled
FragmentPath=/etc/systemd/system/{UNIT}.service
DropInPaths=/etc/systemd/system/{UNIT}.service.d/a.conf "/etc/with blank/b.conf"
NeedDaemonReload=yes
NRestarts=0
CPUQuotaPerSecUSec=250ms

Id=init.scope
NeedDaemonReload=yes

UnitsLoadTimestamp=Tue 2026-11-24 03:00:00.123456 UTC

written 1700000000.5 {UNIT}.service
drop-in set /etc/systemd/system/{UNIT}.service.d/a.conf
"""
TEXT = f"""\
{UNIT}.service
=[Unit]
=X-Dynoctl-App=shop
=X-Dynoctl-Dyno=web.1
=[Service]
=ExecStart=/usr/bin/ruby
=BindReadOnlyPaths=/srv/dyno/shop/{SLUG}:/app
=CPUQuota=25%
=Environment="A=b" C=d
"""
MOUNT = f"srv-dyno-shop-{SLUG}.mount"
PROVIDED = {
    "unit": f"file {UNIT}.service\ntimer {UNIT}\n{TEXT}{SHOWN}",
    "socket": f"file {UNIT}.socket\n{UNIT}.socket\n=[Socket]\n=ListenStream=10.0.0.11:5000\n{SHOWN}{SOCKETS}\n",
    "schedule": f"file {UNIT}.timer\n{UNIT}.timer\n=[Timer]\n=OnCalendar=daily\nother {UNIT}.service\n"
    f"paused web.1\n{SHOWN}",
    "mount": f"file {MOUNT}\n{MOUNT}\n=[Mount]\n=What=x\nparent 700 root:root\ndirectory /srv/dyno/shop/{SLUG}\n"
    f"mounted /srv/dyno/shop/{SLUG} nodev\nstale /srv/dyno/shop/{SLUG}\nloop /dev/loop0 /x/{SLUG}.squashfs\n{SHOWN}",
    "env_file": "salt 00\nfile 600 root:root /etc/dyno/shop/web.1.env\nsame /etc/dyno/shop/web.1.env web\n"
    "file 600 root:root /etc/dyno/shop/web.2.env\ndiffers /etc/dyno/shop/web.2.env\nkey A 00ff\n",
    "credentials": "salt 00\ndirectory 700 root:root /etc/dyno/shop/web.1.credentials\n"
    "file 600 root:root 00ff /etc/dyno/shop/web.1.credentials/key\n",
    "slug": f"whole 600 root:root /var/lib/dynoctl/shop/slugs/{SLUG}.squashfs\n",
    "user": f"{UNIT}:x:990:990:dynoctl shop web.1:/nonexistent:/usr/sbin/nologin\n{UNIT}:x:990:{UNIT}\n"
    f"volumes shop\nlocked {UNIT}:yes\n",
    "volume": "directory 2770 root:dynos-shop /var/lib/dynoctl-volumes/shop/uploads\n"
    "mounted image nodev /var/lib/dynoctl-volumes/shop/uploads\n"
    "image 1073741824 /var/lib/dynoctl-volumes/shop/uploads.ext4\n"
    "file var-lib-dynoctl\\x2dvolumes-shop-uploads.mount\n"
    "var-lib-dynoctl\\x2dvolumes-shop-uploads.mount\n=[Mount]\n=Type=ext4\n",
    "directory": "755 root:root made alone\n",
    "package": "ruby install ok installed\nnginx deinstall ok config-files\n",
    "router": f"kind nginx\nmark {json.dumps(MARK)}\nsalt 00\ncertificate 00\nconfig 00\nstate running\n{SHOWN}",
    "leftover": f"/etc/systemd/system/{UNIT}.service.dynoctl-new\n",
}
ROWS = f"""\
now 1000.5
/etc/systemd/system/{UNIT}.service:X-Dynoctl-Listen=10.0.0.11
/etc/systemd/system/{UNIT}.service:X-Dynoctl-Port=5000
/etc/systemd/system/{UNIT}.service:X-Dynoctl-Cpu=250
/etc/systemd/system/dyno-shop-nightly-1.service:X-Dynoctl-Schedule=daily
clock 1700000000
Id={UNIT}.service
ActiveState=active
SubState=running
MainPID=7
NRestarts=2
ActiveEnterTimestampMonotonic=800500000
CPUUsageNSec=500000000
MemoryCurrent=1000000
MemoryMax=536870912
BindReadOnlyPaths=/srv/dyno/shop/{SLUG}:/app:rbind

Id={UNIT}-ready.service
ActiveState=active

Id=dyno-shop-nightly-1.service
ActiveState=activating
Result=signal
ExecMainStatus=9
ExecMainStartTimestampMonotonic=100000000
ExecMainExitTimestampMonotonic=200000000

Id=dyno-shop-nightly-1.timer
ActiveState=active
NextElapseUSecRealtime=Tue 2026-11-24 03:00:00 UTC

/sys/fs/cgroup/unified/dyno.slice/dyno-shop.slice/{UNIT}.service/cgroup.procs:7
/proc/7/status:VmRSS:	    1024 kB
/proc/7/stat:7 (a) R (b) S 1 7 7 0 -1 4194560 3044 0 0 0 100 20 0 0 20 0 1 0 5
{SOCKETS}
{json.dumps(RELEASE)}
written 100.5 /var/lib/dynoctl/shop/releases/2.body
"""
VITALS = "now 1000.5\nload 0.5 0.4 0.3\ncores 4\nMemTotal: 8000000\nMemAvailable: 6000000\n"
VITALS += "/etc/a:X-Dynoctl-App=shop\n/etc/a:X-Dynoctl-Idle=9\n/etc/a:X-Dynoctl-Cpu=250\n"
CHECKUP = "clock 1700000000.5\nsystem Debian\ncontrollers cpu memory\nloop yes\nmemory 8000000\ndisk /srv 100 - yes\n"
BODY = {
    "version": 1,
    "slug": SLUG,
    "variables": {"A": "b", "S": "secret"},
    "secret": ["S"],
    "common": [],
    "credentials": {"key": "k"},
    "ruby": ">= 3.1",
    "program": "/usr/bin/ruby",
    "executables": ["/usr/bin/thin"],
    "packages": ["ruby"],
    "environment": {"LANG": "C.UTF-8"},
    "writable": ["tmp"],
    "rackup": "run App",
    "config": "",
    "web": ["/usr/bin/ruby", "/usr/bin/thin"],
    "candidate": ["/usr/bin/ruby", "@socket@"],
    "commands": {"worker": ["rake", "work"]},
    "volumes": [["uploads", "public/uploads", ["web"]]],
    "stop_signal": "SIGTERM",
    "stop_seconds": 30,
}
AUDIT = {
    "id": "00ff",
    "when": "2026-11-28T10:00:00Z",
    "who": "ann@laptop",
    "command": "apply",
    "arguments": ["--evacuate", "grid-2"],
    "result": "failed",
    "release": 2,
    "seconds": 12.5,
    "slug": "abababababab",
    "added": 1,
    "changed": 2,
    "destroyed": 0,
    "message": "ship",
    "servers": ["grid-1"],
    "failures": ["web.1: it exited"],
}
ENTRY = {
    "MESSAGE": "hello",
    "PRIORITY": "6",
    "_PID": "7",
    "_SYSTEMD_UNIT": f"{UNIT}.service",
    "UNIT": f"{UNIT}.service",
    "__REALTIME_TIMESTAMP": "1700000000000000",
    "__CURSOR": "s=1;i=2",
}
SCOPE = Scope("shop", "salt", {"web": {"A": "b"}}, packages=("ruby",), router="nginx")


@cache
def model() -> Manifest:
    return read(Path(os.environ["FUZZ_DIRECTORY"], "dyno.yaml"))


@dataclass(frozen=True)
class Parser:
    """A parser, what is done with its result outside of the boundary, and a valid answer."""

    parse: Callable[[str], Any]
    use: Callable[[Any], object]
    valid: str


def use_facts(found: Facts) -> None:
    assert found.recorded_ports() is not None and found.dynos("shop") is not None
    Observed(found, {}).fingerprint()
    meta = server_facts.newest_meta([found, found])
    found.own_address(meta)
    manifest = model()
    identity.identify(manifest, {"grid-1": found})
    inventory.leaving_targets(manifest, {"grid-1": found})
    inventory.spare_targets(manifest, {"grid-1": found})
    with suppress(ValueError):
        config.restored(manifest, meta.get("config") or {}, identity.recorded_connections(meta))
    use_releases(found.releases)
    use_holder(found.holder)
    for route in found.routes:
        route.lasting()


def use_releases(found: Sequence[release.Release]) -> None:
    merged = merged_releases.merge([found, found[::-1]])
    now = release.standing(merged)
    release.last_good(merged, [2])
    release.hold(merged, SLUG, "m")
    release.next_number([each.number for each in merged], ["m1", "m2"], ["m1"])
    text = releases_view.table(merged, now, {2: ["grid-1"]}, PLAIN)
    text += json.dumps(releases_view.document(merged, now, {}, {}))
    shown(text + "".join(releases_view.details(each, [], [], []) for each in merged))


def use_holder(found: object) -> None:
    for holder in lock_holder.holders([found] if isinstance(found, str) else []):
        holder.sentence()


def use_audit_log(entries: Sequence[Mapping[str, Any]]) -> None:
    shown(history.table(entries, PLAIN))
    json.dumps(history.document(entries, {}), allow_nan=False).encode()


def use_rows(found: Sequence[Row]) -> None:
    use_status(ServerStatus(found))


def use_routes(found: tuple[routing.Route, ...]) -> None:
    for route in found:
        route.lasting()
    use_status(ServerStatus(routes=found))


def use_status(found: ServerStatus) -> None:
    site = examine(model(), {"grid-1": found}, {"grid-2": "grid-2: timed out"})
    json.dumps([site_view.document(site), *(site_view.dyno(site, row) for row in site.rows)], allow_nan=False)
    shown(site_view.above("shop", site, PLAIN) + formation.render(model(), site, PLAIN, width=80))
    if random.random() < 0.02:  # it takes a hundred times as long
        from rich.console import Console

        console = Console(width=200, file=io.StringIO())
        top.plain(model(), [Sample("grid-1", vitals.parse(VITALS, "shop"), found)], datetime(2026, 1, 1), console)


def use_vitals(found: vitals.Vitals) -> None:
    assert found.places() >= 0
    json.dumps(top.document(model(), [Sample("grid-1", found, ServerStatus(), {}, "", 2)]), allow_nan=False)


def journal_lines(text: str) -> list[journal.Line]:
    reader = journal.Reader("shop", "grid-1")
    return [line for one in text.splitlines() if (line := reader.read(one)) is not None]


def use_lines(found: Sequence[journal.Line]) -> None:
    for line in found:
        shown(logs.text(line, color=False))
        logs.as_json(line).encode()


def body(text: str) -> list[object]:
    found: list[object] = [release_body.content(text), release_body.names(text)]
    with suppress(DynoctlError):
        found.append(release_body.unpack(2, text, lambda *_: True))
    return found


def answers(text: str) -> Sequence[connectivity.Answer]:
    service = Service.__new__(Service)
    object.__setattr__(service, "adapter", "redis")
    return connectivity._answers("grid-1", {"cache": service}, 0, text)


def use_answers(found: Sequence[connectivity.Answer]) -> None:
    shown(online.table(found, PLAIN))


def provided(kind: str, text: str) -> Parser:
    provider = next(each for each in Everything.providers if each.kind == kind)

    def use(resources: Mapping[str, Found]) -> None:
        for found in resources.values():
            digest_of(found.attributes)
            provider.spontaneous(found.attributes)
            provider.dormant(found.attributes)
            for _, value, _ in attributes.differences(found.attributes, {}):
                attributes.text(value)

    return Parser(lambda text: provider.parse(SCOPE, text), use, text)


def shown(text: str) -> None:
    assert all(c == "\n" or c.isprintable() for c in text), ascii(text)[:500]


def prefixed(word: str, text: str) -> str:
    return "".join(f"{word} {line}\n" for line in text.splitlines())


PARSERS = {
    "facts": Parser(lambda text: server_facts.parse(text, "shop"), use_facts, FACTS),
    "releases": Parser(
        releases.parse,
        lambda found: use_releases(found.releases),
        f"{json.dumps(RELEASE)}\nbody 2\nmeta {json.dumps(META)}\nlock a since b (pid 1)\n",
    ),
    "lock": Parser(
        lambda text: lock.holder("grid-1", text),
        use_holder,
        "held ann@laptop since 2026-11-28T10:00:00+00:00 (pid 1), applying v2",
    ),
    "audit log": Parser(audit_log.parse, use_audit_log, f"{json.dumps(AUDIT)}\n{json.dumps({**AUDIT, 'id': 'ff'})}\n"),
    "dynos": Parser(lambda text: Everything.processes.parse(SCOPE, "grid-1", text), use_rows, ROWS),
    "vitals": Parser(lambda text: vitals.parse(text, "shop"), use_vitals, VITALS),
    "checkup": Parser(server_checks.parse, lambda found: f"{found.clock:.1f} {found.memory}", CHECKUP),
    "room": Parser(
        room.parse, lambda found: list(found.lacks("shop", 1000, 2)), "disk 100 4096 100 200 /run\nmemory 1000\n"
    ),
    "journal": Parser(
        journal_lines, use_lines, json.dumps(ENTRY) + "\n" + json.dumps({**ENTRY, "MESSAGE": [104, 105]})
    ),
    "release body": Parser(body, repr, json.dumps(BODY)),
    "bases": Parser(lambda text: Runs().bases("shop", text), repr, f"Id={UNIT}.service\nActiveState=active\n\n{TEXT}"),
    "connectivity": Parser(answers, use_answers, json.dumps(["cache", True, "login succeeded"])),
    "logins": Parser(
        logins.parse,
        lambda found: drift.logins({"grid-1": found}) if hasattr(drift, "logins") else repr(found),
        "2026-11-28T10:00:00+0000 grid-1 sshd[1]: Accepted publickey for root from 10.0.0.2 port 5000 ssh2",
    ),
    "routes": Parser(routing.read, use_routes, f"router open {json.dumps(MARK)}"),
    "traffic": Parser(
        traffic.read,
        lambda found: use_status(ServerStatus(traffic=found)),
        "traffic 1000 7 at 990\ntraffic 1000 5 200 0.018 web.1\ntraffic 1000 2 502 12 \ntraffic 1000 1 all",
    ),
    "one-offs": Parser(
        lambda text: one_offs.read(text, "shop"),
        lambda found: use_status(ServerStatus(one_offs=found)),
        prefixed(
            "one-off", f"Id=dynoctl-run-shop.1.service\nActiveState=active\nBindReadOnlyPaths=/srv/dyno/a/{SLUG}:/app"
        ),
    ),
    "latest releases": Parser(
        latest_releases.read,
        lambda found: use_status(ServerStatus(releases=found)),
        prefixed(
            "release", json.dumps({"number": 2, "slug": "ab", "digest": "cd", "salt": "ef", "of": 1, "moved": True})
        ),
    ),
    "sections": Parser(
        lambda text: sections(text, "N"), repr, "N begin a\ntext\nN end a 0\nN begin b\n\nN end b 1\nN done"
    ),
    **{kind: provided(kind, text) for kind, text in PROVIDED.items()},
}

WORDS = (
    *("", " ", "0", "-1", "1.5", "²", "١", "1:3.3+b1", "9" * 30, "9" * 5000, "1e999", "NaN", "Infinity", "-0", "0x10"),
    *("null", "true", "[]", "{}", '""', "[" * 3000, '{"a":' * 2000, '"\\ud800"', '{"number": 1e999}'),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "not a time", "1970-01-01"),
    *(
        "\x1b[2J",
        "\x9b31m",
        "\x07",
        "\r",
        "\x00",
        "\x08",
        "\x7f",
        "\u202e",
        "\u2028",
        "\x85",
        "\x1c",
        "\u200b",
        "\ufffd",
    ),
    *("web.0", "web.1\n", "web.99999999999", "Web.1", "web.1²", "../../etc/passwd", "-oProxyCommand=x", "a" * 20_000),
    *("=", ":", "=:=", "meta", "{", "}", "key", "Id", "machine_id", "cores", "file", "same", "loop", "now", "written"),
)
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        1e308,
        10**17,
        10**30,
        -(10**30),
        "",
        "²",
        "\x1b]8;;http://x\x07",
        "\ud800",
        "\u202e",
    ),
    *([], {}, [[]], {"": ""}, [None], {"a": {"b": {"c": [1, 2, {"d": None}]}}}, "0001-01-01T00:00:00Z", "a" * 10_000),
    *(
        "web.1\n",
        "-oProxyCommand=x",
        "9999-12-31T23:59:59-23:59",
        ["web.1"],
        {"web.1": 7},
        {"m1": None},
        {"m1": {"host": []}},
    ),
)


def changed(value: Any, dice: random.Random) -> Any:
    """A value of JSON with one part replaced, removed or renamed."""
    if isinstance(value, dict) and value and dice.random() < 0.85:
        key = dice.choice(sorted(value))
        what = dice.random()
        if what < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if what < 0.2:
            name = dice.choice(VALUES)
            return {**value, str(name): value[key]}
        return {**value, key: changed(value[key], dice)}
    if isinstance(value, list) and value and dice.random() < 0.7:
        place = dice.randrange(len(value))
        return [*value[:place], changed(value[place], dice), *value[place + 1 :]]
    return dice.choice(VALUES)


def damaged(text: str, dice: random.Random) -> str:
    """An answer with one or a few things wrong."""
    lines = text.split("\n")
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        place = dice.randrange(len(lines))
        line = lines[place]
        start = min((at for at in (line.find("{"), line.find("[")) if at >= 0), default=-1)
        what = dice.random()
        if start >= 0 and what < 0.7:
            with suppress(ValueError, RecursionError):
                value = changed(json.loads(line[start:]), dice)
                lines[place] = line[:start] + json.dumps(value, ensure_ascii=dice.random() < 0.7)
        elif what < 0.1:
            del lines[place]
            lines = lines or [""]
        elif what < 0.2:
            lines.insert(dice.randrange(len(lines)), lines[place])
        elif what < 0.3:
            lines[place] = line[: dice.randrange(len(line) + 1)]
        elif what < 0.4:
            lines.insert(place, f"{dice.choice(WORDS)} {dice.choice(WORDS)} {dice.choice(WORDS)}")
        elif what < 0.5:
            at = dice.randrange(len(line) + 1)
            lines[place] = line[:at] + dice.choice(WORDS) + line[at:]
        else:
            for mark in dice.sample((" ", "=", ":", "/", "."), 5):
                words = line.split(mark)
                if len(words) > 1:
                    words[dice.randrange(len(words))] = dice.choice(WORDS)
                    lines[place] = mark.join(words)
                    break
    return "\n".join(lines)


def attack(name: str, seed: int) -> None:
    parser = PARSERS[name]
    text = damaged(parser.valid, random.Random(seed))
    try:
        with reading("grid-2"):
            found = parser.parse(text)
    except InvalidAnswer as error:
        assert error.summary.startswith("grid-2: its answer is invalid: ") and len(error.summary) < 300
        return
    except DynoctlError:
        return  # newer records, or a lock that cannot be read
    try:
        parser.use(found)
    except Exception as error:
        pytest.fail(f"FUZZ_SEED={seed}: {name}: {type(error).__name__}: {error}\n{ascii(text)[:3000]}")


@pytest.fixture(scope="module", autouse=True)
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("fuzz")
    (directory / "dyno.yaml").write_text(
        "version: 1\napp: {name: shop, source: .}\nrackup: config.ru\ndynos: {web: 2}\n"
        "servers: [{name: grid-1, host: 10.0.0.11}]\n"
    )
    (directory / "config.ru").write_text("run nil\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUZZ_DIRECTORY", str(directory))
        yield


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_valid_is_parsed(name: str) -> None:
    PARSERS[name].use(PARSERS[name].parse(PARSERS[name].valid))


@pytest.mark.parametrize("name", PARSERS)
def test_no_answer_gets_past_the_boundary(name: str) -> None:
    start = sum(name.encode()) * 10_000_000
    seeds = [int(SEED)] if SEED else range(start, start + TOTAL // len(PARSERS) + 1)
    for seed in seeds:
        attack(name, seed)
