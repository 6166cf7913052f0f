"""plan --diff: the files of the release that runs and those of the source, from git or from a server."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.engine import source_diff
from infra.errors import Unreachable
from infra.model.resource import Command
from infra.model.source_change import FileDiff, SourceDiff
from infra.slug.source_diff import LARGEST, diff
from infra.slug.tree import scan
from infra.views import source_diff as view
from infra.views.style import Style

OLD: Mapping[str, bytes] = {
    "app.rb": b"one\ntwo\n",
    "gone.rb": b"bye\n",
    "logo.png": b"\x89PNG\0a",
    "same.rb": b"same\n",
    "big.csv": b"a" * (LARGEST + 1),
    "big_same.csv": b"a" * (LARGEST + 1),
    "crlf.rb": b"a\nb\n",
    ".env": b"KEY=hunter2\n",
    "deploy.key": b"hunter2\n",
    "tmp/cache": b"ignored\n",
    "empty.rb": b"",
}
NEW: Mapping[str, bytes | None] = {
    "app.rb": b"one\n2\n",
    "gone.rb": None,
    "logo.png": b"\x89PNG\0b",
    "big.csv": b"b" * (LARGEST + 1),
    "crlf.rb": b"a\r\nb\r\n",
    ".env": b"KEY=hunter3\n",
    "deploy.key": None,
    "tmp/cache": None,
    "new.rb": b"hello",
    "lib/also_empty.rb": b"",
}
EXPECTED = (
    FileDiff("M", "app.rb", "@@ -1,2 +1,2 @@\n one\n-two\n+2"),
    FileDiff("M", "big.csv", note="not shown: larger than 256 KiB, or not readable"),
    FileDiff("D", "gone.rb", "@@ -1 +0,0 @@\n-bye"),
    FileDiff("A", "lib/also_empty.rb", note="empty"),
    FileDiff("M", "logo.png", note="binary"),
    FileDiff("A", "new.rb", "@@ -0,0 +1 @@\n+hello"),
)


def write(root: Path, files: Mapping[str, bytes | None]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True) if content is None else path.write_bytes(content)


def git(root: Path, *argv: str) -> str:
    words = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=false", *argv]
    return subprocess.run(words, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "repository/app"
    write(root, {**OLD, ".slugignore": b"tmp/\n"})
    git(root.parent, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "x")
    return root


class Server:
    """A session to a server that has the old files mounted."""

    def __init__(self, files: Mapping[str, bytes], name: str = "grid-1") -> None:
        self.files, self.name = files, name
        self.asked: list[tuple[str, ...]] = []

    def execute(self, command: Command) -> tuple[int, str]:
        self.asked.append(command.argv)
        where, *names = command.argv[4:]
        assert where == "/srv/dyno/shop/" + "ab" * 32
        if command.argv[3] == "list":
            return 0, "".join(f"{hashlib.sha256(data).hexdigest()}  ./{path}\n" for path, data in self.files.items())
        contents = [self.files[name.removeprefix("./")] for name in names]
        return 0, "".join(f"{base64.b64encode(c).decode()}.\n" if len(c) <= LARGEST else "\n" for c in contents)


class Silent(Server):
    def execute(self, command: Command) -> tuple[int, str]:
        raise Unreachable("gone")


def compared(source: Path, commit: str, *servers: Any, built: bool = False) -> SourceDiff:
    return diff(scan(source), "ab" * 32, commit, "shop", servers, built=built)


def test_from_git(source: Path) -> None:
    commit = git(source, "rev-parse", "--short=12", "HEAD")
    write(source, NEW)
    found = compared(source, commit)
    assert found.files == EXPECTED and found.origin == f"commit {commit}" and not found.reason


def test_from_the_first_server_that_has_the_slug(source: Path) -> None:
    write(source, NEW)
    deployed = {path: data for path, data in OLD.items() if path not in (".env", "deploy.key", "tmp/cache")}
    for commit in ("", "0123456789ab", "0123456789ab-dirty"):
        found = compared(source, commit, Silent({}), Server(deployed, "grid-2"))
        assert found.files == EXPECTED and found.origin == "grid-2"


def test_files_that_a_build_made_are_not_shown_as_removed(source: Path) -> None:
    write(source, {"app.rb": b"x\n"})
    deployed = {path: data for path, data in OLD.items() if path not in (".env", "deploy.key", "tmp/cache")}
    found = compared(source, "", Server({**deployed, "vendor/gem.rb": b"made\n"}), built=True)
    assert [file.path for file in found.files] == ["app.rb"]


@pytest.mark.parametrize(
    ("commit", "says"),
    [
        ("", "its commit is not recorded"),
        ("0123456789ab-dirty", "it was made from 0123456789ab-dirty, with files that were not committed"),
        ("0123456789ab", "its commit 0123456789ab is not in this repository"),
        ("--output=x", "its commit --output=x is not in this repository"),
    ],
)
def test_why_there_is_none(source: Path, commit: str, says: str) -> None:
    found = compared(source, commit, Silent({}))
    assert found == SourceDiff(reason=f"{says}, and its files cannot be read from a server")
    assert view.render(found, Style(False)) == f"No diff of the source: {found.reason}."


def test_a_lying_server_forges_nothing(source: Path) -> None:
    class Liar(Server):
        def execute(self, command: Command) -> tuple[int, str]:
            if command.argv[3] == "list":
                return 0, "junk\n" + "0" * 64 + "  ./../../etc/passwd\n" + "0" * 64 + "  ./app.rb\n"
            return 0, "%%%.\n" * 9

    found = compared(source, "", Liar({}))
    text = view.render(found, Style(False))
    assert "app.rb: changed, not shown" in text


@pytest.mark.parametrize(
    ("unreachable", "reason"),
    [
        ({}, "no release runs yet, so every file is new"),
        ({"grid-1": Unreachable("gone")}, "the release that runs is unknown, as grid-1 cannot be reached"),
    ],
)
def test_without_a_release(unreachable: Mapping[str, Unreachable], reason: str) -> None:
    plan: Any = SimpleNamespace(running=None, unreachable=unreachable)
    ready: Any = SimpleNamespace(plan=plan, slug=None)
    assert source_diff.of(ready) == SourceDiff(reason=reason)


def test_credentials_that_the_slug_has_are_only_named(source: Path) -> None:
    write(source, {".slugignore": b"!deploy.key\n!.env\n", "deploy.key": b"hunter3\n", ".env": None})
    deployed = {path: OLD[path] for path in OLD if path != "tmp/cache"}
    commit = git(source, "rev-parse", "HEAD")
    for found in (compared(source, commit), compared(source, "", Server(deployed))):
        note = "not shown: may hold credentials"
        assert {(file.status, file.path, file.text, file.note) for file in found.files} >= {
            ("M", "deploy.key", "", note),
            ("D", ".env", "", note),
        }
        assert "hunter" not in str(found)


def test_what_takes_long_to_compare_is_only_named(source: Path) -> None:
    old = "".join(f"same {n}\nold {n}\n" for n in range(7000)).encode()
    new = "".join(f"same {n}\nnew {n}\n" for n in range(7000)).encode()
    repeated = [b"".join(b"%d\n" % (n * step % 110) for n in range(60000)) for step in (7, 13)]
    write(source, {"a.csv": new, "b.csv": repeated[1], "app.rb": b"one\n2\n"})
    found = compared(source, "", Server({**OLD, "a.csv": old, "b.csv": repeated[0]}), built=True)
    slow = [FileDiff("M", name, note="not shown: too much differs") for name in ("a.csv", "b.csv")]
    assert found.files == (slow[0], EXPECTED[0], slow[1])


def test_names_as_sha256sum_writes_them(source: Path) -> None:
    names = ["back\\slash", "line\nfeed", "form\x0cfeed", "\u2028"]
    write(source, dict.fromkeys(names, b"same\n"))
    lines = subprocess.run(["sha256sum", *(f"./{name}" for name in names)], cwd=source, capture_output=True, text=True)

    class Real(Server):
        def execute(self, command: Command) -> tuple[int, str]:
            return 0, lines.stdout

    found = compared(source, "", Real({}), built=True)
    assert not {file.path for file in found.files} & set(names)


def test_what_git_ignores_is_not_new_each_time(source: Path) -> None:
    write(source, {"../.gitignore": b"*.js\n", "public/app.js": b"built\n", "same.js": b"forced\n"})
    git(source, "add", "-f", "same.js")
    commit = git(source, "rev-parse", "HEAD")
    assert [file.path for file in compared(source, commit).files] == ["same.js"]


def test_the_files_of_a_submodule_are_read_from_a_server(source: Path) -> None:
    git(source, "update-index", "--add", "--cacheinfo", f"160000,{'ab' * 20},app/vendor/gem")
    git(source, "commit", "-qm", "submodule")
    write(source, {"vendor/gem/gem.rb": b"same\n"})
    commit, deployed = git(source, "rev-parse", "HEAD"), {**OLD, "vendor/gem/gem.rb": b"same\n"}
    assert compared(source, commit, Server(deployed)) == SourceDiff(origin="grid-1")
    assert compared(source, commit).reason.startswith(f"git cannot list the files of its commit {commit}, ")


def test_a_commit_with_more_files_than_are_read_is_not_called_absent(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.manifest.git.LARGEST", 100)
    commit = git(source, "rev-parse", "HEAD")
    assert compared(source, commit, Silent({})).reason.startswith(f"git cannot list the files of its commit {commit}, ")


def test_the_text_and_the_document() -> None:
    found = SourceDiff((*EXPECTED, FileDiff("M", "x\x1b.rb", "@@ -1 +1 @@\n-\x1b[2J::error::\tx\n+y")), 3, "grid-1")
    text = view.render(found, Style(False))
    assert text.startswith(
        "Diff of the source, from grid-1:\n--- a/app.rb\n+++ b/app.rb\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
    )
    assert "--- a/gone.rb\n+++ /dev/null\n" in text and "--- /dev/null\n+++ b/new.rb\n" in text
    assert "logo.png: changed, binary\n" in text and "lib/also_empty.rb: new file, empty\n" in text
    assert "\x1b" not in text and "-\\x1b[2J::error::\tx" in text and text.endswith("... and 3 more files")
    assert "\x1b[31m-two\x1b[0m" in view.render(found, Style(True))
    assert view.document(found)["origin"] == "grid-1"
    large = view.document(SourceDiff((FileDiff("M", "a", "x" * (2 << 20)),)))
    assert large["files"] == [{"status": "M", "path": "a", "text": None, "note": ""}]
