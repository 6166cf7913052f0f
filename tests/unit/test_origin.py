"""Where a manifest comes from, and the hint of where it was applied last."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from infra.fleet.observe import Observed
from infra.manifest.model import Server
from infra.model.origin import Origin, parse, repository, same, same_repository
from infra.slug.commit import origin_of
from infra.state import last_applied
from tests.unit.test_formation import facts
from tests.unit.test_formation import manifest as fleet_of


def git(directory: Path, *argv: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(directory), *identity, *argv], check=True, capture_output=True)


@pytest.mark.parametrize(
    "url",
    [
        "git@github.com:acme/shop.git",
        "https://github.com/acme/shop",
        "https://x-access-token:s3cret@GitHub.com/acme/shop.git/",
        "ssh://git@github.com:22/acme/shop.git",
    ],
)
def test_one_repository_has_many_urls(url: str) -> None:
    assert repository(url) == "github.com/acme/shop"


def test_an_origin_is_read_from_git(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    file = tmp_path / "deploy/dyno.yaml"
    file.write_text("version: 1\n")
    plain = origin_of(file, "default")
    assert (plain.repository, plain.root, plain.path, plain.file) == ("", "", "", str(file))
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    rooted = origin_of(file, "default")
    assert len(rooted.root) == 40 and rooted.path == "deploy/dyno.yaml"
    git(tmp_path, "remote", "add", "origin", "https://me:token@example.org/acme/shop.git")
    remote = origin_of(file, "staging")
    assert (remote.repository, remote.root, remote.environment) == ("example.org/acme/shop", "", "staging")
    assert "token" not in remote.as_json() and parse(json.loads(remote.as_json())) == remote


def test_what_is_the_same_manifest() -> None:
    one = Origin("r", "", "dyno.yaml", "a", "/a/dyno.yaml")
    assert same(one, replace(one, host="b", file="/b/dyno.yaml"))
    assert not same(one, replace(one, path="other.yaml"))
    assert not same(one, replace(one, environment="staging"))
    assert same_repository(one, replace(one, repository="", root="f00")) is None
    assert parse({"file": 7}) is None and parse({}) is None and parse([]) is None


def test_the_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    one = replace(
        fleet_of(2, 2), file=tmp_path / "dyno.yaml", servers=(Server("s1", "a", port=2201), Server("s2", "b"))
    )
    assert last_applied.read(one) == {}
    found = {"s1": Observed(facts("s1", {}), {})}
    old = {"m-s2": {"name": "s2", "host": "b"}, "m-s3": {"name": "s3", "host": "c"}}
    last_applied.write(one, last_applied.after(one, found, old, {"m-s3"}, ended=True))
    (path,) = (tmp_path / "state/dynoctl/applied").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    known = last_applied.read(one)["shop"]
    assert known.keys() == {"m-s1", "m-s2"} and known["m-s1"]["port"] == "2201"
    left = {"m-s1": {"name": "s1", "host": "a"}}
    gone = replace(one, servers=(Server("s2", "b"),))
    assert last_applied.after(gone, found, left, (), ended=True) == {}, "a server that was emptied is not missed"
    assert last_applied.after(gone, found, left, (), holding={"s1"}, ended=True) == left
    assert last_applied.after(gone, found, left, (), ended=False) == left
    assert last_applied.after(one, found, {}, (), idle={"s1"}, ended=True)["m-s1"]["idle"] == "yes"
    assert last_applied.read(replace(one, destination="staging")) == {}
    for damage in ("", "[]", '{"format_version": 2, "apps": {}}', '{"format_version": 1, "apps": {"shop": [1]}}'):
        path.write_text(damage)
        assert not last_applied.read(one).get("shop")
    last_applied.write(one, {})
    assert not path.exists()


def test_a_hint_that_cannot_be_written_fails_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").write_text("a file")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    one = replace(fleet_of(1, 1), file=tmp_path / "dyno.yaml")
    last_applied.write(one, {"m": {"name": "s1", "host": "a"}})
    assert last_applied.read(one) == {}
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    lost = replace(one, file=Path("dyno.yaml"))
    last_applied.write(lost, {"m": {"name": "s1", "host": "a"}})
    assert last_applied.read(lost) == {}
