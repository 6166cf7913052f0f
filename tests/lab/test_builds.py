"""Builds: a clean copy, here or on a server, with Bundler and no network; a build that fails changes nothing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.support import Project, changed, snapshot

VENDOR = Path(__file__).parent / "vendor.rb"
APP = "App = ->(env) { [200, {}, [File.read('built')]] }\n"


@pytest.fixture
def project(fleet: Any, tmp_path: Path) -> Iterator[Project]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.rb").write_text(APP)
    made = Project(
        tmp_path, fleet, "built", source, framework={"name": "rack", "require": "./app", "app": "App"}, dynos={"web": 1}
    )
    made.environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    made.environment["XDG_STATE_HOME"] = str(tmp_path / "state")
    yield made
    made.manifest["app"].pop("build", None)
    made.manifest.pop("builder", None)
    made.destroy()


def logs(project: Project) -> list[str]:
    return [path.read_text() for path in sorted((project.directory / "state/dynoctl/builds").glob("*.log"))]


def body(project: Project) -> str:
    return project.get(project.ps()["web.1"])


@pytest.mark.parametrize("builder", [None, "grid-2"])
def test_a_build_makes_the_slug(project: Project, builder: str | None) -> None:
    commands = [
        "echo first > built; mkdir made; echo x > made/file",
        "cat app.rb >> built && echo told >&2; for f in a b; do echo ${f}$ >> built; done",
    ]
    project.manifest["app"]["build"] = commands
    if builder:
        project.manifest["builder"] = builder
        before = snapshot(project.fleet, builder)
    (project.source / ".slugignore").write_text("/made\n*.md\n")
    (project.source / "notes.md").write_text("no\n")
    where = f" on {builder}" if builder else ""
    assert f"The slug is built first{where}: {'; '.join(commands)}\n" in project.dynoctl("plan").stdout
    assert logs(project) == [], "planning builds nothing"
    project.apply()
    assert body(project) == f"first\n{APP}a$\nb$\n"
    assert "told" in logs(project)[0]
    row = project.ps()["web.1"]
    listing = project.fleet.exec(row["server"], "sh", "-c", "cd /srv/dyno/built/*/ && find . | sort").stdout.split()
    assert listing == [".", "./.dynoctl", "./.dynoctl/config.ru", "./.dynoctl/times", "./app.rb", "./built"]
    assert sorted(path.name for path in project.source.iterdir()) == [".slugignore", "app.rb", "notes.md"], "untouched"
    if builder:
        assert re.sub(r".*(built|dyno).*\n", "", snapshot(project.fleet, builder)) == re.sub(
            r".*(built|dyno).*\n", "", before
        )
    project.settled()
    project.manifest["dynos"]["web"] = 2
    project.apply()
    assert len(logs(project)) == 1, "an unchanged source is not built again"


@pytest.mark.parametrize("builder", [None, "grid-1"])
def test_a_build_that_fails_changes_nothing(project: Project, builder: str | None) -> None:
    servers = project.fleet.names
    (project.source / "built").write_text("old")
    project.apply()
    before = [snapshot(project.fleet, server) for server in servers]
    if builder:
        project.manifest["builder"] = builder
    project.manifest["app"]["build"] = [
        "echo reached",
        "for i in $(seq 100); do echo line $i; done; exit 3",
        "echo never",
    ]
    done = project.apply(code=1)
    assert "Failed: build of built failed with exit status 3; no server was changed" in done.stdout
    assert "line 100" in done.stdout
    log = re.search(r"Full log: (\S+)", done.stdout)
    assert log is not None
    text = Path(log[1]).read_text()
    assert "reached" in text
    assert "line 1\n" in text
    assert "never" not in text.replace("$ echo never", "")
    if builder:  # it may write half of what the server has free
        project.manifest["app"]["build"] = ["head -c 100M /dev/zero > /tmp/more"]
        with changed(project.fleet, builder, "mount -t tmpfs -o size=96M none /var/tmp", "umount /var/tmp"):
            done = project.apply(code=1)
        assert re.search("No space left on device(.|\n)*out of space: it may write 4[78] MiB\n", done.stdout), (
            done.stdout
        )
    assert [snapshot(project.fleet, server) for server in servers] == before
    assert body(project) == "old"


def test_a_build_sees_no_secret_and_no_other_app(project: Project) -> None:
    project.environment["SHOP_KEY"] = "hunter2"
    project.manifest["env"] = {"KEY": {"from_env": "SHOP_KEY"}}
    project.manifest["builder"] = "grid-1"
    project.manifest["app"]["build"] = ["env > built; id -u >> built; ls /etc/dyno /var/lib/dynoctl >> built 2>&1; :"]
    project.apply()
    said = body(project)
    assert "hunter2" not in said
    assert "RACK_ENV=production" in said
    assert "\n0\n" not in said, "it is not root"
    assert said.count("Permission denied") + said.count("No such file") == 2


def test_bundler_with_vendored_gems_works_offline(project: Project) -> None:
    """The builder has no way out, and neither app server nor Rack are anything but what the slug brings."""
    (project.source / "app.rb").write_text(
        'require "greet"\nApp = ->(env) { [200, {}, [Greet.to("you"), " ", $".grep(/rack.rb/).first]] }\n'
    )
    gem = project.directory / "gem"
    (gem / "lib").mkdir(parents=True)
    (gem / "lib/greet.rb").write_text('module Greet\n  def self.to(who) = "Hello #{who}"\nend\n')
    (gem / "greet.gemspec").write_text(
        'Gem::Specification.new { |s| s.name, s.version, s.summary, s.authors = "greet", "1.2", "greet", ["us"]; '
        's.files = ["lib/greet.rb"] }\n'
    )
    cache = project.source / "vendor/cache"
    run(["ruby", str(VENDOR), str(cache), "rack", "puma", "nio4r"], project.directory)
    run(["gem", "build", "-q", "greet.gemspec", "-o", str(cache / "greet-1.2.gem")], gem)
    (project.source / "Gemfile").write_text('source "https://rubygems.org"\ngem "rack"\ngem "puma"\ngem "greet"\n')
    (project.source / "Gemfile.lock").write_text(
        "GEM\n  remote: https://rubygems.org/\n  specs:\n    greet (1.2)\n"
        + "".join(
            f"    {path.stem.rpartition('-')[0]} ({path.stem.rpartition('-')[2]})\n"
            + ("      nio4r (~> 2.0)\n" if path.stem.startswith("puma") else "")
            for path in order(cache)
        )
        + "\nPLATFORMS\n  ruby\n\nDEPENDENCIES\n  greet\n  puma\n  rack\n"
    )
    project.manifest["app_server"] = {"name": "puma"}
    project.manifest["builder"] = "grid-3"
    project.manifest["app"]["build"] = [
        "bundle config set --local path vendor/bundle",
        "bundle config set --local deployment true",
        "bundle install --local --quiet",
        "rm -rf vendor/cache",
    ]
    project.apply()
    unit = project.fleet.exec(project.ps()["web.1"]["server"], "systemctl", "cat", "dyno-built-web-1.service").stdout
    assert " /usr/bin/ruby /usr/bin/bundle exec puma" in unit
    assert body(project).startswith("Hello you /app/vendor/bundle/ruby/3.1.0/gems/rack-")
    project.settled()

    # A gem that is in the lock and not in the slug: the build says so, and nothing changes.
    (project.source / "vendor/cache/greet-1.2.gem").unlink()
    done = project.apply(code=1)
    assert "greet" in done.stdout
    assert body(project).startswith("Hello you")


def order(cache: Path) -> list[Path]:
    return [path for path in sorted(cache.glob("*.gem")) if not path.name.startswith("greet")]


def run(argv: list[str], cwd: Path) -> None:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
