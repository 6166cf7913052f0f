"""Previews: what their manifest takes from the app's, and that nothing of production is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DynoctlError
from infra.manifest import check
from infra.manifest.model import Manifest
from infra.manifest.previews import destination
from infra.ops import previews

BASE = """\
version: 1
app: {name: shop, source: .}
rackup: config.ru
dynos: {web: {count: 8, memory: 1G}, worker: {count: 2, command: work}}
schedule: [{name: nightly, every: 1d, command: sweep}]
env: {LEVEL: info, KEY: {from_env: KEY}}
database: {adapter: postgresql, url: "postgres://db.example.org/shop"}
router: {kind: nginx, servers: [front], hosts: [shop.example.org]}
servers:
  - {name: front, host: front.example.org}
  - {name: small, host: small.example.org, labels: {role: preview}}
  - {name: big, host: big.example.org, labels: {role: production}}
"""

OWN = """\
preview: {host: preview.example.org, labels: {role: preview}, expires: 2d}
env: {KEY: test}
database: {adapter: postgresql, host: db.example.org, name: "shop_{preview}"}
"""


def preview(tmp_path: Path, name: str = "pr-12", own: str = OWN) -> tuple[Manifest | None, list[str]]:
    (tmp_path / "config.ru").touch()
    (tmp_path / "dyno.yaml").write_text(BASE)
    (tmp_path / "dyno.preview.yaml").write_text(own)
    model, problems = check(tmp_path / "dyno.yaml", destination(name))
    return model, [problem.summary for problem in problems]


def test_a_preview_is_the_app_with_names_and_data_of_its_own(tmp_path: Path) -> None:
    model, problems = preview(tmp_path)
    assert model is not None, problems
    assert (model.app.name, model.environment) == ("shop-pr-12", "preview:pr-12")
    assert {type_.name: (type_.count, type_.idle, type_.memory) for type_ in model.dynos.values()} == {
        "web": (1, 1800, 1 << 30)
    }
    assert not model.schedule
    assert {server.name: server.dynos for server in model.servers} == {"front": False, "small": True}
    assert model.router is not None and model.router.hosts == ("pr-12.preview.example.org",)
    assert model.database is not None and (model.database.name, model.database.url) == ("shop_pr_12", None)
    assert model.env == {"LEVEL": "info", "KEY": "test"}


def test_the_overlay_decides_on_dynos_and_schedules(tmp_path: Path) -> None:
    own = OWN + "dynos: {web: {count: 2, idle: 1h}, worker: {count: 1}}\n"
    model, problems = preview(tmp_path, own=own)
    assert model is not None, problems
    assert {type_.name: (type_.count, type_.idle) for type_ in model.dynos.values()} == {
        "web": (2, 3600),
        "worker": (1, None),
    }


@pytest.mark.parametrize(
    ("name", "own", "said"),
    [
        ("pr-12", "preview: {host: p.example.org}\nenv: {KEY: test}\n", "a preview cannot use database of shop"),
        ("pr-12", OWN.replace("env: {KEY: test}", "env: {LEVEL: debug}"), "a preview cannot use env.KEY of shop"),
        ("pr-12", OWN.replace("role: preview", "role: nothing"), "no server has these labels"),
        ("pr-12", "env: {KEY: test}\n", "missing key 'preview' with host"),
        ("Pr_12", OWN, "invalid name of a preview: 'Pr_12'"),
        ("a-branch-with-a-long-name", OWN, "the user name dyno-shop-a-branch-with-a-long-name-web-1 is too long"),
    ],
)
def test_what_would_touch_production_is_refused(tmp_path: Path, name: str, own: str, said: str) -> None:
    model, problems = preview(tmp_path, name, own)
    assert model is None
    assert any(said in problem for problem in problems), problems


def test_which_previews_a_server_has() -> None:
    def record(environment: str) -> str:
        return json.dumps({"format": 1, "serial": 1, "dynos": {}, "servers": {}, "environment": environment})

    lines = [
        f"shop-pr-12 1000 {record('preview:pr-12')}",
        f"shop-admin 1000 {record('default')}",
        f"shop-admin-pr-1 1000 {record('preview:pr-1')}",  # of shop-admin
        "shop-pr-13 1000 damaged",
    ]
    assert previews._parse("shop", "\n".join(lines)) == {"pr-12": 1000.0}


def test_commands_for_its_data(tmp_path: Path, capfd: Any) -> None:
    own = OWN.replace("labels", "database: {create: 'echo $PREVIEW $APP', drop: 'exit 3'}, labels")
    model, problems = preview(tmp_path, own=own)
    assert model is not None and model.preview is not None, problems
    previews.prepare_data(model, model.preview.create)
    assert capfd.readouterr().out == "pr_12 shop-pr-12\n"
    with pytest.raises(DynoctlError, match="failed with 3: exit 3"):
        previews.prepare_data(model, model.preview.drop)
