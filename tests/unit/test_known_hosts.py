"""Host keys that are not trusted: each error has both fingerprints and the line, and its cure can be typed."""

from __future__ import annotations

import base64
import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.remote import known_hosts
from infra.remote.dial import MORE_FILES
from infra.remote.host_keys import HostKeyRejected, HostKeys
from infra.remote.known_hosts import fingerprint
from infra.remote.ssh_settings import Settings


def key(number: int, kind: str = "ssh-ed25519") -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in (kind.encode(), bytes([number]) * 32))


def line(hosts: str, blob: bytes, kind: str = "ssh-ed25519") -> str:
    return f"{hosts} {kind} {base64.b64encode(blob).decode()}"


@pytest.fixture
def keys(tmp_path: Path) -> Callable[..., HostKeys]:
    def make(*lines: str, host: str = "a.example", port: int = 22, alias: str = "", direct: bool = True) -> HostKeys:
        file = tmp_path / "known hosts"
        file.write_text("".join(f"{line}\n" for line in lines))
        return HostKeys(Settings("a", host, port, "root", host_key_alias=alias, known_hosts=(file,)), direct=direct)

    return make


def rejected(keys: HostKeys, blob: bytes) -> HostKeyRejected:
    with pytest.raises(HostKeyRejected) as caught:
        keys.check(blob)
    return caught.value


def typed(hint: str) -> None:
    """Type the command of a hint."""
    subprocess.run(["/bin/sh", "-c", hint.rpartition(": ")[2]], check=True, capture_output=True)


def test_an_unknown_host(keys: Callable[..., HostKeys], tmp_path: Path) -> None:
    error = rejected(keys(), key(1))
    assert error.summary == (
        f"unknown host key: a.example is not in {tmp_path}/known hosts; the server has ssh-ed25519 {fingerprint(key(1))}"
    )
    assert error.hint.endswith(f"ssh-keyscan -t ed25519 a.example >> '{tmp_path}/known hosts'")
    assert " -p 2222 a.example >>" in rejected(keys(port=2222), key(1)).hint


@pytest.mark.parametrize(
    ("host", "port", "alias", "direct"), [("a", 22, "alias", True), ("a", 22, "", False), ("::1", 2222, "", False)]
)
def test_the_cure_of_an_unknown_host_that_ssh_keyscan_cannot_name(
    host: str, port: int, alias: str, direct: bool, keys: Callable[..., HostKeys]
) -> None:
    known = keys("# something", host=host, port=port, alias=alias, direct=direct)
    typed(rejected(known, key(1)).hint)
    known.check(key(1))


def test_a_changed_key(keys: Callable[..., HostKeys], tmp_path: Path) -> None:
    for hosts, name in (("a.example", {}), ("[a.example]:2222", {"port": 2222}), ("alias", {"alias": "alias"})):
        known = keys("b.example ssh-rsa AAAA", line(hosts, key(1)), line("b.example", key(1)), **name)
        error = rejected(known, key(2))
        assert error.summary.startswith("host key verification failed: ")
        for part in (fingerprint(key(1)), fingerprint(key(2)), f"{tmp_path}/known hosts:2", hosts):
            assert part in error.summary
        typed(error.hint)
        assert rejected(known, key(2)).summary.startswith("unknown host key")
        assert "b.example" in (tmp_path / "known hosts").read_text()


@pytest.mark.parametrize("hosts", ["*.example", "a.example,b.example"])
def test_the_cure_of_a_changed_key_of_several_hosts(hosts: str, keys: Callable[..., HostKeys]) -> None:
    known = keys("# first", line(hosts, key(1)))
    hint = rejected(known, key(2)).hint
    assert "remove line 2" in hint
    typed(hint)
    assert rejected(known, key(2)).summary.startswith("unknown host key")


def test_another_type_of_key_than_known(keys: Callable[..., HostKeys], tmp_path: Path) -> None:
    known = keys(line("a.example", key(1, "ssh-rsa"), "ssh-rsa"))
    error = rejected(known, key(2))
    assert error.summary.startswith(
        f"host key verification failed: the server has ssh-ed25519 {fingerprint(key(2))}, and known_hosts has only "
        f"other types of keys for a.example: ssh-rsa {fingerprint(key(1, 'ssh-rsa'))} ({tmp_path}/known hosts:1); "
    )
    assert "ssh-keyscan -t ed25519" in error.hint
    assert known.algorithms()[0] == "rsa-sha2-512"


def test_a_revoked_key(keys: Callable[..., HostKeys], tmp_path: Path) -> None:
    error = rejected(keys(line("a.example", key(1)), line("@revoked *", key(1))), key(1))
    assert f"{fingerprint(key(1))}) is revoked in {tmp_path}/known hosts:2" in error.summary


def test_lines_that_cannot_be_read_are_named_where_a_host_is_not_found(
    keys: Callable[..., HostKeys], tmp_path: Path
) -> None:
    error = rejected(keys("a.example ssh-ed25519", "@what a.example x y", line("b", key(1))), key(1))
    assert f"2 lines cannot be read, such as {tmp_path}/known hosts:1: no key" in error.summary


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\0\1binary\n", "is not a text file"),
        ("a.example".encode("utf-16"), "is not a text file"),
        (b"\xef\xbb\xbfa.example x y\n", "begins with a byte order mark"),
        (None, "is a directory"),
    ],
)
def test_a_file_that_is_none_of_ssh_is_named(
    content: bytes | None, why: str, keys: Callable[..., HostKeys], tmp_path: Path
) -> None:
    found, file = keys(), tmp_path / "known hosts"
    if content is None:
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(content)
    error = rejected(found, key(1))
    assert f"; {file} {why}" in error.summary and str(file) in error.hint and "ssh-keyscan" not in error.hint


def test_a_file_that_may_not_be_read_is_named(
    keys: Callable[..., HostKeys], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, *_: object) -> int:
        raise PermissionError(13, "Permission denied", path)

    found = keys()
    monkeypatch.setattr(known_hosts, "_without_waiting", refuse)
    error = rejected(found, key(1))
    assert f"; {tmp_path}/known hosts cannot be read: permission denied" in error.summary
    assert error.hint.startswith("make it readable")

    def full(path: str, *_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)

    monkeypatch.setattr(known_hosts, "_without_waiting", full)
    error = rejected(found, key(1))
    assert f"; {tmp_path}/known hosts cannot be read: too many open files" in error.summary
    assert error.hint == MORE_FILES


def test_a_pipe_without_a_writer_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert list(known_hosts.entries([tmp_path / "pipe"], "a")) == []


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "known"
    file.write_text(line("a", key(1)) + "\n")
    first = known_hosts.read(file)
    assert known_hosts.read(file) is first
    file.write_text(line("b,a", key(2)) + "\n")
    os.utime(file, ns=(1, 1))
    assert [entry.blob for entry in known_hosts.entries([file], "a")] == [key(2)]
    assert list(known_hosts.entries([tmp_path / "missing", tmp_path], "a")) == []


def test_a_pattern_with_many_stars_takes_no_time() -> None:
    assert not known_hosts.matches("a" * 200, "*" * 50 + "b")
    assert not known_hosts.matches("a" * 60, "*a" * 12 + "b")
