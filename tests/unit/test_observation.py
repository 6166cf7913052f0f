"""The parts of an observation that several types of resources read, and what starts no process where it need not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.fleet.observe import Observer
from infra.model import origin, paths, routing
from infra.model.provider import Fragment, Scope
from infra.model.resource import Found
from providers.base import Base
from providers.launch_file import LaunchFile
from providers.user import User

MARK = '{{"app": "{0}", "kind": "nginx", "hosts": [], "ports": {{"80": "plain"}}, "upstreams": {{}}}}\n'
DIGEST = "ab" * 32


def _sh(script: str, root: Path, *places: str, path: str = "/usr/bin:/bin") -> str:
    for place in places:
        script = script.replace(place, f"{root}{place}")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": path})
    return done.stdout.replace(str(root), "")


class Reads(Base):
    """A resource type that reads what others read as well."""

    def __init__(self, kind: str, script: str) -> None:
        self.kind = kind
        self.script = script

    def observe(self, scope: Scope) -> Fragment:
        return Fragment(self.script, {}, {"common": Fragment("echo common")})

    def parse(self, scope: Scope, output: str) -> dict[str, Found]:
        return {"x": Found({"output": output})}


def test_what_several_read_is_printed_once_after_their_own() -> None:
    facts = "machine_id m\ncores 1"
    observer = Observer((Reads("a", ""), Reads("b", "echo b")), Scope("shop", ""), "/usr/bin/ruby", ())  # type: ignore[arg-type]
    assert [name for name in observer.fragments if name not in ("facts", routing.SECTION)] == ["common", "b"]
    assert not any(fragment.shared for fragment in observer.fragments.values()), "nothing is sent twice"
    parts = {"facts": (0, facts), routing.SECTION: (0, ""), "common": (0, "common"), "b": (0, "own")}
    found = observer.read("s1", parts).resources
    assert {name: one.attributes["output"] for name, one in found.items()} == {"a.x": "common", "b.x": "own\ncommon"}
    with pytest.raises(Exception, match="section common exited with status 1: no"):
        observer.read("s1", {**parts, "common": (1, "no")})


@pytest.mark.parametrize("closed", [(), ("blog",), ("blog", "shop")])
def test_each_route_is_printed_with_whether_it_is_closed(tmp_path: Path, closed: tuple[str, ...]) -> None:
    for app in ("blog", "shop"):
        directory = tmp_path / f"{routing.LIVE}/apps/{app}".removeprefix("/")
        directory.mkdir(parents=True)
        (directory / "mark.json").write_text(MARK.format(app))
        if app in closed:
            (directory / "page.html").touch()
    output = _sh(f"systemctl() {{ echo active; }}\n{routing.SCRIPT}", tmp_path, paths.ROUTER)
    assert {route.app: route.closed for route in routing.read(output)} == {
        app: app in closed for app in ("blog", "shop")
    }
    assert output.endswith("routing running\n")


def test_a_marker_that_cannot_be_read_hides_no_other_one(tmp_path: Path) -> None:
    """sed would end at a directory."""
    for app in ("blog", "shop"):
        directory = tmp_path / f"{routing.LIVE}/apps/{app}".removeprefix("/")
        (directory / "mark.json").mkdir(parents=True)
    (directory / "mark.json").rmdir()
    (directory / "mark.json").write_text(MARK.format("shop"))
    output = _sh(f"systemctl() {{ echo active; }}\n{routing.SCRIPT}", tmp_path, paths.ROUTER)
    assert [route.app for route in routing.read(output)] == ["shop"]


def test_without_a_route_systemd_is_not_asked(tmp_path: Path) -> None:
    assert _sh(f"systemctl() {{ echo asked; }}\n{routing.SCRIPT}", tmp_path, paths.ROUTER) == ""


@pytest.mark.parametrize("count", [0, 1, 8, 9, 30])
def test_the_origins_of_few_and_of_many_apps_are_printed_alike(tmp_path: Path, count: int) -> None:
    lines = []
    for number in range(10, 10 + count):
        file = tmp_path / f"{paths.STATE}/app{number}/{paths.ORIGIN}".removeprefix("/")
        file.parent.mkdir(parents=True)
        file.write_text(f'{{"file": "/a:b/{number}"}}\nmore\n')
        lines.append(f'origin {paths.STATE}/app{number}/{paths.ORIGIN} {{"file": "/a:b/{number}"}}')
    assert _sh(f"{origin.SCRIPT}:\n", tmp_path, paths.STATE).splitlines() == lines


def test_launch_files_are_those_of_their_kind() -> None:
    path = paths.launch_file("shop", "rackup", DIGEST)
    output = f"444 {path}\n{DIGEST}  {path}\n"
    assert list(LaunchFile("rackup").parse(Scope("shop", ""), output)) == [f"shop@{DIGEST[:12]}"]
    assert LaunchFile("cover").parse(Scope("shop", ""), output) == {}


def test_no_hash_of_a_password_is_printed(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for file in ("passwd", "group"):
        (tmp_path / "etc" / file).touch()
    hashes = ("!", "*", "!$y$secret", "$y$secret", "", "$y$se!cret:*")
    lines = [f"dyno-shop-web-{number}:{hash_}:19000:0:99999:7:::" for number, hash_ in enumerate(hashes, 1)]
    (tmp_path / "etc/shadow").write_text("\n".join(["root:$y$secret:1::::::", *lines, "dyno-shop-web-9:$y$secret"]))
    script = f"prefix=dyno-shop- volumes=/nowhere\n{User().observe(Scope('shop', '')).script}"
    assert _sh(script, tmp_path, "/etc/").splitlines() == [
        *(f"locked dyno-shop-web-{number}:{'yes' if number < 4 else 'no'}" for number in range(1, 7)),
        "locked dyno-shop-web-9:no",
    ]
