"""The scripts of a router in a real shell, with programs that only note what they are told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.model import paths
from infra.model.resource import Action, Change, Resource
from providers.router import Router
from providers.routers import KINDS, assembly
from tests.unit.test_marks import SCOPE, sh

SYSTEMCTL = """\
#!/bin/sh
echo "$@" >> {0}/log
case $1 in
  is-active) case $2 in -q) ;; *) [ -e {0}{1}/live ] && echo active || echo inactive;; esac;;
  show) echo inactive;;
  reload|restart) exit 1;;
  reload-or-restart) [ ! -e {0}/broken ] || {{ echo "it does not start"; exit 1; }};;
esac
"""
"""A systemctl with which no new configuration can be loaded, and the old one only if nothing is broken."""


def tools(root: Path) -> Path:
    directory = root / "tools"
    directory.mkdir()
    programs = dict.fromkeys(("id", "chown", "setpriv", "journalctl", "userdel", "sync"), "#!/bin/sh\n")
    for name, text in {**programs, "systemctl": SYSTEMCTL.format(root, paths.ROUTER)}.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    return directory


def make(root: Path, search: Path, number: int) -> subprocess.CompletedProcess[str]:
    """Route an app with nginx, below ``root``."""
    incoming = root / assembly.INCOMING.lstrip("/")
    incoming.mkdir(parents=True, exist_ok=True)
    for name in ("base", "unit", "frontends", "open", "closed"):
        (incoming / name).write_text("" if name == "frontends" else f"{name} {number}\n")
    for directory in (paths.UNITS, paths.ROUTER_STATE):
        (root / directory.lstrip("/")).mkdir(parents=True, exist_ok=True)
    command = assembly.set_app(KINDS["nginx"], "shop", {})[-1]
    argv = [f"{root}{word}" if word.startswith("/") else word for word in command.argv]
    argv[2] = argv[2].replace("-lt 100", "-lt 1")
    return subprocess.run(argv, env={"PATH": f"{search}:/usr/bin:/bin"}, capture_output=True, text=True, check=False)


def generation(root: Path, kind: str) -> Path:
    """A router with one app, which is live."""
    live = root / paths.ROUTER.lstrip("/") / "gen.one"
    (live / "apps/shop").mkdir(parents=True)
    for path in ("base", "unit", "frontends", "apps/shop/frontends", "apps/shop/open"):
        (live / path).touch()
    (live / "apps/shop/kind").write_text(kind)
    (live.parent / "live").symlink_to("gen.one")
    return live


@pytest.mark.parametrize("broken", [False, True])
def test_what_is_said_of_a_configuration_that_cannot_be_loaded(tmp_path: Path, broken: bool) -> None:
    """It was said that the previous one had been restored, whether it had or not, and also if there was none."""
    search = tools(tmp_path)
    first = make(tmp_path, search, 1)
    assert first.returncode == 1
    assert "nginx could not load the configuration, so the router was removed again:" in first.stdout
    assert not (tmp_path / paths.ROUTER.lstrip("/")).exists()

    live = generation(tmp_path, "nginx\n")
    if broken:
        (tmp_path / "broken").touch()
    second = make(tmp_path, search, 2)
    assert second.returncode == 1 and (live.parent / "live").resolve() == live
    if broken:
        assert "does not work either:\nit does not start\n" in second.stdout and "so the previous" not in second.stdout
    else:
        assert "nginx could not load the configuration, so the previous one was restored:" in second.stdout


def test_an_app_whose_kind_is_unreadable_is_no_conflict(tmp_path: Path) -> None:
    generation(tmp_path, "").joinpath("apps/shop").rename(tmp_path / "etc/dynoctl/router/gen.one/apps/blog")
    assert "the router here is" not in make(tmp_path, tools(tmp_path), 1).stdout


@pytest.mark.parametrize("written", ["", "xyz\n", "haproxy\n"])
def test_a_router_without_a_readable_mark_is_removed_as_what_it_is(tmp_path: Path, written: str) -> None:
    """It was removed as if it were nginx, which is refused if another app is on it."""
    live = generation(tmp_path, written)
    (live / "haproxy.cfg").touch()
    (live / "apps/shop/mark.json").touch()
    fragment = Router().observe(SCOPE)
    variables = {
        name: f"{tmp_path}{text}" if text.startswith("/") else text for name, text in fragment.variables.items()
    }
    found = Router().parse(SCOPE, sh(fragment.script, variables, tmp_path, tools(tmp_path)))["shop"]
    assert found.attributes["kind"] == "haproxy"
    change = Change(Resource("s", "router", "shop", {}), Action.DELETE, found.attributes, None)
    assert "haproxy.cfg" in Router().steps(SCOPE, change)[0].argv


def test_a_link_to_a_router_that_is_gone_is_removed(tmp_path: Path) -> None:
    """The unit was removed by hand: nothing disables it any more, and each boot complained."""
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / assembly.SERVICE).symlink_to(f"../{assembly.SERVICE}")
    fragment = Router().observe(SCOPE)
    variables = {
        name: f"{tmp_path}{text}" if text.startswith("/") else text for name, text in fragment.variables.items()
    }
    search = tools(tmp_path)
    found = Router().parse(SCOPE, sh(fragment.script, variables, tmp_path, search))["shop"]
    assert found.damaged
    change = Change(Resource("s", "router", "shop", {}), Action.DELETE, found.attributes, None)
    (command,) = Router().steps(SCOPE, change)
    argv = [f"{tmp_path}{word}" if word.startswith("/") else word for word in command.argv]
    subprocess.run(argv, env={"PATH": f"{search}:/usr/bin:/bin"}, check=True)
    assert not wants.exists()
    assert Router().parse(SCOPE, sh(fragment.script, variables, tmp_path, search)) == {}
