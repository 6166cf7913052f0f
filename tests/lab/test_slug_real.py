"""Slugs packed by the real mksquashfs and read back by unsquashfs; .slugignore measured against git itself."""

from __future__ import annotations

import os
import random
import resource
import subprocess
from pathlib import Path

import pytest

from infra.slug import image as slug_image
from infra.slug.image import build
from infra.slug.tree import Kind, scan

STARTER = Path(__file__).parents[2] / "stacks/starters/sinatra"


def make(root: Path, umask: int, when: float) -> Path:
    before = os.umask(umask)
    try:
        (root / "lib/empty").mkdir(parents=True)
        (root / "app.rb").write_text("puts 1\n" * 10_000)
        (root / "run").write_text("#!/bin/sh\n")
        (root / "run").chmod(0o700)
        (root / "empty").write_text("")
        (root / "twice").hardlink_to(root / "app.rb")
        (root / "sparse").write_bytes(b"")
        os.truncate(root / "sparse", 30_000_000)
        (root / "link").symlink_to("lib")
        (root / "lib" / ("n" * 255)).write_text("a long name")
        (root / "lib" / "far").symlink_to("t" * 3000)
        Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9 \n*\\")).write_text("not UTF-8\n")
        for number in range(300):
            (root / "lib" / f"{number}.rb").write_text(f"puts {number}\n" * number)
        for path in root.rglob("*"):
            os.utime(path, (when, when), follow_symlinks=False)
    finally:
        os.umask(before)
    return root


NOW = 1_700_000_000


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """All images are made at the same time."""
    monkeypatch.setattr(slug_image.time, "time", lambda: NOW)


def test_the_same_tree_gives_the_same_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = build(scan(make(tmp_path / "one", 0o022, 1e9)), cache=tmp_path / "cache-1")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12345")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    other = build(scan(make(tmp_path / "other", 0o077, 0)), cache=tmp_path / "cache-2")
    assert (one.digest, one.sha256, one.size) == (other.digest, other.sha256, other.size)


def test_what_comes_out_is_what_went_in(tmp_path: Path) -> None:
    tree = scan(make(tmp_path / "source", 0o077, 0))
    image = build(tree, cache=tmp_path / "cache")
    out = tmp_path / "out"
    subprocess.run(["unsquashfs", "-quiet", "-no-progress", "-dest", out, image.path], check=True, timeout=60)
    # Our own directory is not scanned, so what comes out is compared as if it were the app's.
    assert sorted(path.name for path in (out / ".dynoctl").iterdir()) == ["config.ru", "times"]
    assert scan(out) == tree.__class__(out, tree.entries, tree.digest)
    assert out.stat().st_mode & 0o7777 == 0o755
    assert (out / ".dynoctl").stat().st_mode & 0o7777 == 0o755
    assert (out / ".dynoctl/config.ru").stat().st_mode & 0o7777 == 0o644
    for entry in tree.entries:
        status = os.lstat(os.fsencode(out) + b"/" + entry.path)
        assert (status.st_uid, status.st_gid, status.st_mtime) == (0, 0, NOW)
        if entry.kind is not Kind.LINK:
            assert status.st_mode & 0o7777 == entry.mode


def test_no_attributes_of_the_source_get_in(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.rb").write_text("")
    plain = build(scan(source), cache=tmp_path / "plain")
    os.setxattr(source / "app.rb", "user.secret", b"value")
    assert build(scan(source), cache=tmp_path / "attributed").sha256 == plain.sha256


@pytest.mark.parametrize("source", [STARTER, Path("/usr/share/rubygems-integration")], ids=["starter", "1.5 MB"])
def test_a_typical_app_is_packed_at_once(tmp_path: Path, source: Path) -> None:
    spent = []
    for attempt in range(3):
        before = cpu_seconds()
        build(scan(source), cache=tmp_path / str(attempt))
        spent.append(cpu_seconds() - before)
    assert min(spent) < 0.5, "0.01 and 0.15 s on the machine that it was written on"


def cpu_seconds() -> float:
    """What this process and those that it waited for have used: unlike the time by the clock, nobody else adds to it."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


NAMES = (
    *(b"a", b"b", b"ab", b"lib", b"log", b"tmp", b"a.rb", b"x.log", b"keep.log", b".hidden", b"a-b", b"a b", b"x "),
    *(b"[", b"]", b"\\", b"*", b"-", b"^", b"!a", b"#a", b"1", b"Z", b"caf\xc3\xa9", b"caf\xe9"),
)
PIECES = (
    *(b"a", b"b", b"lib", b"log", b"tmp", b".rb", b".", b"-", b"*", b"**", b"?", b"/", b"/", b"**/", b"/**", b"/**/"),
    *(b"[ab]", b"[!a]", b"[a-c]", b"[^a-]", b"[]a]", b"[]-a]", b"[a-]", b"[--1]", b"[!]a]", b"[[]", b"[+-/]", b"[/a]"),
    *(b"[[:alpha:]]", b"[[:digit:]x]", b"[[:alpha:]-z]", b"[[:foo:]]", b"[\\]]", b"[a\\-z]", b"[z-a]", b"[a-c-e]"),
    *(b"\\", b"\\*", b"[", b"]", b"[a", b" ", b"caf", b"\xc3\xa9", b"\xe9"),
)


def test_slugignore_means_what_gitignore_means(tmp_path: Path, soak: bool) -> None:
    """Random lines of every kind: what git would see is what is in the slug."""
    dice = random.Random(7)
    source = tmp_path / "source"
    source.mkdir()
    grow(os.fsencode(source), dice, 3)
    git = ["git", "-c", "core.excludesFile=/dev/null", "-C", str(source)]
    subprocess.run([*git, "init", "-q"], check=True, timeout=60)
    for _ in range(3000 if soak else 150):
        lines = b"".join(line(dice) + b"\n" for _ in range(dice.randint(1, 4)))
        (source / ".slugignore").write_bytes(lines)
        (source / ".git/info/exclude").write_bytes(lines + b"/.slugignore\n")
        listing = [*git, "ls-files", "-z", "--others", "--exclude-standard"]
        theirs = set(subprocess.run(listing, capture_output=True, check=True, timeout=60).stdout.split(b"\0")) - {b""}
        files = {entry.path for entry in scan(source).entries if entry.kind is not Kind.DIRECTORY}
        assert files - {b".dynoctl/config.ru"} == theirs - {b".slugignore"}, lines


def line(dice: random.Random) -> bytes:
    first, last = dice.choice([b"", b"", b"!", b"/", b"\\"]), dice.choice([b"", b"", b"/", b" "])
    return first + b"".join(dice.choices(PIECES, k=dice.randint(1, 4))) + last


def grow(folder: bytes, dice: random.Random, depth: int) -> None:
    for name in dice.sample(NAMES, 7):
        if depth and dice.random() < 0.4:
            os.mkdir(folder + b"/" + name)  # noqa: PTH102 - a name in bytes
            grow(folder + b"/" + name, dice, depth - 1)
        else:
            os.close(os.open(folder + b"/" + name, os.O_CREAT | os.O_WRONLY))
