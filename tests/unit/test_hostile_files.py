"""Input without end, and input that takes too long: each is read up to a limit, in time that grows with its length."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.engine import plan_file
from infra.errors import DynoctlError, ManifestInvalid
from infra.manifest import MOST, read
from infra.manifest.model import Reference
from infra.manifest.references import LARGEST, Unresolved, resolve
from infra.model.target import Target
from infra.ops import maintenance
from infra.remote.connect import connect
from infra.slug import ignore, untar
from infra.slug.tree import scan
from providers.unit import _quota
from stacks import detect
from stacks.sources.registry import SOURCES

MANIFEST = (
    "version: 1\napp: {name: shop, source: .}\nrackup: config.ru\ndynos: {web: 1}\nservers: [{name: g, host: h}]\n"
)


def command(*argv: str) -> str:
    return resolve(Reference("from_command", argv), Path("/"), lambda _: None).reveal()


@pytest.mark.parametrize(
    "argv",
    [
        ("cat", "/dev/zero"),
        ("yes",),
        ("sh", "-c", "yes & yes"),
        ("head", "-c", str(LARGEST + 1), "/dev/zero"),
        ("sh", "-c", "yes; exit 1"),
    ],
    ids=str,
)
def test_a_command_that_prints_without_end_is_ended(argv: tuple[str, ...]) -> None:
    with pytest.raises(Unresolved, match="larger than 1 MiB"):
        command(*argv)


def test_what_a_command_starts_ends_with_it(tmp_path: Path) -> None:
    """A process in the background held the pipe open, and dynoctl waited for it."""
    assert command("sh", "-c", "sleep 600 >/dev/null & printf value") == "value"
    pid = tmp_path / "pid"
    with pytest.raises(Unresolved):
        command("sh", "-c", f"sleep 600 & echo $! > {pid}; yes")
    deadline = time.monotonic() + 30
    while alive(Path(f"/proc/{pid.read_text().strip()}/stat")):
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.01)


def alive(status: Path) -> bool:
    try:
        return ") Z" not in status.read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("sh", "-c", "exit 3"), "exit status 3"),
        (("sh", "-c", "head -c 9999999 /dev/zero >&2; exit 4"), "exit status 4"),
        (("/nonexistent",), "cannot run"),
        (("printf", "\\377"), "not valid UTF-8"),
        (("printf", "a\\0b"), "NUL"),
    ],
)
def test_a_command_that_fails_says_how(argv: tuple[str, ...], why: str) -> None:
    with pytest.raises(Unresolved, match=why):
        command(*argv)


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


SPECIAL: dict[str, Callable[[Path], Path]] = {
    "pipe": lambda directory: pipe(directory / "pipe"),
    "zero": lambda _: Path("/dev/zero"),
    "directory": lambda directory: directory,
    "link to a device": lambda directory: link(directory / "link", Path("/dev/zero")),
}


def link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


READERS: dict[str, Callable[[Path, Path], Any]] = {
    "manifest": lambda path, _: read(path),
    "saved plan": lambda path, _: plan_file.read(path),
    "maintenance page": lambda path, _: maintenance.read_page(path, "nginx"),
    "from_file": lambda path, _: resolve(Reference("from_file", str(path)), Path("/"), lambda _: None),
    "known_hosts": lambda path, _: connect(Target("g", "127.0.0.1", known_hosts=path)),
    "key": lambda path, _: connect(Target("g", "127.0.0.1", key=path)),
    ".slugignore": lambda path, directory: (link(directory / ".slugignore", path), scan(directory)),
}


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_not_waited_for(reader: str, special: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises((DynoctlError, ManifestInvalid, Unresolved)):
        READERS[reader](SPECIAL[special](tmp_path), source)


def test_a_pipe_in_the_source_is_not_waited_for(tmp_path: Path) -> None:
    pipe(tmp_path / "pipe")
    with pytest.raises(DynoctlError):
        scan(tmp_path)


# .slugignore


@pytest.mark.parametrize(
    "pattern",
    [
        *(b"*a" * 25, b"*a" * 25 + b"*b", b"*" * 50 + b"b", b"**/" * 20 + b"x", b"**/*a" * 12, b"a*" * 100 + b"b"),
        *(
            b"**/" + b"a*" * 30 + b"b",
            b"[a]*" * 30 + b"b",
            b"?*" * 30 + b"b",
            b"**/a*/**/a*/**/a*/**/b",
            b"*a/" * 20 + b"b",
        ),
    ],
    ids=ascii,
)
def test_no_pattern_takes_long(pattern: bytes) -> None:
    rules = ignore.parse(pattern)
    for path in (b"a" * 200, b"a/" * 100 + b"c", b"a" * 100 + b"/" + b"a" * 100):
        assert not ignore.ignored(rules, path, False) or pattern in (b"*a" * 25, b"**/*a" * 12)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        (b"*a*b", b"aab", True),
        (b"*a*b", b"aba", False),
        (b"*ab", b"aabab", True),
        (b"a*b/c", b"axb/c", True),
        (b"a*b/c", b"a/b/c", False),
        (b"**/a*b/c", b"ax/ab/c", True),
        (b"**/a*b/c", b"a/x/axxb/c", True),
        (b"**/a/**/b", b"a/a/c/b", True),
        (b"**/a/**/b", b"b/a/b", True),
        (b"a/**/b", b"a/b", True),
        (b"a/**/b", b"a/x/y/b", True),
        (b"a/**", b"a/x/y", True),
        (b"a/**", b"a", False),
        (b"**/*.o", b"x/y/z.o", True),
        (b"*.o", b"x/y/z.o", True),
        (b"x/*/z", b"x/y/z", True),
        (b"x/*/z", b"x/y/y/z", False),
        (b"x/**/y*z/**/w", b"x/y/yz/a/w", True),
        (b"[ab]*[cd]", b"axxd", True),
        (b"*?a", b"ba", True),
        (b"*?a", b"a", False),
        (b"a ", b"a", True),
        (b"a\\ ", b"a ", True),
        (b"a\\\\  ", b"a\\", True),
        (b"a\\ \\  ", b"a  ", True),
    ],
)
def test_patterns_match_as_before(pattern: bytes, path: bytes, matches: bool) -> None:
    assert ignore.ignored(ignore.parse(pattern), path, False) is matches


@pytest.mark.parametrize(
    "line", [b"a" + b" " * 500_000 + b"b", b"\\ " * 200_000, b"[" * 500_000, b"a" * 1_000_000, b"\\" * 999_999]
)
def test_no_line_takes_long(line: bytes) -> None:
    assert not ignore.ignored(ignore.parse(line), b"a", False)


def test_there_are_not_too_many_rules(tmp_path: Path) -> None:
    (tmp_path / ".slugignore").write_bytes(b"*a\n" * (ignore.MOST + 1))
    with pytest.raises(DynoctlError, match="more than 10000 rules"):
        scan(tmp_path)


# Texts that init reads.


@pytest.mark.parametrize(
    "text",
    ["3.1" + ".1a" * 40 + "!", "3.1" + "-a" * 10_000 + "!", "3.1." + "a" * 30_000 + "!", "1" * 50_000, "3." * 10_000],
)
def test_no_version_of_ruby_takes_long(text: str) -> None:
    for file in (".ruby-version", ".tool-versions", "mise.toml"):
        detect.detect({file: f"ruby {text}", "config.ru": "run App", "Gemfile": f"ruby '{text}'"})


LINES = [
    *("\n" * 20_000, " " * 20_000, "gem " * 5_000, "ruby(" * 5_000, "class A" + "::A" * 8_000, "'\\" * 10_000),
    *("[" * 20_000, "{a: " * 5_000, "x = (" * 5_000, "set :a, [" * 3_000, '"#{' * 8_000, "do |x|\n" * 4_000),
    *("a: &a [*a]\n" * 1_000, "&a\n" * 5_000, "- " * 9_000, "<%= " * 9_000, "a." * 9_000 + "b = 1", "A=" * 9_000),
    *("web: -t " * 3_000, "//" * 9_000, "get 'up'," * 3_000, "1" * 20_000, "$(cat " * 4_000, "\x00\x1b" * 9_000),
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line[:12]))
def test_no_file_of_an_app_takes_long(line: str) -> None:
    """Each file has the text, and each source reads it."""
    began = time.process_time()
    files = dict.fromkeys((name.rstrip("/") for name in detect.FILES if "*" not in name), line)
    for source in SOURCES:
        source.read(files)
    detect.detect({**files, "Procfile": f"web: {line}", "config.ru": "run App"}, "capistrano")
    assert time.process_time() - began < 10, "it is not linear"


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize("text", [BOMB, "a: &a {b: *a}", "<<: &a {<<: *a}"])
def test_no_alias_makes_a_file_large(text: str) -> None:
    found = detect.detect({"config/deploy.yml": text, "config.ru": "run App"})
    assert found is not None
    assert any("not read" in note for note in found.notes), found.notes


@pytest.mark.parametrize("text", ["9" * 1_000_000, "9." * 500_000, "9" * 1_000_000 + "ms", "." * 1_000_000])
def test_no_quota_takes_long(text: str) -> None:
    assert _quota(text).endswith("%")


# YAML


@pytest.mark.parametrize(
    "text",
    [
        "x-a: &a [" + ",".join(["b"] * 2000) + "]\nx-b:\n" + "  - *a\n" * 60_000,
        "x-a: &a0 [b,b]\n" + "".join(f"x-a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)),
        "x-a: &a {"
        + ",".join(f"k{n}: 1" for n in range(2000))
        + "}\nx-b:\n"
        + "".join(f"  k{n}: {{<<: *a}}\n" for n in range(9000)),
        "x-a: &a [b]\nx-c: [" + ",".join(["*a"] * 150_000) + "]\n",
        "x-a: " + "[" * 5000 + "]" * 5000 + "\n",
        "x-a: &a [*a]\n",
    ],
    ids=["flat", "laughs", "merges", "many", "deep", "itself"],
)
def test_no_alias_takes_long(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.ru").write_text("run nil\n")
    (tmp_path / "dyno.yaml").write_text(MANIFEST + text)
    with pytest.raises(ManifestInvalid):
        read(tmp_path / "dyno.yaml")


# The result of a build on a server.


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    made.seek(0)
    return made


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link_: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = size, kind, link_
    return made


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    """10 KiB became 2 GiB."""
    file = tmp_path / "sparse"
    with file.open("wb") as stream:
        stream.truncate(2 << 30)
    packed = tmp_path / "sparse.tar"
    subprocess.run(["tar", "-C", str(tmp_path), "-cSf", str(packed), "sparse"], check=True)
    assert packed.stat().st_size < 1 << 20
    target = tmp_path / "out"
    target.mkdir()
    with packed.open("rb") as stream, pytest.raises(DynoctlError, match="sparse"):
        untar.unpack(stream, target)
    assert not any(target.rglob("*"))


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_nothing_is_written_through_a_link_or_twice(names: tuple[str, str], tmp_path: Path) -> None:
    links = [(member(name, 0, tarfile.SYMTYPE, str(tmp_path)), b"") for name in names]
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(DynoctlError, match="invalid tar from the builder"):
        untar.unpack(archive(*links), target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_all_files_together_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untar, "LARGEST", 1000)
    with pytest.raises(DynoctlError, match="larger than"):
        untar.unpack(archive((member("a", 600), b"a" * 600), (member("b", 600), b"b" * 600)), tmp_path)


def test_hard_links_are_copies_and_count_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untar, "LARGEST", 1000)
    links = [(member(f"l{number}", 0, tarfile.LNKTYPE, "a"), b"") for number in range(5)]
    with pytest.raises(DynoctlError, match="larger than"):
        untar.unpack(archive((member("a", 300), b"a" * 300), *links), tmp_path)


def test_the_number_of_files_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untar, "MOST", 3)
    with pytest.raises(DynoctlError, match="3 files"):
        untar.unpack(archive(*((member(f"f{number}"), b"") for number in range(5))), tmp_path)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_no_header_is_read_into_memory_whatever_it_claims(kind: bytes, tmp_path: Path) -> None:
    header = member("x", 4 << 30, kind).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(DynoctlError, match="invalid tar"):
        untar.unpack(io.BytesIO(header + b"\0" * 10_240), tmp_path)


@pytest.mark.parametrize(
    "made",
    [
        *(
            (member("../x"), b""),
            (member("/x"), b""),
            (member("a/../../x"), b""),
            (member("l", 0, tarfile.LNKTYPE, "../x"), b""),
        ),
        *((member("l", 0, tarfile.LNKTYPE, "/etc/passwd"), b""), (member("l", 0, tarfile.LNKTYPE, "missing"), b"")),
    ],
    ids=lambda made: f"{made[0].name} {made[0].linkname}",
)
def test_nothing_is_written_or_read_outside(made: tuple[tarfile.TarInfo, bytes], tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    target.mkdir(parents=True)
    with pytest.raises(DynoctlError):
        untar.unpack(archive(made), target)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("data", [b"", b"x" * 512, b"\xff" * 5000, os.urandom(2048)], ids=len)
def test_what_is_no_tar_is_said(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(DynoctlError, match="invalid tar"):
        untar.unpack(io.BytesIO(data), tmp_path)


@pytest.mark.parametrize(
    ("line", "errors"),
    [
        ("bad: " + "://" * 100_000, 1),
        ("env: {" + ", ".join(f"A{number}: []" for number in range(6000)) + "}", MOST + 1),
        ("env: {" + ", ".join("A: 1" for _ in range(60_000)) + "}", MOST + 1),
        ("env: {" + ", ".join(f"A{number}: !x 1" for number in range(15_000)) + "}", MOST + 1),
        ("framework: {name: rack, " + ", ".join(f"k{number}: 1" for number in range(15_000)) + "}", MOST + 1),
    ],
    ids=["no login", "values", "duplicate keys", "tags", "unknown keys"],
)
def test_a_long_line_with_many_errors_and_secrets_is_masked_once(tmp_path: Path, line: str, errors: int) -> None:
    """Each error masked the whole line again, once for every secret on it: for hours."""
    (tmp_path / "config.ru").touch()
    (tmp_path / "dyno.yaml").write_text(MANIFEST + line + "\n")
    with pytest.raises(ManifestInvalid) as caught:
        read(tmp_path / "dyno.yaml")
    assert len(caught.value.diagnostics) == errors
    assert len(json.dumps([error.as_json() for error in caught.value.diagnostics])) < 8 << 20


def test_rules_of_a_slug_that_are_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "app/.slugignore").symlink_to(tmp_path / "token")
    with pytest.raises(DynoctlError, match="is a link, which may lead to any file"):
        scan(tmp_path / "app")
