"""A manifest of several files: merged, each value with its origin, each error in the file in which it stands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra import manifest
from infra.errors import ManifestInvalid
from infra.manifest.layers import merge
from infra.manifest.model import Manifest

DYNOCTL = Path(sys.executable).parent / "dynoctl"
BASE = """\
version: 1
app: {name: shop, source: .}
framework: {name: rack, require: ./app, app: App}
dynos: {web: 4, worker: {count: 1, command: work}}
env: {LOG_LEVEL: info, API_KEY: {from_env: API_KEY}}
database: {adapter: postgresql, url: "postgresql://shop:hunter2@10.0.0.9/shop"}
server_defaults: {user: deploy, labels: {room: one}}
groups:
  edge: {port: 2222, labels: {rack: a}}
servers:
  - {name: grid-1, host: 10.0.0.11, groups: [edge]}
  - {name: grid-2, host: 10.0.0.12, user: root, labels: {room: two}}
"""
STAGING = """\
dynos: {web: 1, worker: ~}
env:
  LOG_LEVEL: debug
  API_KEY: {from_file: key}
servers:
  - {name: stage-1, host: 10.0.1.11, port: 22}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app.rb").write_text("App = 1\n")
    (tmp_path / "dyno.yaml").write_text(BASE)
    (tmp_path / "dyno.staging.yaml").write_text(STAGING)
    return tmp_path


def read(project: Path, destination: str | None = None) -> Manifest:
    return manifest.read(project / "dyno.yaml", destination)


def wrong(project: Path, destination: str | None = None) -> str:
    with pytest.raises(ManifestInvalid) as error:
        read(project, destination)
    return "\n".join(
        f"{Path(one.location.file).name if one.location else ''}:{one.location.line if one.location else 0} {one.summary}"
        for one in error.value.diagnostics
    )


def test_an_overlay_lies_over_the_manifest(project: Path) -> None:
    one = read(project, "staging")
    assert (one.destination, one.environment) == ("staging", "staging")
    assert [server.name for server in one.servers] == ["stage-1"], "a list is replaced whole"
    assert (one.servers[0].user, one.servers[0].port) == ("deploy", 22)
    assert {name: type_.count for name, type_ in one.dynos.items()} == {"web": 1}, "nothing takes a key away"
    assert one.env["LOG_LEVEL"] == "debug"
    assert repr(one.env["API_KEY"]).count("from_file") == 1, "a reference is one value"
    assert read(project).environment == "default"
    assert one.digest() != read(project).digest()


def test_servers_share_what_groups_and_defaults_say(project: Path) -> None:
    first, second = read(project).servers
    assert (first.user, first.port, dict(first.labels)) == ("deploy", 2222, {"rack": "a", "room": "one"})
    assert (second.user, second.port, dict(second.labels)) == ("root", None, {"room": "two"})
    (project / "dyno.yaml").write_text(BASE.replace("[edge]", "[egde]"))
    assert wrong(project) == "dyno.yaml:11 there is no group egde"


def test_an_error_is_said_in_the_file_in_which_it_stands(project: Path) -> None:
    (project / "dyno.staging.yaml").write_text("env:\n  1bad: x\ndynos: {web: many}\n")
    assert {line[:20] for line in wrong(project, "staging").splitlines()} == {
        "dyno.staging.yaml:2 ",
        "dyno.staging.yaml:3 ",
    }
    (project / "dyno.yaml").write_text(BASE.replace("web: 4", "web: -4"))
    assert "dyno.yaml:4 " in wrong(project)


def test_a_missing_overlay_names_those_that_are_there(project: Path) -> None:
    assert "there is no " in wrong(project, "production")
    assert "-d cannot be '../x'" in wrong(project, "../x")


def test_a_file_extends_others(project: Path) -> None:
    (project / "dyno.yaml").rename(project / "base.yaml")
    (project / "more.yaml").write_text("env: {MORE: '1', LOG_LEVEL: warn}\n")
    (project / "dyno.yaml").write_text("extends: [base.yaml, more.yaml]\nkeep: 2\n")
    one = read(project, "staging")
    assert (one.keep, one.env["MORE"], one.env["LOG_LEVEL"], one.app.name) == (2, "1", "debug", "shop")
    assert [file.name for file in one.files] == ["base.yaml", "more.yaml", "dyno.yaml", "dyno.staging.yaml"]
    (project / "more.yaml").write_text("extends: dyno.yaml\n")
    assert "more.yaml:1 dyno.yaml extends itself, by way of more.yaml" in wrong(project)
    (project / "dyno.yaml").write_text("extends: nowhere.yaml\n")
    assert "dyno.yaml:1 there is no " in wrong(project)
    (project / "dyno.yaml").write_text("extends: {a: 1}\n")
    assert "extends is no file's name" in wrong(project)


@pytest.mark.parametrize(
    ("under", "over", "whole"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": {"b": 1}}, {"a": None}, {}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": {"from_env": "X"}}, {"a": {"from_file": "y"}}, {"a": {"from_file": "y"}}),
        ({}, {"a": 1}, {"a": 1}),
    ],
)
def test_merging(under: object, over: object, whole: object) -> None:
    assert merge(under, over) == whole  # type: ignore[arg-type]


def test_a_newer_version_is_refused_and_nothing_else_is_said(project: Path) -> None:
    (project / "dyno.yaml").write_text("version: 2\nnovelty: 1\n")
    assert wrong(project) == "dyno.yaml:1 version 2 is newer than this dynoctl reads"


def test_config_says_where_each_value_comes_from(project: Path) -> None:
    done = subprocess.run([DYNOCTL, "config", "-d", "staging"], cwd=project, capture_output=True, text=True, check=True)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "web: 1 # dyno.staging.yaml:1" in lines
    assert "LOG_LEVEL: debug # dyno.staging.yaml:3" in lines
    assert "from_file: key # dyno.staging.yaml:4" in lines
    assert "- name: stage-1 # dyno.staging.yaml:6" in lines
    assert 'url: "postgresql://***@10.0.0.9/shop" # dyno.yaml:6' in lines
    assert "hunter2" not in done.stdout and "worker" not in done.stdout
    done = subprocess.run([DYNOCTL, "config", "--json"], cwd=project, capture_output=True, text=True, check=True)
    values = {one["path"]: one for one in json.loads(done.stdout)["values"]}
    assert values["env/LOG_LEVEL"] == {"path": "env/LOG_LEVEL", "value": "info", "file": "dyno.yaml", "line": 5}
    (project / "merged.yaml").write_text(
        subprocess.run([DYNOCTL, "config"], cwd=project, capture_output=True, text=True, check=True).stdout
    )
    again = manifest.read(project / "merged.yaml")
    assert (again.dynos, again.env, again.servers) == (read(project).dynos, read(project).env, read(project).servers)
