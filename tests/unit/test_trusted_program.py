"""A program of a server is run only if root alone can change it, and then as nobody: each attack plants a file."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra import manifest
from infra.fleet.facts import fragment
from infra.model.provider import Scope
from infra.model.trusted_program import check

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")
OTHER = 12345


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that root alone can change, all parents included."""
    made = Path(tempfile.mkdtemp(prefix="dynoctl-test-", dir="/var/lib"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def plant(path: Path, mark: Path | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho ruby 3.3.0\n{f': > {mark}' if mark else ''}\n")
    path.chmod(0o755)
    return path


def asked(program: str | Path) -> tuple[str, str]:
    """Ruby as the server reports it, and why it was not asked."""
    script = fragment(Scope("shop", salt="x"), str(program), ())
    settings = "".join(f"{name}='{value}'\n" for name, value in script.variables.items())

    done = subprocess.run(
        ["sh", "-s"], input=settings + script.script, capture_output=True, text=True, timeout=60, check=False
    )
    found = dict(line.partition(" ")[::2] for line in done.stdout.splitlines() if line.startswith("ruby"))
    return found.get("ruby", ""), found.get("ruby_refused", "")


def writable_file(path: Path) -> None:
    path.chmod(0o777)


def writable_by_a_group(path: Path) -> None:
    path.chmod(0o775)


def of_another_user(path: Path) -> None:
    os.chown(path, OTHER, OTHER)


def directory_of_another_user(path: Path) -> None:
    os.chown(path.parent, OTHER, 0)


def directory_above_of_another_user(path: Path) -> None:
    os.chown(path.parents[1], OTHER, 0)


def writable_directory(path: Path) -> None:
    path.parent.chmod(0o777)


def sticky_directory(path: Path) -> None:
    path.parent.chmod(0o1777)


def directory_of_a_volume(path: Path) -> None:
    os.chown(path.parent, 0, OTHER)
    path.parent.chmod(0o2770)


def link_to_a_file_of_another_user(path: Path) -> None:
    target = plant(path.parent / "target")
    os.chown(target, OTHER, OTHER)
    path.unlink()
    path.symlink_to("target")


def link_into_tmp(path: Path) -> None:
    target = plant(Path(tempfile.mkdtemp()) / "ruby")
    path.unlink()
    path.symlink_to(target)


def link_of_a_directory(path: Path) -> None:
    other = path.parents[1] / "other"
    plant(other / "ruby")
    os.chown(other, OTHER, OTHER)
    shutil.rmtree(path.parent)
    path.parent.symlink_to("other")


def dots(path: Path) -> None:
    path.parent.chmod(0o777)


ATTACKS = [
    writable_file,
    writable_by_a_group,
    of_another_user,
    directory_of_another_user,
    directory_above_of_another_user,
    writable_directory,
    sticky_directory,
    directory_of_a_volume,
    link_to_a_file_of_another_user,
    link_into_tmp,
    link_of_a_directory,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_what_others_can_change_is_not_run(attack: Callable[[Path], None], place: Path, tmp_path: Path) -> None:
    program = plant(place / "a/bin/ruby", tmp_path / "mark")
    tmp_path.chmod(0o777)
    attack(program)
    found, refused = asked(program)
    assert found == "" and ("can be changed by others" in refused or "directory of other users" in refused)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("parent", ["/tmp", "/var/tmp", "/dev/shm", "/srv/dyno", "/home", "/var/lib/dynoctl-volumes"])
def test_no_program_of_a_place_of_others_is_run(parent: str) -> None:
    existed = Path(parent).exists()
    Path(parent).mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=parent))
    try:
        made.chmod(0o755)
        assert asked(plant(made / "ruby")) == ("", "is in a directory of other users")
        assert asked(f"/usr/bin/../../{made}/ruby")[1] == "is in a directory of other users"
    finally:
        shutil.rmtree(made)
        if not existed:
            Path(parent).rmdir()


def test_a_program_of_root_is_run_as_nobody(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = place / "bin/ruby"
    plant(program)
    program.write_text(
        "#!/bin/sh\nid -u; id -G; env; pwd; ulimit -t; grep -i -e cap -e NoNewPrivs /proc/self/status\n"
        f"id > {place}/written; id > {tmp_path}/written; cat /etc/shadow\n"
    )
    monkeypatch.setenv("SECRET", "hunter2")
    script = f"{check()}\nas_nobody \"$(trusted_program '{program}')\" 2>/dev/null"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["65534", "65534"]
    assert "hunter2" not in done.stdout and "/" in lines and "10" in lines
    zeros = [line.split()[1] for line in lines if line.startswith("Cap")]
    assert zeros and set(zeros) == {"0" * 16} and "NoNewPrivs:\t1" in lines
    assert not (place / "written").exists() and not (tmp_path / "written").exists() and "root:" not in done.stdout


def test_a_program_that_hangs_is_ended(place: Path) -> None:
    program = plant(place / "ruby")
    program.write_text("#!/bin/sh\nsleep 600\n")
    script = f"{check(1)}\nas_nobody '{program}'; echo $?"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "124"


@pytest.mark.parametrize("path", ["/usr/bin/nowhere", "/usr/bin", "/dev/null", "/proc/self/exe", "/etc/passwd"])
def test_what_is_no_program(path: str) -> None:
    assert asked(path)[0] == ""


def test_the_ruby_of_the_distribution_is_run() -> None:
    if not Path("/usr/bin/ruby").exists():
        pytest.skip("no Ruby of the distribution")
    found, refused = asked("/usr/bin/ruby")
    assert found.startswith("ruby ") and refused == ""


@pytest.mark.parametrize(
    "path",
    [
        "/srv/dyno/shop/abc/ruby",
        "/var/lib/dynoctl-volumes/shop/data/ruby",
        "/var/lib/dynoctl/shop/ruby",
        "/opt/../srv/dyno/x",
        "/opt/./../var/lib/dynoctl-volumes/x",
        "/proc/self/exe",
        "/dev/shm/ruby",
        "/opt/../tmp/ruby",
        "/home/a/ruby",
    ],
)
def test_a_manifest_names_no_program_of_an_app(path: str, tmp_path: Path) -> None:
    (tmp_path / "app.rb").write_text("")
    (tmp_path / "dyno.yaml").write_text(
        "version: 1\napp: {name: shop, source: .}\nframework: {name: rack, require: ./app, app: App}\ndynos: {web: 1}\n"
        f"servers: [{{name: grid-1, host: 10.0.0.1}}]\nruby: {{path: {path}}}\n"
    )
    found, problems = manifest.check(tmp_path / "dyno.yaml")
    assert found is None and [problem.path for problem in problems] == ["ruby/path"]
