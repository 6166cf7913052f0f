"""Health checks in the units of dynos, and in the settings that servers remember."""

from __future__ import annotations

import subprocess
from dataclasses import asdict, replace
from typing import Any

from infra.manifest.model import DynoType, Health, Rollout, Router, Schedule
from infra.model.provider import Scope
from infra.model.resource import Action, Change, Resource
from infra.state import config
from providers import dyno_unit
from providers.dyno_unit import DynoUnit
from providers.health import _FUNCTIONS, Check, check_of
from providers.unit import Unit
from tests.simulation.harness import manifest

FITS = "fits = " + _FUNCTIONS.partition("fits = ")[2].partition("look = ")[0]

WEB = DynoUnit("shop", "web.1", ("serve",), {}, "0" * 64, 250, 1 << 29, "10.0.0.11", 5000)
WORKER = replace(WEB, dyno="worker.1", listen="", port=0)


def test_another_health_check_is_tried_without_a_restart() -> None:
    before, after = (dyno_unit.attributes(replace(WEB, health=Check(path))) for path in ("/", "/up"))
    change = Change(Resource("grid-1", "unit", "shop-web.1", after, "web.1"), Action.UPDATE, before, after)
    assert Unit().effect(change) is None
    commands = [command for command in Unit().steps(Scope("shop", "s"), change) if command.health]
    (check,) = (command.argv[2:] for command in commands)
    assert check[0].endswith('\nexec systemctl restart "$1-ready.service"\n') and check[2] == "dyno-shop-web-1"
    assert check[0].startswith('systemctl stop "watch-$1.service"'), "or two watches look whether it is idle"
    assert commands[0].timeout >= dyno_unit.READY_TIMEOUT
    command = {**after, "unit": {**dyno_unit.service(WEB), "Service.ExecStart": "other"}}
    assert Unit().effect(replace(change, after=command)) is not None


def test_a_health_command_runs_in_the_dyno_until_it_succeeds() -> None:
    settings = dyno_unit.service(replace(WORKER, health_command=("/bin/sh", "-c", "test -e /tmp/up"), deadline=20))
    assert settings["Service.ExecStartPost"].endswith('health /bin/sh -c "test -e /tmp/up"')
    assert settings["Service.TimeoutStartSec"] == "20"
    assert not settings["Service.ExecStartPost"].startswith("+")  # it is the app's, so it is never root's
    assert "Service.ExecStartPost" not in dyno_unit.service(WORKER)
    script = dyno_unit.UNTIL
    done = subprocess.run(["sh", "-c", script, "health", "true"], timeout=60, check=False)
    assert done.returncode == 0


def test_what_an_older_dynoctl_recorded_is_no_edit() -> None:
    """It knew less of a health check, and recorded the one default of min_healthy_time that it had."""
    now = manifest(worker=1, rollout=Rollout(health=Health(path="/up")))
    recorded: dict[str, Any] = config.document(now)
    assert config.differing(config.document(now), recorded) == []
    before = config.document(now)  # by a dynoctl that had no waves
    before["rollout"] = {key: value for key, value in before["rollout"].items() if key not in ("by", "pause")}
    assert config.differing(config.document(now), before) == []
    waves = replace(now, rollout=replace(now.rollout, by="rack"))
    assert config.differing(config.document(waves), before) == ["rollout"]
    recorded["rollout"] |= {"min_healthy_time": 0, "health": {"path": "/up", "status": None, "timeout": 10}}
    for type_ in recorded["dynos"].values():
        for key in ("health", "tmp", "shm"):
            del type_[key]
    assert config.differing(config.document(now), recorded) == []
    edited = replace(now, rollout=replace(now.rollout, min_healthy_time=5))
    assert config.differing(config.document(edited), recorded) == ["rollout"]
    explicit = replace(now, rollout=replace(now.rollout, min_healthy_time=0))
    assert config.differing(config.document(explicit), config.document(now)) == ["rollout"]
    dynos = {**now.dynos, "worker": replace(now.dynos["worker"], health="true")}
    assert config.differing(config.document(replace(now, dynos=dynos)), recorded) == ["dynos.worker"]
    assert asdict(DynoType("worker", 1))["health"] is None
    larger = {**now.dynos, "worker": replace(now.dynos["worker"], tmp=1 << 30)}
    assert config.differing(config.document(replace(now, dynos=larger)), recorded) == ["dynos.worker"]
    job = replace(now, schedule=(Schedule("nightly", "rake", ("daily",), "daily"),))
    recorded = config.document(job)
    for key in ("tmp", "shm"):
        del recorded["schedule"]["nightly"][key]
    assert config.differing(config.document(job), recorded) == []


def test_rails_own_check_without_a_router_may_refuse_the_host() -> None:
    """config.hosts lacks the address of the dyno, and no name that it has is known."""
    plain = manifest()
    assert check_of(plain, "/up").wanted == "booted"
    assert check_of(plain).wanted == ""
    named = replace(plain, rollout=Rollout(health=Health(host="shop.example.org")))
    routed = replace(plain, router=Router("nginx", ("s1",), hosts=("shop.example.org",)))
    asked = replace(plain, rollout=Rollout(health=Health(path="/up")))
    assert {check_of(one, "/up").wanted for one in (named, routed, asked)} == {"ok"}
    for wanted, healthy in {"booted": {"200", "403"}, "ok": {"200"}}.items():
        program = f'wanted = "{wanted}"\n' + FITS + "puts %w[200 301 403 404 500].select { |status| fits.call(status) }"
        done = subprocess.run(["ruby", "-e", program], capture_output=True, text=True, check=True, timeout=60)
        assert set(done.stdout.split()) == healthy
