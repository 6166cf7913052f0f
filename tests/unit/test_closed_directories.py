"""What is behind a directory that the user may not search is not said to be missing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import Diagnostic, ManifestInvalid
from infra.manifest import missing_files, read
from infra.manifest.paths import closed_above

NOBODY = 65534
APP = "version: 1\napp: {name: shop, source: %s}\n%s\nservers: [{name: grid-1, host: 10.0.0.11}]\ndynos: {web: 1}\n"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a closed one in it, which has an app. root may search each one, so the test is another user."""
    top = Path(tempfile.mkdtemp())  # tmp_path is root's alone
    top.chmod(0o755)
    closed = top / "closed"
    (closed / "app").mkdir(parents=True)
    for name in ("app/config.ru", "base.yaml", "key", "dyno.yaml"):
        (closed / name).write_text("")
    (closed / "whole.yaml").write_text(APP % ("app", "rackup: config.ru"))
    (top / "link").symlink_to("closed/app")
    was = os.geteuid()
    # What is imported on first use may be where only root can read it.
    said(top, "nowhere", "rackup: config.ru\nextends: nowhere.yaml")
    list(missing_files.missing(read(closed / "whole.yaml")))
    if was == 0:
        os.chown(top, NOBODY, NOBODY)
        os.chown(top / "dyno.yaml", NOBODY, NOBODY)
    closed.chmod(0o700 if was == 0 else 0)
    os.seteuid(NOBODY if was == 0 else was)
    yield top
    os.seteuid(was)
    closed.chmod(0o700)
    shutil.rmtree(top)


def said(
    place: Path, source: str = ".", more: str = "rackup: config.ru", destination: str | None = None
) -> list[Diagnostic]:
    (place / "dyno.yaml").write_text(APP % (source, more))
    with pytest.raises(ManifestInvalid) as error:
        read(place / "dyno.yaml", destination)
    return list(error.value.diagnostics)


def check(found: list[Diagnostic], what: str, place: Path) -> None:
    assert [one.summary for one in found] == [f"cannot access {what}: permission denied for {place}/closed"]
    assert found[0].hint == f"run dynoctl as a user who may search it: ls -ld {place}/closed"


@pytest.mark.parametrize("source", ["closed/app", "link"])
def test_the_source(source: str, place: Path) -> None:
    check(said(place, source), f"{place}/{source}", place)


def test_a_file_of_the_source(place: Path) -> None:
    (place / "config.ru").write_text("")
    (place / "key").write_text("")
    check(said(place, "closed"), "rackup file config.ru", place)
    framework = "framework: {name: rack, require: ./closed/app, app: Shop}"
    check(said(place, ".", framework), "file ./closed/app.rb", place)


def test_files_of_ssh(place: Path) -> None:
    (place / "config.ru").write_text("")
    check(said(place, ".", "rackup: config.ru\nssh: {key: closed/key}"), "file closed/key", place)


def test_extends(place: Path) -> None:
    found = said(place, ".", "rackup: config.ru\nextends: closed/base.yaml")
    check(found[:1], f"{place}/closed/base.yaml", place)


def test_the_manifest(place: Path) -> None:
    with pytest.raises(ManifestInvalid) as error:
        read(place / "closed/dyno.yaml")
    assert "ermission denied" in error.value.diagnostics[0].summary
    with pytest.raises(ManifestInvalid) as error:
        read(place / "closed/app/dyno.yaml")
    assert "ermission denied" in error.value.diagnostics[0].summary


def test_a_secret_in_a_file_is_a_warning(place: Path) -> None:
    (place / "config.ru").write_text("")
    (place / "dyno.yaml").write_text(APP % (".", "rackup: config.ru\nenv: {KEY: {from_file: closed/key}}"))
    check(list(missing_files.missing(read(place / "dyno.yaml"))), "file closed/key", place)


def test_what_is_missing_is_behind_no_closed_directory(place: Path) -> None:
    assert closed_above(place / "closed/app") == place / "closed"
    for path in ("nowhere", "nowhere/else", "dyno.yaml", "dyno.yaml/x", "closed", "\0", "x" * 5000):
        assert closed_above(place / path) is None


def test_which_directory_is_closed(place: Path) -> None:
    for path in ("closed/app", "closed/app/config.ru", "closed/..", "link", "link/config.ru"):
        assert closed_above(place / path) == place / "closed", path
    assert closed_above(place / "nowhere" / "closed") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="the process 1 of the user itself can be read")
def test_a_link_that_may_not_be_read(place: Path) -> None:
    assert closed_above(Path("/proc/1/root/app")) == Path("/proc/1/root")
