"""Idle dynos: when one is stopped, how its state reads, and what a restart does to it."""

from __future__ import annotations

import os
import socket as sockets
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import ManifestInvalid
from infra.manifest import read
from infra.model import paths
from infra.model.provider import Scope
from infra.model.resource import Action, Change, Resource
from providers import dyno_unit, idle, ini, mount, socket
from providers.dyno_unit import DynoUnit
from providers.mount import Mount
from providers.processes import Processes
from providers.unit import Unit
from tests.unit.test_dyno_views import said

IDLE = DynoUnit("shop", "web.1", ("serve",), {}, "0" * 64, 250, 1 << 29, "10.0.0.11", 5000, idle=1800)
ALWAYS = replace(IDLE, idle=0)
SCOPE = Scope("shop", "s")

ASLEEP = "ActiveState=inactive\nSubState=dead\nResult=success\nLoadState=loaded"
"""What systemd says of a dyno that was stopped."""


def watched(tmp_path: Path, step: str, port: int = 9) -> list[str]:
    """Run the watch as systemd would, for 30 steps of a minute at most; the commands that it gave. ``step`` is what happens in each."""
    for name, script in {
        "sleep": f'echo >> steps; [ "$(wc -l < steps)" -le 30 ] || exit; {step}',
        "systemctl": 'echo "$*" >> said',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    line = idle.watch("shop", "web.1", port, 1200, "100%")
    # Twice, as systemd and then the unit that it runs expand it.
    for _ in range(2):
        line = line.replace("$$", "$")
    words = [ini.unquote(word) for word in _words(line)]
    at = words.index("/bin/sh")
    words = [str(tmp_path / "mark") if word.endswith(idle.MARK) else word for word in words[at:]]
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(words, check=False, cwd=tmp_path, env={"PATH": path, "LC_ALL": "C"}, timeout=60)
    steps = (tmp_path / "steps").read_text().count("\n")
    found = (tmp_path / "said").read_text().splitlines() if (tmp_path / "said").exists() else []
    return [f"{steps} steps", *found]


def _words(line: str) -> list[str]:
    """The words of a command line as ``ini.quote`` wrote them."""
    words, quoted, escaped = [""], False, False
    for character in line:
        if character == " " and not quoted:
            words.append("")
            continue
        quoted ^= character == '"' and not escaped
        escaped = character == "\\" and not escaped
        words[-1] += character
    return words


STOP = [
    "set-property --runtime dyno-shop-web-1.service CPUQuota=100%",
    "--no-block --job-mode=fail stop dyno-shop-web-1.service",
]


def test_a_dyno_is_stopped_when_nobody_used_it_for_so_long(tmp_path: Path) -> None:
    assert watched(tmp_path, "[ ! -e said ] || exit 1") == ["21 steps", *STOP]


def test_a_request_begins_the_time_anew(tmp_path: Path) -> None:
    step = '[ ! -e said ] || exit 1; [ "$(wc -l < steps)" -gt 5 ] || touch -d "@$(wc -l < steps)" mark'
    assert watched(tmp_path, step) == ["26 steps", *STOP]


def test_who_is_connected_uses_it(tmp_path: Path) -> None:
    """A slow request, a stream, a WebSocket: none of them leaves a mark while it lasts."""
    with sockets.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with sockets.create_connection(("127.0.0.1", port)):
            assert watched(tmp_path, ":", port) == ["31 steps"]


def test_a_stop_that_conflicts_with_a_job_is_tried_again(tmp_path: Path) -> None:
    assert watched(tmp_path, "[ ! -e said ] || [ $(wc -l < said) -lt 4 ] || exit 1") == ["22 steps", *STOP, *STOP]


def test_settings() -> None:
    unit, ready = dyno_unit.service(IDLE), dyno_unit.ready(IDLE)
    assert unit["Unit.X-Dynoctl-Idle"] == "1800"
    assert "Install.WantedBy" not in unit, "after a boot of the server, a request starts it"
    assert dyno_unit.attributes(IDLE)["enabled"] is False
    assert ready["Service.ExecStartPost"].split("\n")[1].startswith("-+/usr/bin/systemd-run ")
    assert socket.settings("shop", "web.1", "10.0.0.11", 5000, defer=True)["Socket.DeferAcceptSec"] == "30"
    for settings in (dyno_unit.service(ALWAYS), dyno_unit.ready(ALWAYS), socket.settings("shop", "web.1", "::1", 5000)):
        assert not any("Idle" in key or "Defer" in key or "systemd-run" in value for key, value in settings.items())


@pytest.mark.parametrize(
    ("dyno", "systemd", "state"),
    [
        (IDLE, ASLEEP, "running"),
        (ALWAYS, ASLEEP, "stopped"),
        (IDLE, ASLEEP + "\nNeedDaemonReload=yes", "outdated"),
        (IDLE, ASLEEP.replace("loaded", "masked"), "masked"),
        (IDLE, ASLEEP.replace("inactive", "failed"), "failed"),
    ],
)
def test_an_idle_dyno_is_neither_drift_nor_down(dyno: DynoUnit, systemd: str, state: str) -> None:
    texts = {"dyno-shop-web-1": dyno_unit.service(dyno), "dyno-shop-web-1-ready": dyno_unit.ready(dyno)}
    lines = [f"{name}.service\n={ini.render(text).replace(chr(10), chr(10) + '=')}" for name, text in texts.items()]
    answer = "\n".join([*lines, f"Id=dyno-shop-web-1.service\n{systemd}", "", "Id=dyno-shop-web-1-ready.service"])
    found = Unit().parse(SCOPE, answer)["shop-web.1"].attributes
    assert found["state"] == state
    wanted = dyno_unit.attributes(dyno)
    if state == "running":
        assert {name: found[name] for name in ("unit", "ready", "enabled", "cpu")} == {
            name: wanted[name] for name in ("unit", "ready", "enabled", "cpu")
        }


def test_ps_says_idle() -> None:
    mark = "/etc/systemd/system/dyno-shop-web-1.service:X-Dynoctl-Idle=1800"
    stopped = said(mark).replace("ActiveState=active", "ActiveState=inactive")
    assert [row.state for row in Processes().parse(SCOPE, "grid-1", stopped)] == ["idle"]
    closed = "\n".join(line for line in stopped.splitlines() if "0B034D0A:1388" not in line)
    assert [row.state for row in Processes().parse(SCOPE, "grid-1", closed)] == ["down"], "no request starts it"
    assert [row.state for row in Processes().parse(SCOPE, "grid-1", stopped.replace(mark, ""))] == ["down"]


def scripts(before: DynoUnit, after: DynoUnit, **found: str) -> Mapping[str, str]:
    """The scripts of an update, by what they do."""
    old = {**dyno_unit.attributes(before), **found}
    change = Change(Resource("g", "unit", "shop-web.1", {}, "web.1"), Action.UPDATE, old, dyno_unit.attributes(after))
    change = replace(change, effect=Unit().effect(change))
    return {command.argv[3]: command.argv[2] for command in Unit().steps(SCOPE, change) if command.argv[:1] == ("sh",)}


def test_a_restart_leaves_an_idle_dyno_idle() -> None:
    other = replace(IDLE, argv=("other",))
    both = scripts(IDLE, other)
    assert all('! is_idle "$1" || { echo "left idle"; exit 0; }' in both[name] for name in ("open", "restart"))
    first = both["restart"].partition("systemctl restart")[0]
    assert 'systemctl stop "watch-$1.service"' in first, "with a restart, systemd would restart it as it was"
    for before, after, found in (
        (ALWAYS, IDLE, {}),  # it must be healthy once
        (IDLE, ALWAYS, {}),
        (IDLE, replace(IDLE, port=5001), {}),  # its socket moves, for which it was stopped
        (IDLE, other, {"state": "failed"}),
    ):
        now = scripts(before, after, **found)
        assert not any("is_idle" in script for script in now.values()), (before, after)


@pytest.mark.parametrize(("idle_", "healthy"), [(1800, True), (0, False)])
def test_a_dyno_that_wakes_while_it_must_stay_healthy_is_waited_for(
    tmp_path: Path, idle_: int, *, healthy: bool
) -> None:
    """Its service runs, and its companion has not found it healthy yet."""
    unit = dyno_unit.service(replace(IDLE, idle=idle_))
    (tmp_path / "dyno-shop-web-1.service").write_text(ini.render(unit))
    (tmp_path / "systemctl").write_text("""#!/bin/sh
case $* in
  "start dyno-shop-web-1-ready.service") touch healthy;;
  "is-active -q dyno-shop-web-1-ready.service") [ -e healthy ];;
  "show -p ActiveState --value dyno-shop-web-1.service") echo active;;
  "show -p NRestarts --value dyno-shop-web-1.service") echo 0;;
esac
""")
    (tmp_path / "systemctl").chmod(0o755)
    after = dyno_unit.attributes(replace(IDLE, deadline=300))
    resource = Resource("g", "unit", "shop-web.1", {}, "web.1")
    command = Unit().alive(SCOPE, Change(resource, Action.UPDATE, after, after))
    assert command is not None and command.timeout > 300
    argv = [word.replace(paths.UNITS, str(tmp_path)) for word in command.argv]
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(argv, cwd=tmp_path, env={"PATH": path}, timeout=30, check=False)
    assert (done.returncode == 0) is healthy


def test_there_is_one_watch_over_a_dyno() -> None:
    """Another health check starts the companion again, and with it the watch."""
    assert "--unit=watch-dyno-shop-web-1.service" in idle.watch("shop", "web.1", 5000, 1800, "100%")


def test_a_dyno_whose_socket_moved_is_started_as_before_when_its_change_is_reverted() -> None:
    """It was stopped for the move, so it looks like an idle one, and may have been in use."""

    def undo(after: DynoUnit) -> str:
        change = Change(
            Resource("g", "unit", "shop-web.1", {}, "web.1"),
            Action.UPDATE,
            dyno_unit.attributes(IDLE),
            dyno_unit.attributes(after),
        )
        return Unit().undo(SCOPE, change)[-1].argv[2]

    assert "is_idle" in undo(replace(IDLE, argv=("other",)))
    assert "is_idle" not in undo(replace(IDLE, port=5001))
    assert "is_idle" not in undo(replace(IDLE, listen="10.0.0.12"))


def test_only_web_dynos_idle(tmp_path: Path) -> None:
    text = "version: 1\napp: {name: shop, source: .}\nrackup: config.ru\nservers: [{name: a, host: a}]\n"
    (tmp_path / "config.ru").touch()
    file = tmp_path / "dyno.yaml"
    file.write_text(text + "dynos: {web: {count: 2, idle: 30m}}\n")
    assert read(file).dynos["web"].idle == 1800
    for wrong in ("web: {count: 2, idle: 5s}", "web: 1, worker: {count: 1, command: x, idle: 30m}"):
        file.write_text(text + f"dynos: {{{wrong}}}\n")
        with pytest.raises(ManifestInvalid) as caught:
            read(file)
        assert ["idle" in problem.summary for problem in caught.value.diagnostics] == [True]


@pytest.mark.parametrize(("since", "mounted"), [("0", True), ("1500000", False), ("", False)])
def test_after_a_boot_the_slug_is_mounted_with_the_first_request(since: str, *, mounted: bool) -> None:
    """So it is no change that it is not. One that somebody unmounted is."""
    digest = "ab" * 32
    name = paths.mount_unit("shop", digest)
    text = ini.render(mount.settings("shop", digest)).splitlines()
    lines = [f"file {name}", name, *(f"={line}" for line in text)]
    shown = [f"Id={name}", *([f"InactiveExitTimestampMonotonic={since}"] if since else [])]
    (found,) = Mount().parse(SCOPE, "\n".join([*lines, *shown])).values()
    assert found.attributes["mounted"] is mounted
