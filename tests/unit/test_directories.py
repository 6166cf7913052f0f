"""The directories that dynoctl creates: what others put there, or put in their place, is kept and said."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.model.resource import Action, Change, Found, Resource
from infra.state import records
from providers import files
from providers.directory import Directory
from tests.unit.test_marks import DIGEST, SCOPE, removal, run, sh

ROUTER = ("etc/dynoctl/router/gen.x/base",)


def directories(root: Path) -> Mapping[str, Found]:
    """The directories found below ``root``, by their names on a server."""
    fragment = Directory().observe(SCOPE)
    variables = {name: f"{root}{text}" if text.startswith("/") else text for name, text in fragment.variables.items()}
    script = fragment.script.replace("/etc/systemd", f"{root}/etc/systemd")
    return Directory().parse(SCOPE, sh(script, variables, root).replace(str(root), ""))


def test_what_somebody_put_into_a_directory_is_kept_and_said(tmp_path: Path) -> None:
    """Each destroy failed for good at /app with a file in it, or with a link in its place."""
    desired = Directory().steps(SCOPE, Change(Resource("s", "directory", "/app", {}), Action.CREATE, None, {}))
    remove = Directory().steps(SCOPE, removal("directory", "/app", None, {}))
    assert run(desired[0], tmp_path).returncode == 0
    app = tmp_path / "app"
    assert not directories(tmp_path)["/app"].kept, "it is empty, so it is removed"

    (app / "notes").touch()
    found = directories(tmp_path)["/app"]
    assert (found.kept, found.stays) == (True, "with 1 file that dynoctl did not create: notes")
    (app / "a\nkept 3 app").touch()
    assert directories(tmp_path)["/app"].stays == "with 2 files that dynoctl did not create: a?kept 3 app, ..."
    assert run(remove[0], tmp_path).returncode != 0, "written since the plan: it is not said to be gone"
    assert len(list(app.iterdir())) == 2

    app.rename(tmp_path / "moved")
    app.symlink_to("moved")
    assert directories(tmp_path)["/app"].stays == "which is a link now"
    app.unlink()
    found = directories(tmp_path)["/app"]
    assert found.damaged and not found.kept, "nothing is left but the mark"
    assert run(remove[0], tmp_path).returncode == 0
    assert directories(tmp_path) == {} and not (tmp_path / "var/lib/dynoctl").exists()


def test_files_of_others_in_the_directories_of_an_app_are_said(tmp_path: Path) -> None:
    ours = (f"srv/dyno/shop/{DIGEST}/x", "etc/dyno/shop/web.1.env", "etc/dyno/shop/web.1.env.dynoctl-new")
    theirs = (
        *("srv/dyno/shop/notes", "etc/dyno/shop/notes.new", "etc/dyno/README"),
        *("var/lib/dynoctl/.hidden", "etc/dynoctl/notes"),
    )
    for path in (*ours, *theirs, "var/lib/dynoctl/.installing-nginx", "etc/dyno/blog/web.1.env", "app/x", *ROUTER):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "etc/dyno/empty").mkdir()
    found = directories(tmp_path)
    assert found.pop("/app").stays == "", "dynoctl did not create it"
    assert all(one.kept for one in found.values())
    assert {f"{name[1:]}/{one.stays.rpartition(' ')[2]}" for name, one in found.items()} == {*theirs}
    shutil.rmtree(tmp_path / "etc/dynoctl/router")

    for path in theirs:
        (tmp_path / path).unlink()
    shutil.rmtree(tmp_path / "srv/dyno/shop" / DIGEST)
    found = directories(tmp_path)
    assert {name for name, one in found.items() if not one.kept} == {"/srv/dyno/shop", "/etc/dynoctl"}, (
        "the next apply removes it"
    )
    (step,) = Directory().steps(SCOPE, removal("directory", "/srv/dyno/shop", None, {}))
    assert run(step, tmp_path).returncode == 0
    assert not (tmp_path / "srv/dyno/shop").exists()


@pytest.mark.parametrize("kind", ["link", "mount point"])
def test_a_directory_that_somebody_moved_is_no_failure(tmp_path: Path, kind: str) -> None:
    """An administrator moved /var/lib/dynoctl and /etc/dyno to another disk: each destroy failed at the end."""
    for path in ("etc/dyno", "var/lib/dynoctl", "srv/dyno"):
        (tmp_path / "disk" / path).mkdir(parents=True)
        (tmp_path / path).parent.mkdir(parents=True)
        if kind == "link":
            (tmp_path / path).symlink_to(tmp_path / "disk" / path)
        else:
            (tmp_path / path).mkdir()
    tools = tmp_path / "tools"
    tools.mkdir()
    if kind == "mount point":
        (tools / "mountpoint").write_text(f"#!/bin/sh\ncase $2 in {tmp_path}/*/dyno*) ;; *) exit 1;; esac\n")
        (tools / "mountpoint").chmod(0o755)
        (tools / "rmdir").write_text('#!/bin/sh\necho "rmdir: Device or resource busy"; exit 1\n')
        (tools / "rmdir").chmod(0o755)
    for command in (records.forget("shop"), files.remove("/etc/dyno/shop/web.1.env")):
        argv = [f"{tmp_path}{word}" if word.startswith("/") else word for word in command.argv]
        subprocess.run(argv, check=True, env={"PATH": f"{tools}:/usr/bin:/bin"})
    assert (tmp_path / "etc/dyno").is_dir()


def test_a_directory_that_others_use_is_not_closed_to_them(tmp_path: Path) -> None:
    """On a server without /srv, it was made with mode 0700 for the mounts in it."""
    command = files.make_directory("/srv/dyno/shop", "0700")
    argv = [*command.argv[:2], f"umask 077; {command.argv[2]}", command.argv[3], f"{tmp_path}/srv/dyno/shop", "0700"]
    subprocess.run(argv, check=True)
    modes = [(tmp_path / path).stat().st_mode & 0o777 for path in ("srv", "srv/dyno", "srv/dyno/shop")]
    assert modes == [0o755, 0o700, 0o700]
