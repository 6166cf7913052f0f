"""The tar that an image is packed from, and the cache of images, with a fake mksquashfs."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import DynoctlError
from infra.model import file_times
from infra.model.file_times import NO_TIMES, FileTimes
from infra.model.slug_digest import same_source
from infra.slug import build as app_build
from infra.slug import image, squashfs
from infra.slug.image import build
from infra.slug.times import assign
from infra.slug.tree import scan

STAND_IN = """#!/bin/sh
[ "$1" = -version ] && { echo "mksquashfs version $VERSION (2022/03/17)"; exit 1; }
cat > "$2"
"""


NOW = 1_700_000_000


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """All images are made at the same time."""
    monkeypatch.setattr(image.time, "time", lambda: NOW)


@pytest.fixture
def mksquashfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace mksquashfs with a script. The image is then the tar that it reads."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def install(script: str) -> None:
        program = programs / "mksquashfs"
        program.write_text(script.replace("$VERSION", "4.5"))
        program.chmod(0o755)

    install(STAND_IN)
    return install


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make(tmp_path / "source")


def make(root: Path, umask: int = 0o022, time: float = 1e9) -> Path:
    before = os.umask(umask)
    try:
        (root / "lib/deep").mkdir(parents=True)
        (root / "app.rb").write_text("puts 1\n")
        (root / "lib/deep/a.rb").write_text("")
        (root / "run").write_text("#!/bin/sh\n")
        (root / "run").chmod(0o700)
        (root / "link").symlink_to("lib")
        Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9 \n")).write_text("not UTF-8\n")
        os.utime(root / "app.rb", (time, time))
    finally:
        os.umask(before)
    return root


# --- packing


def test_the_tar_depends_on_the_tree_only(source: Path, tmp_path: Path, mksquashfs: object) -> None:
    (source / ("long" * 40)).mkdir()
    (source / ("long" * 40) / ("file" * 40)).write_text("x" * 513)
    (source / "far").symlink_to("t" * 300)
    tree = scan(source)
    squashfs.pack(tree, tmp_path / "image", assign(tree.digest, tree.entries, NO_TIMES, 1000))
    with tarfile.open(tmp_path / "image", encoding="utf-8", errors="surrogateescape") as tar:
        members = tar.getmembers()
        assert [os.fsencode(each.name) for each in members] == [entry.path for entry in tree.entries] + [
            b".dynoctl/times"
        ]
        assert {(each.uid, each.gid, each.mtime, each.uname, each.gname) for each in members} == {(0, 0, 1000, "", "")}
        for each, entry in zip(members, tree.entries, strict=False):
            assert each.mode == entry.mode
            if each.isfile():
                content = tar.extractfile(each)
                assert content is not None
                assert hashlib.sha256(content.read()).digest() == entry.content
            elif each.issym():
                assert os.fsencode(each.linkname) == entry.content
            else:
                assert each.isdir()


def test_the_image_does_not_depend_on_the_directory(source: Path, tmp_path: Path, mksquashfs: object) -> None:
    first = build(scan(source), cache=tmp_path / "one")
    other = build(scan(make(tmp_path / "elsewhere", umask=0o077, time=0)), cache=tmp_path / "other")
    assert (first.digest, first.sha256, first.size) == (other.digest, other.sha256, other.size)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("puts 2\n"),
        lambda path: path.write_text("puts\n"),
        lambda path: path.unlink(),
        lambda path: [path.unlink(), path.symlink_to("run")],
        lambda path: [path.unlink(), path.mkdir()],
        lambda path: [path.unlink(), os.mkfifo(path)],
    ],
)
def test_a_changing_source_is_detected(
    source: Path, tmp_path: Path, mksquashfs: object, change: Callable[[Path], object]
) -> None:
    tree = scan(source)
    change(source / "app.rb")
    with pytest.raises(DynoctlError, match=r"app\.rb changed while the slug was being packed"):
        build(tree, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_files_created_after_the_scan_are_not_in_the_image(source: Path, tmp_path: Path, mksquashfs: object) -> None:
    tree = scan(source)
    before = build(tree, cache=tmp_path / "before")
    (source / "lib/deep/a.rb").write_text("was empty")
    (source / "app.rb").write_text("puts 1\nputs 2\n")
    (source / "new.rb").write_text("")
    after = build(tree, cache=tmp_path / "after")
    assert (after.digest, after.sha256) == (before.digest, before.sha256)


# --- mksquashfs


def test_a_missing_mksquashfs_has_an_install_hint(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DynoctlError, match="mksquashfs not found") as caught:
        build(scan(source), cache=tmp_path / "cache")
    assert "apt install squashfs-tools" in caught.value.hint
    assert "brew install squashfs" in caught.value.hint


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("4.4", "is too old: version 4.4"),
        ("3.11", "is too old: version 3.11"),
        ("unknown", "is too old: version unknown"),
    ],
)
def test_an_old_mksquashfs_is_refused(
    source: Path, tmp_path: Path, mksquashfs: Callable[[str], None], version: str, said: str
) -> None:
    mksquashfs(STAND_IN.replace("$VERSION", version))
    with pytest.raises(DynoctlError, match=said):
        build(scan(source), cache=tmp_path / "cache")


def test_a_failing_mksquashfs_is_quoted(source: Path, tmp_path: Path, mksquashfs: Callable[[str], None]) -> None:
    mksquashfs(STAND_IN.replace('cat > "$2"', "echo 'FATAL ERROR: no room' >&2; exit 7"))
    (source / "big").write_bytes(bytes(1 << 20))  # more than the buffer of a pipe: it exits while the tar is written
    with pytest.raises(DynoctlError, match="mksquashfs failed with exit status 7: FATAL ERROR: no room"):
        build(scan(source), cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_environment_cannot_set_times(
    source: Path, tmp_path: Path, mksquashfs: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    mksquashfs(STAND_IN + f'[ "$SOURCE_DATE_EPOCH" = {NOW} ] || exit 1\n')
    assert build(scan(source), cache=tmp_path / "cache").size


# --- the cache


def test_an_image_is_built_once(source: Path, tmp_path: Path, mksquashfs: Callable[[str], None]) -> None:
    first = build(scan(source), cache=tmp_path / "cache")
    mksquashfs("#!/bin/sh\nexit 1\n")
    assert build(scan(source), cache=tmp_path / "cache") == first
    assert first.path == tmp_path / "cache" / f"{first.digest}.squashfs"
    assert first.sha256 == hashlib.sha256(first.path.read_bytes()).hexdigest()
    assert first.size == first.path.stat().st_size


def test_other_users_cannot_read_the_cache(source: Path, tmp_path: Path, mksquashfs: object) -> None:
    cache = tmp_path / "cache"
    path = build(scan(source), cache=cache).path
    assert cache.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"", b"damaged"])
def test_a_damaged_image_is_built_again(source: Path, tmp_path: Path, mksquashfs: object, damage: bytes) -> None:
    first = build(scan(source), cache=tmp_path / "cache")
    first.path.write_bytes(damage)
    assert build(scan(source), cache=tmp_path / "cache") == first
    first.path.with_suffix(".sha256").write_bytes(b"\xff")
    assert build(scan(source), cache=tmp_path / "cache") == first
    first.path.unlink()
    assert build(scan(source), cache=tmp_path / "cache") == first


def test_the_cache_keeps_the_most_recently_used_images(tmp_path: Path, mksquashfs: object) -> None:
    cache = tmp_path / "cache"
    images = []
    for number in range(image.KEEP + 3):
        root = tmp_path / str(number)
        root.mkdir()
        (root / "app.rb").write_text(str(number))
        made = build(scan(root), cache=cache)
        if number < image.KEEP:
            os.utime(made.path, (number, number))
            os.utime(build(scan(tmp_path / "0"), cache=cache).path, (10**6, 10**6))
        images.append(made.path)
    left = set(cache.glob("*.squashfs"))
    assert left == {images[0], *images[4:]}
    assert {path.with_suffix(".sha256") for path in left} == set(cache.glob("*.sha256"))


def test_rules_decide_which_built_files_are_in_the_slug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit of .slugignore changed no digest, and the slug stayed as it was."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    source = make(tmp_path / "app")

    def made(rules: str | None) -> tuple[str, set[bytes]]:
        if rules is not None:
            (source / ".slugignore").write_text(rules)
        work = app_build.Build("shop", scan(source), ("touch built.o built.rb",), {})
        with app_build.run(work, None, lambda _: None) as tree:
            assert tree.digest == work.digest
            return work.digest, {entry.path for entry in tree.entries if b"built" in entry.path}

    without = made(None)
    first, second = made("*.o\n"), made("# a note\n\n*.rb\r\n")
    assert (without[1], first[1], second[1]) == ({b"built.o", b"built.rb"}, {b"built.rb"}, {b"built.o"})
    assert len({without[0], first[0], second[0]}) == 3
    assert made("\ufeff*.rb")[0] == second[0], "a comment is no edit"
    assert made("# nothing\n")[0] == without[0], "and apps without rules are not built again"


# --- the times of files


def times(made: image.Image) -> dict[str, int]:
    with tarfile.open(made.path, encoding="utf-8", errors="surrogateescape") as tar:
        return {each.name: int(each.mtime) for each in tar}


def told(made: image.Image, digest: str = "") -> FileTimes:
    """The table that a server with this image sends."""
    with tarfile.open(made.path) as tar, tar.extractfile(file_times.FILE) as table:  # type: ignore[union-attr]
        return file_times.parse(digest or made.digest, table.read(), NOW)


def test_an_unchanged_file_keeps_its_time(source: Path, tmp_path: Path, mksquashfs: object) -> None:
    first = build(scan(source), cache=tmp_path / "cache")
    assert set(times(first).values()) == {NOW}
    before = told(first)
    (source / "app.rb").write_text("puts 2\n")
    (source / "lib/new.rb").write_text("")
    (source / "run").chmod(0o600)
    second = build(scan(source), before, tmp_path / "cache")
    changed = {name for name, at in times(second).items() if at != NOW}
    # The clock stands still, and the time is later all the same. A directory changes with the names in it.
    assert {times(second)[name] for name in changed} == {NOW + 1}
    assert changed == {"app.rb", "lib", "lib/new.rb", ".dynoctl/times"}


def test_an_image_is_the_same_on_a_server_that_is_added_later(
    source: Path, tmp_path: Path, mksquashfs: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if another person adds it, whose cache is empty or has the image of a time of its own."""
    first = build(scan(source), cache=tmp_path / "cache")
    monkeypatch.setattr(image.time, "time", lambda: NOW + 5000)
    own = build(scan(source), cache=tmp_path / "other")
    assert own.sha256 != first.sha256 and own.digest == first.digest
    for cache in ("cache", "other", "empty"):
        assert build(scan(source), told(first), tmp_path / cache).sha256 == first.sha256


def test_an_old_image_of_the_cache_is_not_older_than_what_runs(
    source: Path, tmp_path: Path, mksquashfs: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A, then B, then A again, which no server has any more."""
    first = build(scan(source), cache=tmp_path / "cache")
    at_first = times(first)
    (source / "app.rb").write_text("puts 2\n")
    second = build(scan(source), told(first), tmp_path / "cache")
    (source / "app.rb").write_text("puts 1\n")
    again = build(scan(source), told(second), tmp_path / "cache")
    assert again.digest == first.digest
    assert at_first["app.rb"] < times(second)["app.rb"] < times(again)["app.rb"]
    assert times(again)["run"] == at_first["run"]
    (tmp_path / "cache" / f"{again.digest}.times").unlink()  # as a dynoctl that knew no times left it
    assert build(scan(source), FileTimes(again.digest), tmp_path / "cache") == again  # and servers have it like that
    assert build(scan(source), told(second), tmp_path / "cache") == again


def test_a_retry_uses_the_image_that_was_made(source: Path, tmp_path: Path, mksquashfs: Callable[[str], None]) -> None:
    first = build(scan(source), cache=tmp_path / "cache")
    (source / "app.rb").write_text("puts 2\n")
    second = build(scan(source), told(first), tmp_path / "cache")
    mksquashfs("#!/bin/sh\nexit 1\n")
    assert build(scan(source), told(first), tmp_path / "cache") == second


def test_a_table_of_a_server_is_not_trusted(source: Path) -> None:
    key = "0123456789abcdef"
    lines = [b"dynoctl times 1", b"5 " + key.encode(), b"99999999999 1123456789abcdef", b"x", b"-1 " + key.encode()]
    lines += [b"7 short", b"\xff\xfe", b"0 2123456789abcdef"]
    assert file_times.parse("d", b"\n".join(lines), NOW).by_key == {key: 5}
    assert file_times.parse("d", b"dynoctl times 2\n5 " + key.encode(), NOW).by_key == {}
    assert file_times.parse("d", b"", NOW).by_key == {}
    tree = scan(source)
    made = assign(tree.digest, tree.entries, NO_TIMES, NOW)
    assert file_times.parse(tree.digest, file_times.render(made), NOW) == made and len(made.by_key) == len(tree.entries)


def test_what_a_builder_made_is_not_used_for_another_one(tmp_path: Path) -> None:
    """A server that is compromised chooses the slug. Whoever no longer builds there is rid of what it made."""
    work = app_build.Build("shop", scan(make(tmp_path / "app")), ("true",), {})
    digests = {replace(work, builder=builder).digest for builder in ("", "grid-1", "grid-2")}
    assert len(digests) == 3 and work.digest in digests


def test_what_a_builder_made_before_its_upgrade_is_not_used(tmp_path: Path) -> None:
    """Gems with native extensions are of the Debian and the Ruby that they were built with."""
    work = app_build.Build("shop", scan(make(tmp_path / "app")), ("true",), {}, builder="grid-1")
    made = [replace(work, made_by=f"machine\n{debian}\nruby 3.1").digest for debian in ("12", "13", "12")]
    assert made[0] == made[2] and len({work.digest[:12], made[0][:12], made[1][:12]}) == 3
    assert same_source(made[0], made[1]) and same_source(work.digest, made[0]) and {*map(len, made)} == {64}
    assert not same_source(made[0], replace(work, commands=("false",), made_by="machine\n12\nruby 3.1").digest)


def test_files_of_killed_builds_are_removed(source: Path, tmp_path: Path, mksquashfs: object) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "new-old").write_text("")
    os.utime(cache / "new-old", (0, 0))
    (cache / "new-now").write_text("")
    os.utime(cache / "new-now", (NOW, NOW))
    build(scan(source), cache=cache)
    assert {path.name for path in cache.glob("new-*")} == {"new-now"}


def test_a_cache_that_cannot_be_written_is_named(source: Path, tmp_path: Path, mksquashfs: object) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DynoctlError, match=r"cannot write slugs to .*/file/cache: Not a directory"):
        build(scan(source), cache=tmp_path / "file" / "cache")


def test_the_default_cache_belongs_to_the_user(
    source: Path, tmp_path: Path, mksquashfs: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "cache_directory", lambda: tmp_path / "home/slugs")
    assert build(scan(source)).path.parent == tmp_path / "home/slugs"
    assert image.platformdirs.user_cache_path("dynoctl").name == "dynoctl"
