"""The diff between the files of a release and a source: the old ones are read from git, or from a server."""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import DynoctlError
from infra.manifest.git import git
from infra.model import paths
from infra.model.resource import Command
from infra.model.shell import Session
from infra.model.source_change import FileDiff, SourceDiff
from infra.slug import credentials
from infra.slug.contents import excluded
from infra.slug.tree import CHUNK, Entry, Kind, Tree, open_file

LARGEST = 256 << 10
"""Bytes of a file that is compared line by line."""

TOTAL = 4 << 20
"""Bytes that a server sends of old files."""

MOST = 200
"""Files that are named."""

EFFORT = 5_000_000
"""Lines that may be looked at to find what differs in a file; four times as many in all files. difflib takes quadratic
time for some files, and minutes for one that was made to take long."""

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_SUM = re.compile(r"(\\?)([0-9a-f]{64})  \./(.+)")
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}
"""How sha256sum writes a name, on a line with a backslash before it."""

_LIST = 'cd -- "$1" 2>/dev/null && find . -path ./.dynoctl -prune -o -type f -exec sha256sum {} +'

_READ = f"""\
cd -- "$1" || exit 1
shift
total=0
for file; do
  size=$(stat -c %s -- "$file") || size=0
  [ "$size" -gt {LARGEST} ] || total=$((total + size))
  if [ "$size" -gt {LARGEST} ] || [ "$total" -gt {TOTAL} ]; then echo; else base64 -w0 -- "$file"; echo .; fi
done
"""
"""Prints a line per file: its content in base64 with a dot behind it, or nothing if it is too large."""


@dataclass(frozen=True)
class _Old:
    """The old files by path, with what identifies their content; ``identify`` gives the same for a new file. ``read``
    returns the content of some, without those that are too large. ``whole``: a file that is only in the old ones was
    removed. ``untold``: the files of which it is not known whether there were old ones."""

    origin: str
    files: Mapping[bytes, str]
    identify: Callable[[Entry], str]
    read: Callable[[Sequence[bytes]], Mapping[bytes, bytes]]
    whole: bool = True
    untold: Collection[bytes] = ()


def diff(tree: Tree, slug: str, commit: str, app: str, sessions: Sequence[Session], *, built: bool) -> SourceDiff:
    """The diff between a source and the release with this slug, which was made from ``commit`` ("": unknown). The slug
    is read through the first of ``sessions`` that has it, if git does not know the commit. ``built``: it also has files
    that a build made."""
    old = _from_git(tree, commit)
    if old is None:
        old = next(filter(None, (_from_server(session, app, slug, built=built) for session in sessions)), None)
    if old is None:
        why = (
            "its commit is not recorded"
            if not commit
            else f"it was made from {commit}, with files that were not committed"
            if commit.endswith("-dirty")
            else f"git cannot list the files of its commit {commit}"
            if _COMMIT.fullmatch(commit) and git(tree.source, "cat-file", "-e", commit).status == 0
            else f"its commit {commit} is not in this repository"
        )
        return SourceDiff(reason=f"{why}, and its files cannot be read from a server")
    new = {entry.path: entry for entry in tree.entries if entry.kind is Kind.FILE and not _generated(entry.path)}
    marks = {path: "A" for path in new if path not in old.files and path not in old.untold}
    marks |= {path: "M" for path in new if path in old.files and old.identify(new[path]) != old.files[path]}
    if old.whole:
        left_out = excluded(tree)
        marks |= {path: "D" for path in old.files if path not in new and not left_out(path)}
    chosen = sorted(marks)[:MOST]
    before = old.read([path for path in chosen if marks[path] != "A"])
    effort = _Effort()
    files = [_file_diff(tree.source, path, marks[path], new.get(path), before.get(path), effort) for path in chosen]
    return SourceDiff(tuple(file for file in files if file), len(marks) - len(chosen), old.origin)


def _generated(path: bytes) -> bool:
    return path.startswith(b".dynoctl/")


class _Effort:
    """Counts the lines that are looked at, of all files."""

    def __init__(self) -> None:
        self._left = 4 * EFFORT

    def suffices(self, old: list[str], new: list[str]) -> bool:
        """Whether there is enough left to find what differs."""
        left = min(self._left, EFFORT)
        parts = [(0, len(old), 0, len(new))]
        matcher = difflib.SequenceMatcher(None, old, new)
        places = {line: len(numbers) for line, numbers in matcher.b2j.items()}  # type: ignore[attr-defined]
        while parts:
            begin, end, low, high = parts.pop()
            looks = sum(1 + places.get(line, 0) for line in old[begin:end])
            left, self._left = left - looks, self._left - looks
            if left < 0:
                return False
            found = matcher.find_longest_match(begin, end, low, high)
            if found.size:
                parts += [(begin, found.a, low, found.b), (found.a + found.size, end, found.b + found.size, high)]
        return True


def _may_hold_credentials(path: bytes) -> bool:
    """Whether the name of a file, or of a directory that it is in, is one of credentials."""
    parts = path.split(b"/")
    return any(
        credentials.is_credential(b"/".join(parts[:depth]), depth < len(parts)) for depth in range(1, len(parts) + 1)
    )


def _file_diff(
    source: Path, path: bytes, mark: str, new: Entry | None, before: bytes | None, effort: _Effort
) -> FileDiff | None:
    """The diff of a file; None if only its line ends differ, as git may have converted them."""
    name = os.fsdecode(path).encode(errors="replace").decode()
    if _may_hold_credentials(path):
        return FileDiff(mark, name, note="not shown: may hold credentials")
    after = b"" if new is None else _content(source, path) if new.size <= LARGEST else None
    before = b"" if mark == "A" else before
    if after is None or before is None:
        return FileDiff(mark, name, note=f"not shown: larger than {LARGEST >> 10} KiB, or not readable")
    texts = []
    for content in (before, after):
        try:
            texts.append(content.decode().replace("\r\n", "\n"))
        except UnicodeDecodeError:
            texts.append("\0")
    if any("\0" in text for text in texts):
        return FileDiff(mark, name, note="binary")
    if mark == "M" and texts[0] == texts[1]:
        return None
    old, wanted = (text.splitlines() for text in texts)
    if not effort.suffices(old, wanted):
        return FileDiff(mark, name, note="not shown: too much differs")
    lines = difflib.unified_diff(old, wanted, lineterm="")
    return FileDiff(mark, name, "\n".join(list(lines)[2:]), "" if any(texts) else "empty")


def _content(source: Path, path: bytes) -> bytes | None:
    try:
        with open_file(os.fsencode(source) + b"/" + path) as stream:
            return stream.read(LARGEST + 1)
    except (DynoctlError, OSError):
        return None


def _unescaped(mark: str, name: str) -> str:
    return re.sub(r"\\[\\nr]", lambda found: _ESCAPES[found[0]], name) if mark else name


def _from_git(tree: Tree, commit: str) -> _Old | None:
    """The files of a commit; None if git does not know it, or only what a submodule is. What git ignores may be in a
    slug, and was not committed."""
    if not _COMMIT.fullmatch(commit):
        return None
    listed = git(tree.source, "ls-tree", "-r", "-z", commit, "--", ".")
    ignored = git(tree.source, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", ".")
    if listed.status != 0 or ignored.status != 0 or "\x00160000 " in f"\0{listed.output}":
        return None
    files = {}
    for line in listed.output.split("\0"):
        about, _, path = line.partition("\t")
        if about.startswith("100"):
            files[path.encode()] = about.split()[2]

    def identify(entry: Entry) -> str:
        number = files[entry.path]
        found = hashlib.new("sha1" if len(number) == 40 else "sha256", usedforsecurity=False)
        found.update(b"blob %d\0" % entry.size)
        try:
            with open_file(os.fsencode(tree.source) + b"/" + entry.path) as stream:
                while chunk := stream.read(CHUNK):
                    found.update(chunk)
        except (DynoctlError, OSError):
            return ""
        return found.hexdigest()

    def read(names: Sequence[bytes]) -> dict[bytes, bytes]:
        answers = {name: git(tree.source, "cat-file", "blob", files[name]) for name in names}
        # What is not UTF-8 was replaced when git was read, so it counts as binary.
        return {
            name: b"\0" if "\ufffd" in answer.output else answer.output.encode()
            for name, answer in answers.items()
            if answer.status == 0 and len(answer.output) <= LARGEST
        }

    untold = {path.encode() for path in ignored.output.split("\0")}
    return _Old(f"commit {commit}", files, identify, read, untold=untold)


def _from_server(session: Session, app: str, slug: str, *, built: bool) -> _Old | None:
    """The files of a slug that is mounted on a server; None if it cannot be read."""
    where = paths.mount(app, slug)
    try:
        status, output = session.execute(
            Command(("sh", "-c", _LIST, "list", where), label="list the files of the slug")
        )
    except DynoctlError:
        return None
    if status != 0:
        return None
    found = (_SUM.fullmatch(line) for line in output.split("\n"))
    files = {_unescaped(match[1], match[3]).encode(): match[2] for match in found if match}

    def read(names: Sequence[bytes]) -> dict[bytes, bytes]:
        argv = ("sh", "-c", _READ, "read", where, *(f"./{os.fsdecode(name)}" for name in names))
        try:
            status, output = session.execute(Command(argv, label="read files of the slug"))
            lines = output.splitlines() if status == 0 else []
            pairs = zip(names, lines, strict=False)
            return {name: base64.b64decode(line[:-1], validate=True) for name, line in pairs if line.endswith(".")}
        except (DynoctlError, binascii.Error):
            return {}

    return _Old(session.name, files, lambda entry: entry.content.hex(), read, whole=not built)
