"""Previews: what their manifest takes from the app's, and that nothing of production is in it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from infra.cli import preview as command
from infra.cli.app import app
from infra.cli.session import PlanOptions
from infra.errors import DynoctlError, ManifestInvalid
from infra.manifest import check, read
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


def preview(tmp_path: Path, name: str = "pr-12", own: str = OWN, base: str = BASE) -> tuple[Manifest | None, list[str]]:
    (tmp_path / "config.ru").touch()
    (tmp_path / "dyno.yaml").write_text(base)
    (tmp_path / "dyno.preview.yaml").write_text(own)
    (tmp_path / "dyno.staging.yaml").touch()
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


def test_null_removes_a_setting_of_a_database_as_in_any_overlay(tmp_path: Path) -> None:
    model, problems = preview(tmp_path, own=OWN.replace("host: db", "url: null, host: db"))
    assert model is not None and model.database is not None, problems
    assert (model.database.name, model.database.url) == ("shop_pr_12", None)


@pytest.mark.parametrize(
    ("name", "own", "said"),
    [
        ("pr-12", "preview: {host: p.example.org}\nenv: {KEY: test}\n", "a preview cannot use database of shop"),
        ("pr-12", OWN.replace("env: {KEY: test}", "env: {LEVEL: debug}"), "a preview cannot use env.KEY of shop"),
        ("pr-12", OWN.replace("role: preview", "role: nothing"), "no server has these labels"),
        ("pr-12", "env: {KEY: test}\n", "missing key 'preview' with host"),
        ("Pr_12", OWN, "invalid name of a preview: 'Pr_12'"),
        ("production", OWN, "a preview cannot have the name production"),
        ("staging", OWN, "a preview cannot have the name staging"),
        ("a-branch-with-a-long-name", OWN, "the user name dyno-shop-a-branch-with-a-long-name-web-1 is too long"),
    ],
)
def test_what_would_touch_production_is_refused(tmp_path: Path, name: str, own: str, said: str) -> None:
    model, problems = preview(tmp_path, name, own)
    assert model is None
    assert any(said in problem for problem in problems), problems


@pytest.mark.parametrize(
    "value",
    ["postgres://db.example.org/shop", "Redis://10.0.0.2", "amqp://queue", "https://key:secret@api.example.org"],
)
def test_a_url_of_production_is_refused_as_a_reference_is(tmp_path: Path, value: str) -> None:
    base = BASE.replace("LEVEL: info", f'LEVEL: info, SITE: "https://shop.example.org", URL: "{value}"')
    assert preview(tmp_path, base=base)[1] == ["a preview cannot use env.URL of shop"]


def test_what_names_a_process_type_or_a_server_that_a_preview_lacks(tmp_path: Path) -> None:
    volumes = (
        "volumes: [{name: a, path: a, types: [worker]}, {name: b, path: b, types: [web, nightly]}]\nbuilder: big\n"
    )
    model, problems = preview(tmp_path, base=BASE.replace("source: .", "source: ., build: [make]") + volumes)
    assert model is not None, problems
    assert [(volume.name, volume.types) for volume in model.volumes] == [("b", ("web",))]
    assert {server.name: server.dynos for server in model.servers} == {"front": False, "small": True, "big": False}


def test_which_previews_a_server_has() -> None:
    def record(environment: str) -> str:
        return json.dumps({"format": 1, "serial": 1, "dynos": {}, "servers": {}, "environment": environment})

    lines = [
        f"shop-pr-12 1000 {record('preview:pr-12')}",
        f"shop-admin 1000 {record('default')}",
        f"shop-admin-pr-1 1000 {record('preview:pr-1')}",  # of shop-admin
        "shop-pr-13 1000 damaged",
        f"shop-../x 1000 {record('preview:../x')}",
    ]
    assert previews._parse("shop", "\n".join(lines)) == {"pr-12": 1000.0}


def test_commands_for_its_data(tmp_path: Path, capfd: Any) -> None:
    own = OWN.replace("labels", "database: {create: 'echo $PREVIEW $APP', drop: 'exit 3'}, labels")
    model, problems = preview(tmp_path, own=own)
    assert model is not None and model.preview is not None, problems
    previews.prepare_data(model, model.preview.create)
    assert capfd.readouterr() == ("", "pr_12 shop-pr-12\n"), "stdout is for results, such as those of --json"
    with pytest.raises(DynoctlError, match="failed with 3: exit 3") as caught:
        previews.prepare_data(model, model.preview.drop)
    assert caught.value.hint == "run it by hand with PREVIEW=pr_12 and APP=shop-pr-12"


@pytest.fixture
def removing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A manifest whose previews leave a file when their data is dropped. ``carry_out`` ends as the name says."""
    own = OWN.replace("labels", f"database: {{drop: 'echo $PREVIEW >> {tmp_path}/dropped'}}, labels")
    preview(tmp_path, own=own)
    monkeypatch.chdir(tmp_path)

    def carry_out(options: PlanOptions, flags: Any, *, verb: str, refuse: Any) -> None:
        name = str(options.destination).partition(":")[2]
        if name == "locked":
            raise DynoctlError("locked")
        changes = () if name in ("absent", "records") else ("unit.web.1",)
        refuse(SimpleNamespace(plan=SimpleNamespace(changes=changes), records_outdated=lambda: name == "records"))
        raise typer.Exit(1 if name == "failed" else 0)

    monkeypatch.setattr(command, "carry_out", carry_out)
    monkeypatch.setattr(previews, "running", lambda model: ([], {}))
    yield ["preview", "down", "--auto-approve"]


def test_only_the_data_of_a_preview_that_was_there_is_dropped(removing: list[str], tmp_path: Path) -> None:
    """Without one, nobody is asked, and shop_test may be the database of something else. Of one whose removal was cut
    off, there may be only records."""
    for name, code in (("absent", 0), ("failed", 1), ("pr-1", 0), ("records", 0)):
        assert CliRunner().invoke(app, [*removing, name]).exit_code == code
    assert (tmp_path / "dropped").read_text() == "pr_1\nrecords\n"


def test_an_expired_preview_that_cannot_be_removed_keeps_no_other(
    removing: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def running(model: Manifest) -> tuple[list[previews.Running], dict[str, str]]:
        names = ["locked", "pr-2"] if asked else ["locked", "pr-2", "pr-3"]
        asked.append(model.app.name)
        return [previews.Running(name, "", ("small",), released=0.0, expires=1.0) for name in names], {}

    monkeypatch.setattr(previews, "running", running)
    assert CliRunner().invoke(app, [*removing, "--expired"]).exit_code == 1
    assert (tmp_path / "dropped").read_text() == "pr_2\n", "pr-3 was released again meanwhile"
    assert set(asked) == {"shop"}


def test_the_servers_say_how_old_a_preview_is(tmp_path: Path) -> None:
    home = tmp_path / "shop-pr-1"
    (home / "releases").mkdir(parents=True)
    (home / "meta.json").write_text("{}\n")
    os.utime(home / "releases", (1000, 1000))
    (tmp_path / "date").write_text("#!/bin/sh\necho 1060")
    (tmp_path / "date").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "homes": f"{tmp_path}/shop-"}
    argv = ["sh", "-c", previews._SCRIPT]
    assert (
        subprocess.run(argv, env=environment, check=True, capture_output=True, text=True).stdout == "shop-pr-1 60 {}\n"
    )


def test_servers_that_lost_their_labels_are_asked_and_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A preview may still run on them."""
    preview(tmp_path)
    monkeypatch.chdir(tmp_path)
    cleaned: list[frozenset[str]] = []

    def running(model: Manifest) -> tuple[list[previews.Running], dict[str, str]]:
        assert {server.name for server in model.servers} == {"front", "small", "big"}
        return [previews.Running("pr-1", "pr-1.example.org", ("big",), released=0.0, expires=1.0)], {}

    def carry_out(options: PlanOptions, flags: Any, *, verb: str, refuse: Any) -> None:
        cleaned.append(options.also)
        raise typer.Exit(0)

    monkeypatch.setattr(previews, "running", running)
    monkeypatch.setattr(command, "carry_out", carry_out)
    listed = CliRunner().invoke(app, ["preview", "ls"]).output
    assert "pr-1" in listed and "big" in listed
    for words in (["pr-1"], ["--expired"]):
        assert CliRunner().invoke(app, ["preview", "down", "--auto-approve", *words]).exit_code == 0
    assert cleaned == [frozenset({"big"})] * 2
    model = read(tmp_path / "dyno.yaml", destination("pr-1"), also=("big",))
    assert {server.name: server.dynos for server in model.servers} == {"front": False, "small": True, "big": False}
    nowhere = OWN.replace("role: preview", "role: nothing")
    (tmp_path / "dyno.preview.yaml").write_text(nowhere)
    assert "big" in CliRunner().invoke(app, ["preview", "ls"]).output, "as all labels are gone"


def test_a_missing_overlay_says_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preview(tmp_path)
    (tmp_path / "dyno.preview.yaml").unlink()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["preview", "ls"])
    assert isinstance(done.exception, ManifestInvalid)
    assert "preview: {host: preview.example.org}" in done.exception.diagnostics[0].hint


def test_what_to_do_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preview(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["preview", "down", "pr-1"])
    assert isinstance(done.exception, DynoctlError)
    assert done.exception.hint == (
        "review the plan with dynoctl preview ls, then: dynoctl preview down pr-1 --auto-approve"
    )
