"""Fragments and steps of providers in a real shell: what is damaged or has lost its mark is seen, and is removed last."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from infra.model import paths
from infra.model.naming import escape
from infra.model.provider import Scope
from infra.model.resource import Action, Change, Command, Resource
from infra.registry import Everything
from infra.remote.quote import assign
from providers import files, mount, package, slug
from providers.leftover import Leftover
from providers.mount import Mount
from providers.observed_units import SECTION
from providers.schedule import Schedule
from providers.socket import Socket
from providers.unit import Unit
from providers.user import User

SCOPE = Scope("shop", "")
DIGEST = "a" * 64


def sh(script: str, variables: Mapping[str, str], cwd: Path, path: Path | None = None) -> str:
    search = os.environ["PATH"] if path is None else f"{path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-s"],
        input=assign(variables) + script,
        capture_output=True,
        text=True,
        check=True,
        cwd=cwd,
        env={"PATH": search, "LC_ALL": "C"},
    )
    return done.stdout


def run(command: Command, root: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a command with all its absolute paths below ``root``."""
    argv = [f"{root}{word}" if word.startswith("/") else word for word in command.argv]
    return subprocess.run(argv, input=command.stdin or b"", capture_output=True, check=False)


def removal(kind: str, name: str, dyno: str | None, before: Mapping[str, object]) -> Change:
    return Change(Resource("grid-1", kind, name, {}, dyno), Action.DELETE, before, None)  # type: ignore[arg-type]


def test_a_file_is_on_the_disk_before_it_is_renamed(tmp_path: Path) -> None:
    """Only slugs were: after a power cut a unit could be empty."""
    script = files.write("/etc/x", "text").argv[2]
    assert script.index('sync "$new"') < script.index("mv -f") < script.index('sync "${1%/*}"')
    assert run(files.write("/etc/x", "text", "0640"), tmp_path).returncode == 0
    written = tmp_path / "etc/x"
    assert (written.read_text(), written.stat().st_mode & 0o777, len(list(written.parent.iterdir()))) == (
        "text",
        0o640,
        1,
    )


def test_only_directories_that_were_made_for_us_go_with_the_last_file(tmp_path: Path) -> None:
    """/etc/systemd/system is not ours, however empty it is."""
    ours, others = "/etc/dyno/shop/web.1.env", f"{paths.UNITS}/dyno-shop-web-1.service"
    for path in (ours, others):
        run(files.write(path, "x"), tmp_path)
        assert run(files.remove(path), tmp_path).returncode == 0
    assert (tmp_path / "etc/systemd/system").is_dir()
    assert not (tmp_path / "etc/dyno").exists()


def test_a_removal_that_fails_says_so(tmp_path: Path) -> None:
    """It counted as done, and the record went."""
    (tmp_path / "rm").write_text("#!/bin/sh\necho 'read-only file system'; exit 1\n")
    (tmp_path / "rm").chmod(0o755)
    command = files.remove("/etc/dyno/shop/web.1.env")
    done = subprocess.run(
        command.argv, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "read-only file system\n")


@pytest.mark.parametrize(
    ("change", "mark"),
    [
        (removal("unit", "shop-web.1", "web.1", {}), f"{paths.UNITS}/dyno-shop-web-1.service"),
        (removal("socket", "shop-web.1", "web.1", {}), f"{paths.UNITS}/dyno-shop-web-1.socket"),
        (removal("schedule", "shop-nightly.1", "nightly.1", {}), f"{paths.UNITS}/dyno-shop-nightly-1.timer"),
        (removal("mount", "shop@a", None, {"digest": DIGEST}), f"{paths.UNITS}/{paths.mount_unit('shop', DIGEST)}"),
    ],
)
def test_the_mark_goes_last(change: Change, mark: str) -> None:
    provider = next(one for one in Everything.providers if one.kind == change.resource.kind)
    *others, last = [command for command in provider.steps(SCOPE, change) if "daemon-reload" not in command.argv]
    assert [word for word in last.argv[4:] if word == "--" or word.startswith("/etc/systemd/system/")][-2:] == [
        mark,
        "--",
    ]
    assert not any(mark in command.argv for command in others)
    assert any("stop" in command.argv[3] or "unmount" in command.argv[3] for command in others)


def test_an_image_that_is_not_whole_is_damaged(tmp_path: Path) -> None:
    if shutil.which("mksquashfs") is None:
        pytest.skip("no mksquashfs here")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(os.urandom(50_000))
    whole = tmp_path / f"{DIGEST}.squashfs"
    subprocess.run(["mksquashfs", tmp_path / "tree", whole, "-quiet", "-no-progress"], check=True, capture_output=True)
    image = whole.read_bytes()
    contents = {"b": image[:30_000], "c": b"", "d": b"\0" * len(image), "e": b"x"}
    for name, content in contents.items():
        (tmp_path / f"{name * 64}.squashfs").write_bytes(content)
    (tmp_path / "notes.squashfs").write_text("somebody's")
    output = sh(slug.Slug().observe(SCOPE).script, {"directory": str(tmp_path)}, tmp_path)
    found = slug.Slug().parse(SCOPE, output)
    assert {name.partition("@")[2][0]: one.damaged for name, one in found.items()} == {
        "a": False,
        **dict.fromkeys(contents, True),
    }


def test_what_is_left_of_a_mount_is_seen() -> None:
    """A mount whose unit is empty, only its directory, only its loop device; and what is not of a digest is not ours."""
    unit, where = paths.mount_unit("shop", "b" * 64), paths.mounts("shop")
    output = "\n".join(
        [
            f"file {unit}",
            "parent 700 root:root",
            *(f"directory {where}/{name}" for name in ("b" * 64, "c" * 64, "notes")),
            f"mounted {where}/{'b' * 64}",
            f"mounted {where}/{'d' * 64}",
            f"stale {where}/{'d' * 64}",
            f"loop /dev/loop7 /var/lib/dynoctl/shop/slugs/{'e' * 64}.squashfs (deleted)",
        ]
    )
    found = {name.partition("@")[2][0]: one for name, one in Mount().parse(SCOPE, output).items()}
    assert {name: one.attributes["mounted"] for name, one in found.items()} == {
        "b": True,
        "c": False,
        "d": False,
        "e": False,
    }
    assert found["e"].attributes["loops"] == ("/dev/loop7",)
    assert all(one.managed for one in found.values())


def test_the_fragment_of_a_mount_runs_here(tmp_path: Path) -> None:
    fragment = Mount().observe(SCOPE)
    values = {**fragment.variables, "parent": str(tmp_path)}
    (tmp_path / DIGEST).mkdir()
    assert list(Mount().parse(SCOPE, sh(fragment.script, values, tmp_path))) == [slug.name("shop", DIGEST)]


@pytest.mark.parametrize(
    ("backing", "ours"),
    [("", True), (" (deleted)", True), ("another inode", False), ("another file system", False)],
)
@pytest.mark.parametrize("made_again", [True, False])
def test_only_loop_devices_of_our_own_files_are_ours(
    tmp_path: Path, backing: str, ours: bool, made_again: bool
) -> None:
    """Servers that share a kernel see each other's, with the same paths. Of one whose file was deleted, nobody asked."""
    image = tmp_path / f"slugs/{DIGEST}.squashfs"
    image.parent.mkdir()
    image.touch()
    place, inode = image.stat().st_dev, image.stat().st_ino
    if not made_again and backing != "another inode":
        image.unlink()
    device = tmp_path / "sys/loop7/loop"
    device.mkdir(parents=True)
    deleted = " (deleted)" if backing in (" (deleted)", "another file system") else ""
    (device / "backing_file").write_text(f"{image}{deleted}\n")
    (device / "autoclear").write_text("0\n")
    number = f"{os.major(place)}:{os.minor(place) + (backing == 'another file system')}"
    (tmp_path / "losetup").write_text(f"#!/bin/sh\necho '  {number}  {inode + (backing == 'another inode')}'\n")
    (tmp_path / "losetup").chmod(0o755)
    fragment = Mount().observe(SCOPE)
    values = {**fragment.variables, "slugs": str(image.parent), "parent": str(tmp_path / "none")}
    script = fragment.script.replace("/sys/block", f"{tmp_path}/sys")
    found = Mount().parse(SCOPE, sh(script, values, tmp_path, tmp_path))
    assert [one.attributes["loops"] for one in found.values()] == ([("/dev/loop7",)] if ours else [])


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A directory of units: what is there is seen by the fragments, and systemctl knows of nothing but what it says."""
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin/systemctl"
    tool.write_text(f"#!/bin/sh\ncat {tmp_path}/shown 2>/dev/null\n")
    tool.chmod(0o755)
    (tmp_path / "units").mkdir()
    return tmp_path / "units"


def look(provider: Unit | Socket | Schedule, units: Path) -> Mapping[str, object]:
    fragment = provider.observe(SCOPE).shared[SECTION]
    script = fragment.script.replace("/etc/systemd/system", str(units)).replace("/run/systemd", str(units.parent))
    return provider.parse(SCOPE, sh(script, fragment.variables, units, units.parent / "bin"))


def test_units_that_are_empty_masked_or_gone_are_ours(units: Path) -> None:
    (units / "dyno-shop-web-1.service").touch()
    (units / "dyno-shop-web-2.service").symlink_to("/dev/null")
    (units / "dyno-shop-web-3-ready.service").write_text("[Unit]\nX-Dynoctl-App=shop\n")
    (units / "dyno-shop-web-5.service").write_text("[Service]\nExecStart=/bin/true\n")
    (units / "dyno-shop-admin-web-1.service").touch()
    (units.parent / "shown").write_text(
        "Id=dyno-shop-web-4.service\nLoadState=not-found\nActiveState=active\n\n"
        "Id=dyno-shop-web-6.service\nLoadState=not-found\nActiveState=inactive\n"
    )
    found = look(Unit(), units)
    foreign = {name: one.foreign for name, one in found.items()}  # type: ignore[attr-defined]
    assert foreign == {f"shop-web.{number}": number == 5 for number in (1, 2, 3, 4, 5)}, "web.5 is somebody else's"


def test_sockets_that_are_empty_or_gone_are_ours(units: Path) -> None:
    (units / "dyno-shop-web-1.socket").touch()
    (units.parent / "shown").write_text("Id=dyno-shop-web-4.socket\nLoadState=not-found\nActiveState=active\n")
    assert {name: one.foreign for name, one in look(Socket(), units).items()} == {  # type: ignore[attr-defined]
        "shop-web.1": False,
        "shop-web.4": False,
    }


def test_an_empty_file_of_a_schedule_is_no_process_type(units: Path) -> None:
    (units / "dyno-shop-nightly-1.service").touch()
    (units / "dyno-shop-nightly-1.timer").write_text("[Timer]\nOnCalendar=daily\n")
    (units / "dyno-shop-web-1.service").write_text("[Unit]\nX-Dynoctl-App=shop\nX-Dynoctl-Dyno=web.1\n")
    found = look(Schedule(), units)
    assert {name: one.blocked for name, one in found.items() if not one.blocked} == {"shop-nightly.1": ""}  # type: ignore[attr-defined]
    assert list(look(Unit(), units)) == ["shop-web.1"]


def test_a_restart_of_a_schedule_starts_its_timer() -> None:
    """The mark of a change that was cut off: the files may be in place, and the timer may run with the old ones."""
    attributes = {
        "unit": {"A.B": "c"},
        "timer": {"A.B": "c"},
        "due": {},
        "drop_ins": (),
        "enabled": True,
        "state": "waiting",
    }
    resource = Resource("grid-1", "schedule", "shop-nightly.1", attributes, "nightly.1")  # type: ignore[arg-type]
    change = Change(resource, Action.RESTART, resource.attributes, resource.attributes)
    assert Schedule().steps(SCOPE, change)[-1].label == "start dyno-shop-nightly-1.timer"
    before = {**resource.attributes, "unit": {"A.B": "another release"}}
    released = Change(resource, Action.UPDATE, before, resource.attributes)
    assert not any("start" in step.label for step in Schedule().steps(SCOPE, released))
    besides = replace(released, triggered=True)
    assert Schedule().steps(SCOPE, besides)[-1].label == "start dyno-shop-nightly-1.timer"


def test_a_group_without_its_user_is_seen() -> None:
    output = "dyno-shop-web-1:x:999:\ndyno-shop-admin-web-1:x:998:\ndyno-shop:x:997:\ndyno-shop-web-7:x:996:\nvolumes shop-web-7\n"
    found = User().parse(SCOPE, output)
    assert {name: one.damaged for name, one in found.items()} == {"shop-web.1": True}, "web-7 is the volumes' of an app"


OURS = (
    "/etc/dyno/shop/web.1.env.new",
    "/etc/dyno/shop/web.1.env.dynoctl-new",
    "/etc/dyno/shop/web.1.credentials/key.dynoctl-new",
    f"{paths.UNITS}/dyno-shop-web-1-ready.service.dynoctl-new",
    f"{paths.UNITS}/dyno-shop-nightly-1.timer.d",
    f"/run/systemd/system/{paths.mount_unit('shop', DIGEST)}.d",
    f"{paths.UNITS}/sockets.target.wants/dyno-shop-web-1.socket",
    f"/var/lib/dynoctl/shop/slugs/{DIGEST}.squashfs.12.new",
    "/var/lib/dynoctl/shop/rackups/abc.rb.dynoctl-new",
    "/etc/dynoctl/router/incoming",
    "/var/lib/dynoctl/.installing-nginx",
    f"{paths.UNITS}/{paths.temporary_unit('shop', 'web.1')}.dynoctl-new",
    f"{paths.CONTROL}/{paths.temporary_unit('shop', 'web.1')}.d",
)
THEIRS = (
    "/etc/dyno/shop/web.1.credentials/key.new",
    "/etc/dyno/shop/notes.new",
    "/etc/dyno/shop-admin/web.1.env.new",
    f"{paths.UNITS}/dyno-shop-admin-web-1.service.dynoctl-new",
    f"{paths.UNITS}/dyno-shop-admin.service.d",
    f"{paths.UNITS}/dyno-shop-web-1.service",
    f"/run/systemd/system/{paths.mount_unit('shop-admin', DIGEST)}.d",
    "/etc/dynoctl/router/live",
    "/etc/dyno/shop/../../passwd.new",
    f"{paths.UNITS}/{paths.temporary_unit('shop-admin', 'web.1')}.dynoctl-new",
    f"{paths.UNITS}/{paths.temporary_unit('shop', 'web.1')}",
)


def test_what_a_cut_leaves_of_the_unit_of_a_tmp_is_found(tmp_path: Path) -> None:
    """No later apply looked there, so it stayed after the app had left."""
    units = {app: paths.temporary_unit(app, "web.1") for app in ("shop", "shop-admin")}
    for unit in units.values():
        (tmp_path / "etc/systemd/system" / f"{unit}.d").mkdir(parents=True)
        (tmp_path / "etc/systemd/system" / f"{unit}.dynoctl-new").touch()
    for app, unit in units.items():
        fragment = Leftover().observe(Scope(app, ""))
        script = fragment.script.replace("/etc/systemd", f"{tmp_path}/etc/systemd")
        output = sh(script, fragment.variables, tmp_path).replace(str(tmp_path), "")
        expected = [f"{paths.UNITS}/{unit}.dynoctl-new", f"{paths.UNITS}/{unit}.d"]
        assert list(Leftover().parse(Scope(app, ""), output)) == expected


@pytest.mark.parametrize("app", ["shop", "shop-admin"])
def test_drop_ins_of_a_slice_are_removed(tmp_path: Path, app: str) -> None:
    """They are laid over every dyno of the app, and no plan showed them."""
    for slice_ in ("dyno-shop", "dyno-shop\\x2dadmin", "dyno"):
        for root in ("etc/systemd/system.control", "run/systemd/system"):
            (tmp_path / root / f"{slice_}.slice.d").mkdir(parents=True)
            (tmp_path / root / f"{slice_}.slice.d/x.conf").write_text("[Slice]\nMemoryMax=1G\n")
    fragment = Leftover().observe(Scope(app, ""))
    script = fragment.script.replace("/etc/systemd", f"{tmp_path}/etc/systemd")
    script = script.replace("/run/systemd", f"{tmp_path}/run/systemd")
    output = sh(script, fragment.variables, tmp_path).replace(str(tmp_path), "")
    found = Leftover().parse(Scope(app, ""), output)
    name = f"dyno-{escape(app)}.slice.d"
    assert list(found) == [f"/etc/systemd/system.control/{name}", f"/run/systemd/system/{name}"]
    (tmp_path / "systemctl").write_text("#!/bin/sh\n")
    (tmp_path / "systemctl").chmod(0o755)
    for path, one in found.items():
        assert one.reason == "drop-ins change the limits of all dynos"
        (command,) = Leftover().steps(SCOPE, removal("leftover", path, None, one.attributes))
        argv = [f"{tmp_path}{word}" if word.startswith("/") else word for word in command.argv]
        subprocess.run(argv, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True)
    assert len(list(tmp_path.glob("*/systemd/*/*.slice.d"))) == 4


def test_leftovers_have_exact_names() -> None:
    assert list(Leftover().parse(SCOPE, "\n".join((*OURS, *THEIRS)))) == list(OURS)
    assert Leftover().parse(Scope("shop-admin", ""), THEIRS[3]), "each app has its own"


def install(tmp_path: Path, tools: Mapping[str, str], name: str, scope: Scope) -> subprocess.CompletedProcess[bytes]:
    """Install a package where ``tools`` are the programs."""
    for tool, text in tools.items():
        (tmp_path / tool).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / tool).chmod(0o755)
    resource = package.desired("grid-1", name)
    change = Change(resource, Action.CREATE, None, resource.attributes)
    (command,) = package.Package().steps(scope, change)
    return subprocess.run(command.argv, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, check=False)


@pytest.mark.parametrize("says", ["dpkg was interrupted, you must run 'dpkg --configure -a'", "something else"])
def test_an_interrupted_dpkg_is_finished(tmp_path: Path, says: str) -> None:
    """A power cut in apt left it so for good: every later apply was refused."""
    tools = {
        "apt-get": f'[ -e {tmp_path}/mended ] || {{ echo "{says}"; exit 100; }}; touch {tmp_path}/installed',
        "dpkg": f'echo "$@" > {tmp_path}/mended',
        "dpkg-query": f'[ -e {tmp_path}/installed ] && echo "install ok installed"',
    }
    done = install(tmp_path, tools, "ruby", Scope("shop", "", packages=("ruby",)))
    interrupted = "interrupted" in says
    assert (done.returncode == 0, (tmp_path / "mended").exists()) == (interrupted, interrupted)


PROGRAM = """\
case "$1 $*" in
  "show "*) if [ -e {0}/masked ]; then echo masked; elif [ -e {0}/installed ]; then echo loaded; else echo not-found; fi;;
  "mask "*) echo $PPID > {0}/masked;;
  "unmask "*) rm -f {0}/masked;;
  "disable "*) rm -f {0}/enabled;;
  "is-enabled "*) [ -e {0}/enabled ];;
esac
"""
"""A systemctl that knows the one service of a package: it is masked and enabled by files."""


@pytest.mark.parametrize("ends", ["exit 0", "exit 100", "kill -TERM $PPID", "kill -KILL"])
def test_the_service_of_a_router_is_disabled_however_apt_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """If the package was installed by then, no later apply installs it again, and its service had the port at boot."""
    monkeypatch.setattr(package, "MARK", f"{tmp_path}/state/.installing-")
    scope = Scope("shop", "", router="nginx")
    install_it = f"[ -e {tmp_path}/masked ] || exit 9; touch {tmp_path}/installed {tmp_path}/enabled; {ends}"
    install_it += f" $(cat {tmp_path}/masked)" if ends == "kill -KILL" else ""
    tools = {
        "apt-get": f'case "$*" in *" -s "*) ;; *" install "*) {install_it};; esac',
        "dpkg-query": f'[ -e {tmp_path}/installed ] && echo "install ok installed"',
        "systemctl": PROGRAM.format(tmp_path),
        "sync": "",
    }
    done = install(tmp_path, tools, "nginx", scope)
    assert (done.returncode == 0) is (ends == "exit 0")
    if "KILL" in ends:
        assert {"masked", "enabled"} <= {file.name for file in tmp_path.iterdir()}, "masked, also after a power cut"
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        fragment = Leftover().observe(scope)
        said = subprocess.run(
            ["sh", "-c", fragment.script],
            env={**environment, **fragment.variables},
            check=True,
            capture_output=True,
            text=True,
        )
        ((name, found),) = Leftover().parse(scope, said.stdout).items()
        assert name == f"{tmp_path}/state/.installing-nginx"
        change = Change(Resource("grid-1", "leftover", name, {}), Action.DELETE, found.attributes, None)
        (command,) = Leftover().steps(scope, change)
        subprocess.run(command.argv, env=environment, check=True)
    assert {file.name for file in tmp_path.iterdir()} == {*tools, "installed"}


@pytest.mark.parametrize("masked", [True, False])
def test_a_service_that_somebody_uses_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masked: bool
) -> None:
    """Its package was there before, or came after an installation that was cut off before it began."""
    monkeypatch.setattr(package, "MARK", f"{tmp_path}/.installing-")
    left = ["installed", "enabled", *(["masked"] if masked else [".installing-nginx"])]
    for name in left:
        (tmp_path / name).touch()
    tools = {"dpkg-query": 'echo "install ok installed"', "systemctl": PROGRAM.format(tmp_path)}
    assert install(tmp_path, tools, "nginx", Scope("shop", "", router="nginx")).returncode == 0
    assert {file.name for file in tmp_path.iterdir()} == {*tools, *left} - {".installing-nginx"}


def test_the_text_of_a_mount_unit_is_as_it_was() -> None:
    assert mount.settings("shop", DIGEST)["Mount.Options"] == "loop,ro,nodev,nosuid"
