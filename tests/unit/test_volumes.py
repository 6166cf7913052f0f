"""The servers that volumes may be on, and the notes about volumes that are kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.fleet.observe import Observed
from infra.manifest.model import Schedule, Volume, Writable
from infra.model import naming, release
from infra.model.formation import Formation
from infra.model.provider import Scope
from infra.model.resource import Found
from infra.model.run_request import Base, RunRequest
from infra.model.stack import Cover
from infra.model.volume import OTHER, REMOVED, with_sizes
from infra.plan import preconditions, volumes
from infra.plan.formation import form
from infra.registry import Everything
from infra.remote.quote import assign
from infra.state import config, release_body
from providers import candidate, dyno_unit, ini, release_command, run, schedule, volume
from providers.dyno_unit import DynoUnit
from stacks.launch import launch
from tests.unit.test_formation import facts, formed, known, manifest
from tests.unit.test_release import STACK, VARIABLES

UPLOADS = Volume("uploads", "public/uploads", ("web",))
KEY = Everything().volume_key
HERE = {"volume.shop@uploads": Found({"mode": "2770"})}


def test_dynos_on_several_servers_are_refused_and_others_do_not_matter() -> None:
    one = replace(manifest(3, 2), volumes=(UPLOADS,))
    formation = formed(one, {"web.1": "s1", "web.2": "s2", "worker.1": "s3"})
    (problem,) = volumes.check(one, one.volumes, formation, {}, KEY)
    assert "run on 2 servers, and a volume is on one: web.1 on s1, web.2 on s2" in problem.summary
    assert problem.path == "volumes/0"
    formation = formed(one, {"web.1": "s1", "web.2": "s1", "worker.1": "s3"})
    assert list(volumes.check(one, one.volumes, formation, {"s1": {}, "s2": {}, "s3": {}}, KEY)) == []


JOB = Schedule("nightly", "sweep", ("*-*-* 03:00:00 UTC",), "0 3 * * *")


def placed(
    homes: Mapping[str, str],
    *volumes: Volume,
    data: Mapping[str, Sequence[str]] | None = None,
    web: int = 1,
    drain: tuple[str, ...] = (),
    away: tuple[str, ...] = (),
    evacuate: tuple[str, ...] = (),
    cores: int = 2,
) -> Formation:
    """Three servers with web dynos, a worker and a schedule."""
    one = replace(manifest(3, web, drain), schedule=(JOB,), volumes=volumes)
    meta = known(homes, 3)
    found = {name: facts(name, homes, cores, meta) for name in ("s1", "s2", "s3") if name not in away}
    return form(one, found, away, evacuate, volumes=volumes, holders=data or {})


ALL = Volume("uploads", "public/uploads")
JOBS = Volume("uploads", "public/uploads", ("web", "nightly"))
"""A volume of one web dyno and a schedule: they landed on two servers, and were refused."""


def test_dynos_that_share_a_volume_are_placed_together() -> None:
    assert len({*placed({}).homes.values()}) == 3
    made = placed({}, JOBS)
    assert made.homes["web.1"] == made.homes["nightly.1"] != made.homes["worker.1"] and not made.errors
    assert len({*placed({}, ALL).homes.values()}) == 1
    chain = (Volume("a", "a", ("web", "worker")), Volume("b", "b", ("worker", "nightly")))
    assert len({*placed({}, *chain).homes.values()}) == 1, "what shares with what shares is together, too"
    apart = (Volume("a", "a", ("web",)), Volume("b", "b", ("worker",)), Volume("c", "c", ("nightly",)))
    assert len({*placed({}, *apart).homes.values()}) == 3


def test_new_dynos_go_to_the_data_and_what_runs_there_stays() -> None:
    full = {"web.1": "s1", "worker.1": "s1"}
    assert placed(full, JOBS, data={"uploads": ["s1"]}).homes["nightly.1"] == "s1", "not the least loaded"
    assert placed({}, JOBS, data={"uploads": ["s3"]}).homes == {"web.1": "s3", "nightly.1": "s3", "worker.1": "s1"}
    split = {"web.1": "s1", "nightly.1": "s2", "worker.1": "s3"}
    assert placed(split, JOBS).homes == {**split, "nightly.1": "s1"}
    assert placed(split, JOBS, data={"uploads": ["s2"]}).homes == {**split, "web.1": "s2"}
    assert placed(split, JOBS, data={"uploads": ["s2", "s1"]}).homes == {**split, "nightly.1": "s1"}, "a copy is there"


def test_an_old_copy_is_not_the_data_of_a_disk_that_is_not_mounted() -> None:
    """The dyno stays, and the plan is refused as it was: it must not start on files of long ago."""
    homes = {"web.1": "s2", "worker.1": "s3"}
    found = {name: Observed(facts(name, homes), {}) for name in ("s1", "s2", "s3")}
    key = KEY("shop", "uploads")
    found["s1"] = replace(found["s1"], resources={key: Found({})})
    found["s2"] = replace(found["s2"], facts=replace(found["s2"].facts, record={key: {}}))
    having = volumes.holders((UPLOADS,), found, lambda name: KEY("shop", name))
    assert having == {"uploads": ["s1", "s2"]}
    made = placed(homes, UPLOADS, data=having)
    assert made.homes["web.1"] == "s2"
    one = replace(manifest(3, 1), volumes=(UPLOADS,))
    (problem,) = volumes.check(one, one.volumes, made, {name: seen.resources for name, seen in found.items()}, KEY)
    assert "is on s1, and its dynos would run on s2" in problem.summary


def test_a_volume_on_a_server_that_is_away_is_waited_for() -> None:
    homes = {"web.1": "s2", "worker.1": "s1"}
    made = placed(homes, JOBS, away=("s2",))
    assert (made.homes["web.1"], made.homes["nightly.1"]) == ("s2", "s2") and not made.errors
    assert "nightly.1 waits for s2, which is unreachable and has its volume" in made.notes
    assert {dyno.name for dyno in made.dynos} == {"worker.1"}
    lost = placed(homes, JOBS, away=("s2",), evacuate=("s2",))
    assert lost.homes["web.1"] == lost.homes["nightly.1"] != "s2"


def test_a_volume_without_room_at_its_data_is_said() -> None:
    homes = {f"web.{number}": "s1" for number in range(1, 9)}
    made = placed(homes, Volume("a", "a", ("nightly",)), web=8, data={"a": ["s1"]})
    assert "nightly.1" not in made.homes
    assert made.errors[-1].summary == "no capacity for nightly.1 on s1, which has its volume"
    assert len(made.errors) == 1, "it is counted once"
    full = {
        f"web.{number}": f"s{1 + number % 3}" for number in range(1, 11)
    }  # room for one dyno on each of two servers
    (error,) = placed(full, Volume("a", "a", ("worker", "nightly")), web=10, cores=1).errors
    assert error.summary == "no server has capacity for nightly.1 and worker.1 together, which share a volume"


def test_a_drained_volume_moves_together_and_several_web_dynos_are_not_gathered() -> None:
    homes = {"web.1": "s1", "nightly.1": "s1", "worker.1": "s2"}
    made = placed(homes, JOBS, data={"uploads": ["s1"]}, drain=("s1",))
    assert made.homes["web.1"] == made.homes["nightly.1"] != "s1"
    several = placed({}, JOBS, web=3)
    assert len({several.homes[f"web.{number}"] for number in (1, 2, 3)}) == 3, "refused, as nobody asked for one server"


def test_no_group_of_volumes_is_that_of_a_user() -> None:
    """The volumes of shop-web-1 had the group of the user of web.1 of shop."""
    apps = ["shop", "shop-web-1", "shop-web-1-worker-2", "a", "a-1", "a-b-1", "shop-web", "s-h-0"]
    users = {naming.user_name(app, dyno) for app in apps for dyno in ("web.1", "b.1", "worker.2")}
    groups = [volume.group(app) for app in apps]
    assert not users & {*groups} and len({*groups}) == len(groups)
    assert volume.group("shop") == "dyno-shop", "data that is there keeps its group"


def test_a_link_is_as_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk").chmod(0o2770)
    (tmp_path / "disk/file").touch()
    (tmp_path / "volumes").mkdir()
    (tmp_path / "volumes/uploads").symlink_to(tmp_path / "disk")
    (tmp_path / "volumes/gone").symlink_to(tmp_path / "nowhere")
    fragment = volume.Volume().observe(Scope("shop", ""))
    seen = _sh(assign({**fragment.variables, "root": str(tmp_path / "volumes")}) + fragment.script)
    found = volume.Volume().parse(Scope("shop", ""), seen)
    assert {name: one.attributes["mode"] for name, one in found.items()} == {"shop@uploads": "2770"}
    # The files of a removed user are given up there, too.
    given = _sh(
        f"id() {{ echo {os.getuid()}; }}\n{volume.GIVE_UP.replace('chown -h root', 'echo')}",
        "x",
        str(tmp_path / "volumes"),
    )
    assert given.split() == ["./uploads/", "./file"]


def _sh(script: str, *argv: str) -> str:
    return subprocess.run(["sh", "-c", script, "sh", *argv], capture_output=True, text=True, check=True).stdout


def test_what_runs_with_a_volume_waits_for_its_file_system() -> None:
    dyno = DynoUnit("shop", "web.1", ("x",), {}, "cafe" * 16, cpu=250, memory=1 << 29, volumes={"a": "a", "b": "b"})
    wanted = "/var/lib/dynoctl-volumes/shop/a /var/lib/dynoctl-volumes/shop/b"
    job: Any = schedule.attributes(dyno, JOB)["unit"]
    units = [job, candidate.settings(dyno, "1a2b"), release_command.settings(dyno, "1a2b")]
    waits = [unit["Unit.RequiresMountsFor"].split(" ", 1) for unit in units]
    assert [volumes for _, volumes in waits] == [wanted] * 3
    own = [f"/run/dyno/shop/{name}" for name in ("web.1", "candidate.1a2b", "release.1a2b")]
    assert [tmp for tmp, _ in waits] == own, "each has a /tmp of its own"
    service = dyno_unit.service(dyno)
    assert service["Unit.RequiresMountsFor"] == wanted
    earlier = {**service, "Unit.RequiresMountsFor": f"/run/dyno/shop/web.1 {wanted}"}  # of an earlier version
    for base in (service, job, earlier):
        text = {"unit": ini.render(base)}
        argv = run.Runs().argv("shop", Base("web.1", "cafe" * 16, True, text), RunRequest(("true",), "pipe", nonce="7"))
        assert f"RequiresMountsFor=/run/dyno/shop/run.7 {wanted}" in argv
        assert "BindPaths=/run/dyno/shop/run.7:/tmp /run/dyno/shop/run.7:/var/tmp" in argv
    assert "Unit.RequiresMountsFor" not in dyno_unit.service(replace(dyno, volumes={}))


def test_data_is_not_moved() -> None:
    one = replace(manifest(3, 1), volumes=(UPLOADS,))
    formation = formed(one, {"web.1": "s2", "worker.1": "s3"})
    (problem,) = volumes.check(one, one.volumes, formation, {"s1": HERE, "s2": {}, "s3": {}}, KEY)
    assert "is on s1, and its dynos would run on s2" in problem.summary
    assert list(volumes.check(one, one.volumes, formation, {"s1": HERE, "s2": HERE, "s3": {}}, KEY)) == []
    assert list(volumes.check(one, one.volumes, formation, {"s1": {}, "s3": {}}, KEY)) == [], "s2 is unreachable"


def test_a_volume_of_an_evacuated_server_is_noted() -> None:
    one = replace(manifest(3, 1), volumes=(UPLOADS,))
    formation = formed(one, {"web.1": "s2", "worker.1": "s3"}, away=("s2",), evacuate=("s2",))
    assert formation.homes["web.1"] != "s2"
    lost = {"web.1": "s2, which is evacuated"}
    (note,) = volumes.lost_data("shop", one.volumes, formation, lost, {"s1": {}, "s3": {}}, KEY)
    assert note == "the volume uploads was on s2, which is evacuated: its dynos start with an empty volume"
    assert volumes.lost_data("shop", one.volumes, formation, lost, {"s1": HERE, "s3": {}}, KEY) == []
    assert volumes.lost_data("shop", one.volumes, formation, {}, {"s1": {}, "s3": {}}, KEY) == []


def test_a_release_has_its_own_volumes() -> None:
    stack = replace(STACK, volumes=(UPLOADS,))
    with_, without = (release_body.pack(one, "cafe", VARIABLES) for one in (stack, STACK))
    assert release_body.unpack(1, with_, lambda *_: True).stack.volumes == (UPLOADS,)
    assert release_body.unpack(1, without.replace('"volumes": [], ', ""), lambda *_: True).stack.volumes == ()
    old = release_body.content(without.replace('"volumes": [], ', ""))
    assert release_body.content(without) == old, "a release from before volumes existed has the same content"
    assert not release.new(1, "cafe", old, manifest="").runs(release_body.content(with_))


def test_a_release_prepares_and_covers_what_it_did() -> None:
    stack = replace(
        STACK,
        volumes=(UPLOADS,),
        sqlite=("public/uploads/a.sqlite3",),
        writable=(Writable("seeded", 1 << 20, seed=True), Writable("tmp")),
        cover=Cover("config/environments/production.rb", "a\nb"),
        health="/up",
    )
    stored = release_body.unpack(1, release_body.pack(stack, "cafe", VARIABLES), lambda *_: True).stack
    kept = ("volumes", "sqlite", "writable", "cover", "health")
    assert [getattr(stored, name) for name in kept] == [getattr(stack, name) for name in kept]
    bodies = [
        release_body.pack(replace(stack, **{name: getattr(STACK, name)}), "cafe", VARIABLES) for name in kept[1:4]
    ]
    assert len({*map(release_body.content, bodies)}) == 3, "each determines what runs"


def test_the_release_command_runs_where_the_volumes_of_web_dynos_are() -> None:
    one = manifest(3, 1)
    formation = formed(one, {"worker.1": "s1", "web.1": "s2"})
    assert volumes.release_server((UPLOADS,), formation, ["s1", "s2"]) == "s2"
    assert volumes.release_server((replace(UPLOADS, types=("worker",)),), formation, ["s2", "s1"]) == "s2"
    assert volumes.release_server((UPLOADS,), formation, ["s1"]) == "s1"
    assert volumes.release_server((UPLOADS,), formation, []) is None


def test_every_process_with_a_volume_shares_what_it_leaves_as_its_own_user() -> None:
    dyno = DynoUnit("shop", "web.1", ("x",), {}, "cafe" * 16, cpu=250, memory=1 << 29, volumes={"a": "a/b", "c": "c"})
    job: Any = schedule.attributes(dyno, JOB)["unit"]
    units = [dyno_unit.service(dyno), job, candidate.settings(dyno, "1a2b"), release_command.settings(dyno, "1a2b")]
    lines = {unit["Service.ExecStopPost"] for unit in units}
    assert len(lines) == 1 and lines.pop().startswith("-/bin/sh -c ")
    base = Base("web.1", "cafe" * 16, True, {"unit": ini.render(units[0])})
    words = run.Runs().argv("shop", base, RunRequest(("true",), "pipe", nonce="7"))
    (shared,) = [word for word in words if word.startswith("ExecStopPost=")]
    assert shared.startswith("ExecStopPost=-/bin/sh -c ") and shared.endswith(" share /app/a/b /app/c")
    assert not [word for word in words if word.startswith("ExecStart")]
    assert "Service.ExecStopPost" not in dyno_unit.service(replace(dyno, volumes={}))


def test_a_directory_that_becomes_a_link_does_not_lead_root_elsewhere(tmp_path: Path) -> None:
    """A dyno of the app replaces the directory between find and chown. find may notice it and fail."""
    elsewhere, inside, programs = (tmp_path / name for name in ("elsewhere", "left/files/deep", "programs"))
    for directory in (elsewhere, inside, programs):
        directory.mkdir(parents=True)
        (directory / "file").touch()
    swap = f'[ -L "{inside}" ] || {{ mv "{inside}" "{inside}.old"; ln -s "{elsewhere}" "{inside}"; }}'
    script = f'#!/bin/sh\n{swap}\nshift 2\nstat -L -c %n-%i "$@" >> "{tmp_path}/changed"\n'
    (programs / "chown").write_text(script)
    (programs / "id").write_text(f"#!/bin/sh\necho {os.getuid()}\n")
    for program in ("chown", "id"):
        (programs / program).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    argv = ["sh", "-c", volume.GIVE_UP, "userdel", "dyno-shop-web-1", str(tmp_path / "left")]
    subprocess.run(argv, env=environment, check=False, capture_output=True, timeout=60)
    changed = (tmp_path / "changed").read_text()
    assert changed and f"-{(elsewhere / 'file').stat().st_ino}\n" not in changed


LIMITED = replace(UPLOADS, size=1 << 30)
AT = "/var/lib/dynoctl-volumes/shop/uploads"


def sized(size: int, **other: str | bool) -> dict[str, Found]:
    return {"volume.shop@uploads": Found({"mode": "2770", "size": str(size), "mounted": True, **other}, kept=True)}


@pytest.mark.parametrize(
    ("seen", "problem", "hint"),
    [
        (HERE, "the volume uploads exists on s1 without a size, and cannot get one in place", f"cp -a {AT}/. {AT}-2/"),
        (sized(3 << 29), "the volume uploads has 1536M on s1, and cannot shrink to 1G", "set size to 1536M or more"),
        (
            sized(1 << 30, mounted=REMOVED),
            "the image of the volume uploads was removed from s1",
            f'SOURCE {AT})" {AT}.ext4',
        ),
        (sized(1 << 30, mounted=OTHER), "another file system is mounted in place of the volume uploads", "umount"),
    ],
)
def test_what_no_apply_can_do_to_a_size_is_refused(seen: dict[str, Found], problem: str, hint: str) -> None:
    one = replace(manifest(3, 1), volumes=(LIMITED,))
    (error,) = volumes.check(one, one.volumes, formed(one, {"web.1": "s1", "worker.1": "s3"}), {"s1": seen}, KEY)
    assert error.summary.startswith(problem) and error.path == "volumes/0/size" and hint in error.hint


def test_a_size_grows_and_stays() -> None:
    one, homes = replace(manifest(3, 1), volumes=(LIMITED,)), {"web.1": "s1", "worker.1": "s3"}
    for seen in ({}, sized(1 << 29), sized(1 << 30), sized(1 << 30, mounted=False)):
        assert list(volumes.check(one, one.volumes, formed(one, homes), {"s1": seen}, KEY)) == []
    moved = {"s1": sized(1 << 30), "s2": {}}
    (error,) = volumes.check(one, one.volumes, formed(one, {"web.1": "s2", "worker.1": "s3"}), moved, KEY)
    assert f"umount {AT} && rsync -a --mkpath {AT}.ext4 root@s2:{AT}.ext4" in error.hint
    without = replace(one, volumes=(UPLOADS,))
    address = ["s1/volume.shop@uploads"]
    assert volumes.notes(without, {"s1": sized(1 << 30)}, address, KEY) == [
        "the volume uploads on s1 keeps its size, 1G"
    ]
    assert volumes.notes(one, {"s1": sized(1 << 30)}, address, KEY) == []


def test_an_image_that_nothing_mounts_is_not_hidden_by_an_empty_directory() -> None:
    """It was copied from another server, and the manifest has no size any more."""
    one, homes = replace(manifest(3, 1), volumes=(UPLOADS,)), {"web.1": "s2", "worker.1": "s3"}
    fragment = f"image 1073741824 {AT}.ext4\n"
    copied = volume.Volume().parse(Scope("shop", ""), fragment)["shop@uploads"]
    found = {"s1": sized(1 << 30), "s2": {KEY("shop", "uploads"): copied}}
    (error,) = volumes.check(one, one.volumes, formed(one, homes), found, KEY)
    assert error.summary == "the volume uploads has 1G on s2, and is mounted only with a size"
    assert (error.path, error.hint) == ("volumes/0", "set size of the volume to 1G")
    limited = replace(one, volumes=(LIMITED,))
    assert list(volumes.check(limited, limited.volumes, formed(one, homes), found, KEY)) == []
    kept = {"s2": sized(1 << 30, unit="[Mount]")}
    assert list(volumes.check(one, one.volumes, formed(one, homes), kept, KEY)) == []
    removed = {"s2": sized(1 << 30, unit="[Mount]", mounted=REMOVED)}
    (error,) = volumes.check(one, one.volumes, formed(one, homes), removed, KEY)
    assert "was removed from s2, and its data goes when it is unmounted" in error.summary


def test_the_size_of_a_release_is_that_of_the_manifest() -> None:
    """A rollback changes no data, so it neither shrinks a volume nor takes its limit away."""
    body = release_body.pack(replace(STACK, volumes=(LIMITED,)), "cafe", VARIABLES)
    assert body == release_body.pack(replace(STACK, volumes=(UPLOADS,)), "cafe", VARIABLES), "a size is no release"
    stored = release_body.unpack(1, body, lambda *_: True).stack.volumes
    assert with_sizes(stored, {LIMITED.name: LIMITED.size}) == (LIMITED,)
    assert with_sizes(stored, {}) == (UPLOADS,)


def test_a_server_needs_the_program_that_makes_file_systems() -> None:
    limited = launch(replace(manifest(3, 1), rackup="config.ru", volumes=(LIMITED,)))
    assert "/sbin/mkfs.ext4" in limited.programs and "e2fsprogs" in limited.packages
    plain = launch(replace(manifest(3, 1), rackup="config.ru", volumes=(UPLOADS,)))
    assert "/sbin/mkfs.ext4" not in plain.programs and "e2fsprogs" not in plain.packages
    lacking = replace(facts("s1", {}), missing=frozenset({"/sbin/mkfs.ext4"}))
    (problem,) = preconditions.layers("s1", lacking, STACK, ())
    assert problem.summary == "s1: /sbin/mkfs.ext4 not found" and problem.hint == "apt-get install e2fsprogs"


def test_a_size_is_observed() -> None:
    """Without an image, the directory on which it was mounted is none."""
    output = (
        f"directory 2770 root:dyno-shop {AT}\nmounted image {AT}\nimage 1073741824 {AT}.ext4\n"
        f"directory 700 root:root {AT}-2\nfile var-lib-dynoctl\\x2dvolumes-shop-uploads\\x2d2.mount\n"
        f"directory 2770 root:dyno-shop {AT}3\nmounted other nosuid {AT}3\n"
        "var-lib-dynoctl\\x2dvolumes-shop-uploads.mount\n=[Mount]\n=Type=ext4\n"
    )
    found = volume.Volume().parse(Scope("shop", ""), output)
    assert set(found) == {"shop@uploads", "shop@uploads3"}
    seen = found["shop@uploads"].attributes
    assert (seen["size"], seen["mounted"], seen["unit"]) == ("1073741824", True, {"Mount.Type": "ext4"})
    assert found["shop@uploads3"].attributes == {"mode": "2770", "owner": "root:dyno-shop"}, "a disk of the user's"
    assert volume.desired("shop", "uploads", 0) == {"mode": "2770", "owner": "root:dyno-shop"}
    wrong = volume.Volume().parse(Scope("shop", ""), output.replace("mounted image", "mounted image nodev nosuid"))
    assert wrong["shop@uploads"].attributes["mounted"] == "without nodev nosuid"
    gone = output.replace(f"image 1073741824 {AT}.ext4\n", "").replace("mounted image", "mounted removed")
    for word, state in (("removed", REMOVED), ("other", OTHER)):  # as if it was renamed
        seen = volume.Volume().parse(Scope("shop", ""), gone.replace("removed", word))["shop@uploads"].attributes
        assert seen["mounted"] == state and "size" not in seen
    for size in ("\u00b2", "9" * 5000, "", "1e3", "-1"):  # a size is compared with that of the manifest
        with pytest.raises(ValueError, match="invalid size of a volume"):
            volume.Volume().parse(Scope("shop", ""), output.replace("1073741824", size))


@pytest.mark.parametrize(
    ("need", "said"),
    [
        (850 << 20, ""),
        (851 << 20, "no space left on device: 900 MiB free, 851 MiB needed, and 5 % of the disk stays free\n"),
    ],
)
def test_a_size_that_would_fill_the_disk_is_refused(tmp_path: Path, need: int, said: str) -> None:
    (tmp_path / "stat").write_text("#!/bin/sh\necho 230400 256000 4096\n")
    (tmp_path / "stat").chmod(0o755)
    script = f'PATH={tmp_path}:$PATH\n{volume._ROOM}room "$1" /var || :\n'
    assert _sh(script, str(need)) == said


@pytest.mark.skipif(shutil.which("mkfs.ext4", path="/sbin:/usr/sbin") is None, reason="e2fsprogs is not installed")
def test_a_file_system_grows_to_its_size_and_not_to_that_of_its_image(tmp_path: Path) -> None:
    """An apply that was refused, or killed, left a larger image: it would have more than the manifest says, for good."""
    image, path = tmp_path / "up.ext4", tmp_path / "up"
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", "-b", "4096", str(image), "16M"], check=True)
    os.truncate(image, 48 << 20)
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "systemctl").chmod(0o755)
    programs = f"PATH={tmp_path}:/usr/sbin:/sbin:$PATH\n"
    argv = ["sh", "-c", programs + volume._MOUNT, "mount", str(path), "up.mount", str(32 << 20)]
    assert subprocess.run(argv, check=False).returncode == 1  # nothing is mounted here
    assert _sh(f'{volume._LOOK}size {48 << 20} "$1"', str(image)) == f"{32 << 20}\n"


def test_a_volume_is_created_on_a_server_with_its_labels() -> None:
    rack_b = replace(UPLOADS, labels={"rack": "b"})
    one = replace(manifest(3, 1), volumes=(rack_b,))
    found = {name: facts(name, {}) for name in ("s1", "s2", "s3")}
    assert form(one, found, (), volumes=(rack_b,)).homes == {"web.1": "s2", "worker.1": "s1"}
    # Without data yet, a dyno that runs on another server moves.
    found = {name: facts(name, {"web.1": "s3"}) for name in found}
    assert form(one, found, (), volumes=(rack_b,)).homes["web.1"] == "s2"
    several = replace(manifest(3, 2), volumes=(rack_b,))
    homes = form(several, found, (), volumes=(rack_b,)).homes
    assert homes["web.1"] == homes["web.2"] == "s2", "the only server with the label"


def test_dynos_of_a_new_volume_move_together_if_one_of_them_needs_labels() -> None:
    """None stays where it runs: each server would get a volume of its own."""
    found = {name: facts(name, {"worker.1": "s1"}) for name in ("s1", "s2", "s3")}
    shared = Volume("data", "data", ("worker", "nightly"))
    one = replace(manifest(3, 1), schedule=(replace(JOB, labels={"rack": "b"}),), volumes=(shared,))
    made = form(one, found, (), volumes=(shared,))
    assert made.homes == {"web.1": "s1", "worker.1": "s2", "nightly.1": "s2"} and not made.errors


def test_a_volume_on_a_server_without_the_labels_is_an_error() -> None:
    """Its data does not move, whether the labels are those of the volume or of a type that uses it."""
    found = {name: facts(name, {"web.1": "s3"}) for name in ("s1", "s2", "s3")}
    one, rack_b = replace(manifest(3, 1), volumes=(UPLOADS,)), {"rack": "b"}
    typed = replace(one, dynos={**one.dynos, "web": replace(one.dynos["web"], labels=rack_b)})
    pinned = replace(one, volumes=(replace(UPLOADS, labels=rack_b),))
    for wanted, path, whose in (
        (typed, "dynos/web/servers/labels", "of web, which uses it"),
        (pinned, "volumes/0/servers/labels", "of the volume uploads"),
    ):
        made = form(wanted, found, (), volumes=wanted.volumes, holders={"uploads": ["s3"]})
        (error,) = made.errors
        assert made.homes["web.1"] == "s3"
        assert error.summary == f"the volume uploads is on s3, which does not have the labels {whose}: rack=b"
        assert (error.path, error.expected) == (
            path,
            "labels of the servers: s1 (rack=a), s2 (rack=b), s3 (rack=a)",
        )
    new = form(pinned, {"s1": found["s1"], "s3": found["s3"]}, ("s2",), volumes=pinned.volumes)
    assert new.homes["web.1"] == "s3", "it waits for s2"
    (error,) = new.errors
    assert error.summary.startswith("the volume uploads would be created on s3, which does not have the labels")
    away = form(pinned, {"s1": found["s1"]}, ("s2", "s3"), volumes=pinned.volumes, holders={})
    assert away.errors == (), "it may be there"


def test_the_labels_of_volumes_are_no_part_of_a_release_and_recorded_with_the_settings() -> None:
    labels = {"rack": "a"}
    pinned = replace(manifest(2, 1), volumes=(replace(UPLOADS, labels=labels),), per_core=1500)
    stacks = [replace(STACK, volumes=(one,)) for one in (UPLOADS, *pinned.volumes)]
    assert len({release_body.pack(stack, "s", VARIABLES) for stack in stacks}) == 1
    recorded = json.loads(json.dumps(config.document(pinned)))
    restored = config.restored(replace(manifest(2, 1), volumes=(UPLOADS,)), recorded, {})
    assert (restored.volumes, restored.per_core) == (pinned.volumes, 1500)
    assert volumes.labelled((UPLOADS,), restored) == pinned.volumes
    assert config.differing(config.document(manifest(2, 1)), recorded) == ["placement.overcommit", "volumes.uploads"]
    older = {key: value for key, value in recorded.items() if key not in ("overcommit", "volumes", "sizes")}
    assert config.restored(pinned, older, {}).volumes[0].labels == {}
    assert config.differing(config.document(manifest(2, 1)), older) == []
    with pytest.raises(ValueError, match="labels"):
        config.restored(pinned, {**recorded, "volumes": {"uploads": {"rack": 1}}}, {})
    odd = {**recorded, "sizes": ["no mapping"]}
    assert config.differing(json.loads(json.dumps(config.document(pinned))), odd) == ["volumes"], "a key of dyno.yaml"
