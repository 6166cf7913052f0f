"""What the launcher prepares before a program starts, and what is mended after it has ended: run by sh here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from infra.manifest.model import Writable
from infra.model.landlock import LAUNCHER
from providers import launcher, volume


def prepare(
    app: Path, writable: list[Writable], databases: list[str], tmp: str = "/tmp"
) -> subprocess.CompletedProcess[str]:
    script = launcher.text(writable, databases).replace("/app", str(app)).replace("-w /tmp", f"-w {tmp}")
    return subprocess.run(
        ["sh", "-c", f"umask 0077; {script}", "launch", "echo", "started"], capture_output=True, text=True, check=False
    )


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o777:o}"


def test_without_both_nothing_is_prepared() -> None:
    assert launcher.text([Writable("tmp", 1 << 20)], []).endswith(f"\n}}\n{LAUNCHER}")


def test_nothing_starts_without_its_tmp(tmp_path: Path) -> None:
    """systemd starts it although its mount has failed, and has another try at both a second later."""
    done = prepare(tmp_path, [], [], tmp=str(tmp_path / "not-mounted"))
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == "/tmp is not mounted: see systemctl status 'run-dyno-*.mount' on the server\n"


def test_a_database_is_there_and_writable_for_the_group_before_sqlite_opens_it(tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage/old.sqlite3").write_text("data")
    (tmp_path / "other").touch()
    files = ["storage/deep/new.sqlite3", "storage/old.sqlite3", "other/no-such-volume.sqlite3"]
    done = prepare(tmp_path, [], files)
    assert (done.stdout, done.stderr, done.returncode) == ("started\n", "", 0)
    assert mode(tmp_path / files[0]) == "660" and mode(tmp_path / "storage/deep") == "770"
    assert (tmp_path / files[1]).read_text() == "data"
    (tmp_path / files[0]).write_text("rows")
    prepare(tmp_path, [], files)
    assert (tmp_path / files[0]).read_text() == "rows"


def test_a_directory_is_filled_with_the_files_of_the_slug(tmp_path: Path) -> None:
    seed, place = tmp_path / ".dynoctl/seed/public/uploads", tmp_path / "public/uploads"
    (seed / "deep").mkdir(parents=True)
    place.mkdir(parents=True)
    for name, bits in (("-a b", 0o644), (".hidden", 0o644), ("deep/run", 0o755)):
        (seed / name).write_text(name)
        (seed / name).chmod(bits)
        os.utime(seed / name, (9, 9))
    (seed / "link").symlink_to("deep/run")
    (tmp_path / ".dynoctl/seed/empty").mkdir()
    (tmp_path / "empty").mkdir()
    writable = [Writable("public/uploads", 0, seed=True), Writable("empty", 0, seed=True), Writable("tmp")]
    done = prepare(tmp_path, writable, [])
    assert (done.stdout, done.stderr) == ("started\n", "")
    assert sorted(path.name for path in place.rglob("*")) == ["-a b", ".hidden", "deep", "link", "run"]
    assert (place / "link").readlink() == Path("deep/run") and (place / "deep/run").read_text() == "deep/run"
    assert mode(place / "deep/run") == "755" and (place / "-a b").stat().st_mtime == 9


def test_a_directory_that_cannot_be_filled_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / ".dynoctl/seed/up").mkdir(parents=True)
    (tmp_path / ".dynoctl/seed/up/file").touch()
    done = prepare(tmp_path, [Writable("up", 0, seed=True)], [])
    assert done.returncode == 1 and done.stdout == ""
    assert "cannot fill up with the files of the slug: see app.writable in dyno.yaml" in done.stderr


def test_what_a_process_left_is_shared_unless_it_is_private_or_read_only(tmp_path: Path) -> None:
    for bits in (0o640, 0o600, 0o440, 0o660, 0o750):
        (tmp_path / f"{bits:o}").touch()
        (tmp_path / f"{bits:o}").chmod(bits)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/640").touch(0o640)
    volume_directory = tmp_path / "volume"
    volume_directory.mkdir()
    for path in list(tmp_path.iterdir()):
        if path.is_file():
            path.rename(volume_directory / path.name)
    (volume_directory / "link").symlink_to("../outside/640")
    (tmp_path / "outside/640").chmod(0o640)
    subprocess.run(volume.share([str(volume_directory)]), check=True)
    now = {path.name: mode(path) for path in volume_directory.iterdir() if not path.is_symlink()}
    assert now == {"640": "660", "600": "600", "440": "440", "660": "660", "750": "770"}
    assert mode(tmp_path / "outside/640") == "640"
