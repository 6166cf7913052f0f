"""The tree of a slug: included and excluded files, and the digest."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.errors import DynoctlError
from infra.slug import contents, reading
from infra.slug.contents import large
from infra.slug.tree import Entry, Kind, Tree, digest, scan


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make(tmp_path / "source")


def make(root: Path, umask: int = 0o022, time: float = 1e9) -> Path:
    """A small app with every kind of entry."""
    before = os.umask(umask)
    try:
        (root / "lib/deep").mkdir(parents=True)
        (root / "empty").mkdir()
        (root / "app.rb").write_text("puts 1\n")
        (root / "lib/deep/a.rb").write_text("")
        (root / "lib-else").write_text("sorts between lib and lib/deep as text\n")
        (root / "run").write_text("#!/bin/sh\n")
        (root / "run").chmod(0o700 if umask == 0o077 else 0o775)
        (root / "link").symlink_to("lib/deep/nowhere")
        (root / "dir-link").symlink_to("/etc")
        (root / "twice").hardlink_to(root / "app.rb")
        Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9 \n")).write_text("not UTF-8\n")
        for path in root.rglob("*"):
            os.utime(path, (time, time), follow_symlinks=False)
    finally:
        os.umask(before)
    return root


GOLDEN = "628e32490a259cc7c17dbb0b20850289a267a555d7fd45bf38edcbdad144cc0a"


def paths(tree: Tree) -> list[bytes]:
    return [entry.path for entry in tree.entries]


# --- included files


def test_everything_is_in_the_tree_and_parents_come_first(source: Path) -> None:
    assert paths(scan(source)) == [
        b".dynoctl",
        b".dynoctl/config.ru",
        b"app.rb",
        b"caf\xe9 \n",
        b"dir-link",
        b"empty",
        b"lib",
        b"lib/deep",
        b"lib/deep/a.rb",
        b"lib-else",
        b"link",
        b"run",
        b"twice",
    ]


def test_entries_are_normalised(source: Path) -> None:
    entries = {entry.path: entry for entry in scan(source).entries}
    assert entries[b"app.rb"] == Entry(b"app.rb", Kind.FILE, 0o644, 7, hashlib.sha256(b"puts 1\n").digest())
    assert entries[b"run"].mode == 0o755
    assert entries[b"lib"] == Entry(b"lib", Kind.DIRECTORY, 0o755)
    assert entries[b"link"] == Entry(b"link", Kind.LINK, 0o755, 0, b"lib/deep/nowhere")
    assert entries[b".dynoctl/config.ru"].size == 0
    assert scan(source).size == sum(len(text) for text in ("puts 1\n" * 2, "#!/bin/sh\n", "not UTF-8\n")) + 39


def test_the_digest_is_the_same_everywhere(source: Path) -> None:
    # If this fails, the format has changed, and every slug would be uploaded again. Then change the name of the format, too.
    assert scan(source).digest == GOLDEN


def test_the_digest_does_not_depend_on_umask_times_and_directory(source: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "elsewhere", umask=0o077, time=0)
    assert scan(other).digest == scan(source).digest


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "app.rb").write_text("puts 2\n"),
        lambda root: (root / "app.rb").chmod(0o755),
        lambda root: (root / "run").chmod(0o644),
        lambda root: (root / "app.rb").rename(root / "app2.rb"),
        lambda root: (root / "more").mkdir(),
        lambda root: (root / "more").write_text(""),
        lambda root: (root / "empty").rmdir(),
        lambda root: [(root / "link").unlink(), (root / "link").symlink_to("lib/deep/now")],
        lambda root: [(root / "link").unlink(), (root / "link").write_text("lib/deep/nowhere")],
        lambda root: [(root / "empty").rmdir(), (root / "empty").write_text("")],
    ],
)
def test_every_other_change_changes_the_digest(source: Path, change: Callable[[Path], object]) -> None:
    before = scan(source).digest
    change(source)
    assert scan(source).digest != before


def test_fields_cannot_run_into_each_other() -> None:
    def entry(path: bytes, content: bytes) -> Entry:
        return Entry(path, Kind.LINK, content=content)

    trees = [
        [entry(b"a", b"bc")],
        [entry(b"ab", b"c")],
        [entry(b"a", b""), entry(b"b", b"c")],
        [entry(b"a", b"b,1:c")],
        [entry(b"a,1:b", b"c")],
        [entry(b"a", b"b\n1:l,")],
        [],
    ]
    assert len({digest(tree) for tree in trees}) == len(trees)


def test_an_empty_source_is_a_slug_too(tmp_path: Path) -> None:
    assert paths(scan(tmp_path)) == [b".dynoctl", b".dynoctl/config.ru"]


def test_the_source_may_be_a_link(source: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(source)
    assert scan(tmp_path / "current").digest == scan(source).digest


# --- excluded files


def test_git_and_dynoctl_directories_are_never_included(source: Path) -> None:
    before = scan(source)
    (source / ".git").mkdir()
    (source / ".git/config").write_text("secret")
    (source / "lib/.git").write_text("gitdir: elsewhere")
    (source / ".dynoctl").mkdir()
    (source / ".dynoctl/config.ru").write_text("run Evil")
    (source / ".slugignore").write_text("# nothing\n")
    assert scan(source) == before
    (source / "lib/.dynoctl").write_text("the app's own")
    assert b"lib/.dynoctl" in paths(scan(source))


def test_ignored_files_do_not_change_the_digest(source: Path) -> None:
    (source / ".slugignore").write_text("log/\n")
    before = scan(source).digest
    (source / "log").mkdir()
    os.mkfifo(source / "log/pipe")
    assert scan(source).digest == before


# --- errors


def test_a_source_must_be_a_directory(source: Path) -> None:
    with pytest.raises(DynoctlError, match="nowhere is not a directory"):
        scan(source / "nowhere")
    with pytest.raises(DynoctlError, match=r"app\.rb is not a directory"):
        scan(source / "app.rb")


def test_a_pipe_is_refused_at_once(source: Path) -> None:
    os.mkfifo(source / "lib/pipe")
    with pytest.raises(DynoctlError, match="lib/pipe is not a file, a directory or a symbolic link") as caught:
        scan(source)
    assert ".slugignore" in caught.value.hint


def test_a_socket_is_refused(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source)  # the path of a socket is limited to 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
        with pytest.raises(DynoctlError, match="sock is not a file"):
            scan(source)


def test_an_unreadable_file_is_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: bytes, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("infra.slug.tree.os.open", refuse)  # root can read everything, so chmod has no effect
    with pytest.raises(DynoctlError, match=r"^cannot read .*/source/.*: Permission denied$"):
        scan(source)


def test_an_unreadable_slugignore(source: Path) -> None:
    (source / ".slugignore").mkdir()
    with pytest.raises(DynoctlError, match=r"^cannot read .*/\.slugignore: Is a directory$"):
        scan(source)


def test_saved_plans_are_excluded(source: Path) -> None:
    """The files of plan --out, --html, --markdown and --json: otherwise every saved plan would be stale."""
    before = scan(source).digest
    for name, text in {
        "shop.plan": '{\n "format_version": 1,\n "dynoctl": "0.1.0",\n "file": "x"}',
        "plan.json": '{\n  "format_version": 1,\n  "app": "shop",\n  "changes": []}',
        "lib/plan.html": "<!doctype html>\n<!-- A plan of dynoctl. -->\n<html>",
        "plan.md": "### dynoctl plan: `shop`\n",
    }.items():
        (source / name).write_text(text)
    assert scan(source).digest == before
    (source / "data.json").write_text('{"format_version": 1, "app": "shop"}')
    assert scan(source).digest != before


def test_the_file_of_redirected_output_is_excluded(source: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from infra.slug.tree import scan; print(scan(Path(sys.argv[1])).digest)"
    )
    with (source / "out.txt").open("w") as out:
        subprocess.run([sys.executable, "-c", code, source], stdout=out, check=True)
    said = (source / "out.txt").read_text().strip()
    (source / "out.txt").unlink()
    assert scan(source).digest == said


# --- large sources


def test_a_large_file_is_read_with_a_word_about_it(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (source / "dump.sql").open("wb") as file:
        file.truncate(40 << 20)
    times, said = itertools.count(0, 0.1), list[str]()
    monkeypatch.setattr(reading, "time", SimpleNamespace(monotonic=lambda: next(times)))
    scan(source, say=said.append)
    assert said[0] == "Reading the files of the app" and len(said) >= 20, "one for every second chunk"
    assert re.fullmatch(r"Reading the files of the app: \d+(\.\d+)? MiB, now dump\.sql", said[-1])


def test_a_source_of_unusual_size_names_what_is_large(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "LARGE", 8 << 20)
    assert large(scan(source)) == ""
    sizes = {"storage/backup/dump.sql": 6, "log/a.log": 1, "log/b.log": 1, "video.mp4": 3, "small": 0}
    for name, size in sizes.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        with (source / name).open("wb") as file:
            file.truncate(size << 20)
    said = large(scan(source))
    assert re.match(r"the files of the app are 11(\.\d+)? MiB, and each server gets them all: ", said)
    assert "storage/backup/dump.sql (6 MiB), video.mp4 (3 MiB), log/ (2 MiB); " in said
    assert said.endswith("what the app does not need, add to .slugignore")
    (source / ".slugignore").write_text("log/\n*.mp4\n")
    with (source / "storage/backup/dump.sql").open("wb") as file:
        file.truncate(9 << 20)
    assert ": storage/backup/dump.sql (9 MiB); " in large(scan(source)), "the others are of no account"
    (source / ".slugignore").write_text("storage\n*.mp4\n")
    assert large(scan(source)) == ""
