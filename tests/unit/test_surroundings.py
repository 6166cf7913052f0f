"""What is around a manifest and wrong: files that cannot be read, names no file can have, saved plans that were edited, a
directory that was deleted. Each is an error with its cure, and never an internal one."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command import SCRIPT, Dynoctl

LONG = "a" * 300
"""A name that no file can have."""

WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root without the right to read everything."""

MANIFEST = """\
version: 1
app: {name: shop, source: .}
rackup: config.ru
dynos: {web: 1}
servers: [{name: grid-1, host: 127.0.0.1, port: 1}]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dyno.yaml").write_text(MANIFEST)
    (tmp_path / "config.ru").write_text("run Shop\n")
    return tmp_path


@pytest.fixture
def saved(project: Path, dynoctl: Dynoctl) -> Path:
    dynoctl.text("plan", "--out", "x.plan", cwd=project)
    return project / "x.plan"


@pytest.mark.parametrize("words", [("plan", LONG), ("apply", LONG), ("show", LONG), ("validate", "-f", LONG)])
def test_a_name_that_no_file_can_have(words: tuple[str, ...], project: Path, dynoctl: Dynoctl) -> None:
    done = dynoctl.text(*words, cwd=project)
    assert done.returncode in (1, 3) and done.stderr.startswith("error: ")
    assert "internal error" not in done.stderr and "hint: " in done.stderr


def _unprivileged(*words: str, cwd: Path) -> str:
    done = subprocess.run([*WITHOUT_RIGHTS, str(SCRIPT), *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="the tests give up rights of root")
@pytest.mark.parametrize(
    "words",
    [
        ("validate", "-f", "closed/in/dyno.yaml"),
        ("config", "set", "A=1", "-f", "closed/in/dyno.yaml"),
        ("plan", "closed/in"),
        ("apply", "closed/in/x"),
    ],
)
def test_a_directory_that_is_closed(words: tuple[str, ...], project: Path) -> None:
    (project / "closed" / "in").mkdir(parents=True)
    (project / "closed" / "in" / "dyno.yaml").write_text(MANIFEST)
    (project / "closed").chmod(0)
    said = _unprivileged(*words, cwd=project)
    assert said.startswith("error: ") and "internal error" not in said and "hint: " in said


@pytest.mark.skipif(os.getuid() != 0, reason="the tests give up rights of root")
def test_a_manifest_that_may_not_be_read(project: Path) -> None:
    (project / "dyno.yaml").chmod(0)
    said = _unprivileged("plan", cwd=project)
    assert said.startswith("error: cannot read dyno.yaml: Permission denied") and "ls -l dyno.yaml" in said


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda plan: plan.update(format_version=99), "its format_version is not 1, so the file was edited"),
        (lambda plan: plan["plan"].pop("changes"), "invalid value at plan"),
        (lambda plan: plan["plan"].update(changes=[1]), "invalid value at plan/changes/0"),
        (lambda plan: plan.update(bound=[]), "the file was edited"),
        (lambda plan: plan["bound"].pop("servers"), "the file was edited"),
        (lambda plan: plan["bound"].update(servers=None), "the file was edited"),
        (lambda plan: plan["bound"].update(environment=[1]), "the file was edited"),
        (lambda plan: plan.update(file=3), "the file was edited"),
        (lambda plan: plan.update(selection=[]), "the file was edited"),
    ],
)
def test_a_saved_plan_that_was_edited(edit: Callable[[Any], Any], what: str, saved: Path, dynoctl: Dynoctl) -> None:
    values = json.loads(saved.read_text())
    edit(values)
    saved.write_text(json.dumps(values))
    done = dynoctl.text("apply", "x.plan", cwd=saved.parent)
    assert done.stderr.startswith(f"error: invalid plan file x.plan: {what}")
    assert "hint: save a plan: dynoctl plan --out FILE" in done.stderr


@pytest.mark.parametrize(
    ("part", "what"), [(0.0, "the file is empty"), (0.5, "the file is damaged, or its end is missing")]
)
def test_a_saved_plan_that_was_not_written_whole(part: float, what: str, saved: Path, dynoctl: Dynoctl) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(len(whole) * part)])
    done = dynoctl.text("apply", "x.plan", cwd=saved.parent)
    assert done.stderr.startswith(f"error: invalid plan file x.plan: {what}\n")


def test_a_plan_is_not_saved_to_a_file_named_dash(project: Path, dynoctl: Dynoctl) -> None:
    done = dynoctl.text("plan", "--out", "-", cwd=project)
    assert (
        done.stderr
        == "error: a saved plan is a file\nhint: name one, such as --out x.plan; for JSON on stdout: --json\n"
    )
    assert not (project / "-").exists()


@pytest.mark.parametrize("words", ["validate", "plan", "init", "config set A=1", "ps"])
def test_a_current_directory_that_was_deleted(words: str, tmp_path: Path) -> None:
    shell = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    argv = ["sh", "-c", shell, "sh", str(SCRIPT), *words.split()]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "error: the current directory was deleted\nhint: change to another one, such as: cd ~\n" in done.stderr


def _read_only(project: Path, words: str) -> str:
    """What a command says on a machine on which nothing can be written."""
    mounts = [f"mount -t tmpfs -o ro none {place}" for place in ("/var/tmp", "/usr/tmp") if Path(place).is_dir()]
    script = "\n".join(
        [
            *mounts,
            f"mount --bind {project} /mnt && mount -o remount,bind,ro /mnt && cd /mnt || exit 9",
            "mount -o remount,bind,ro /tmp 2>/dev/null || { mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp; }",
            f"unset TMPDIR; exec '{SCRIPT}' {words}",
        ]
    )
    argv = ["unshare", "--mount", "sh", "-c", script]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts file systems")
def test_a_read_only_machine(project: Path) -> None:
    said = _read_only(project, "plan")
    cure = "hint: name one that can: export TMPDIR=DIRECTORY\n"
    assert said.startswith("error: no temporary directory can be written to\n" + cure)
    said = _read_only(project, "config set A=1")
    assert said.startswith(
        "error: cannot write dyno.yaml: Read-only file system\nhint: make the file and its directory"
    )


def test_a_manifest_in_a_pipe_has_no_path_of_its_own(project: Path) -> None:
    argv = ["bash", "-c", f"'{SCRIPT}' validate -f <(cat dyno.yaml)"]
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True, check=False)
    assert "hint: copy it to a file: cat /dev/fd/" in done.stderr


@pytest.mark.parametrize("key", ["key", "known_hosts"])
def test_a_pipe_in_place_of_a_file_of_ssh(key: str, project: Path, dynoctl: Dynoctl) -> None:
    os.mkfifo(project / "id_pipe")
    (project / "dyno.yaml").write_text(f"{MANIFEST}ssh: {{{key}: ./id_pipe}}\n")
    done = dynoctl.text("validate", cwd=project)
    assert done.stderr.startswith("error: ./id_pipe is not a regular file\n  dyno.yaml:6:")
