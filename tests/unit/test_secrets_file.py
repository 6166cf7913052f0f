"""``.dyno/secrets``: its syntax, its precedence and its errors, which never contain a value."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra.errors import DynoctlError
from infra.manifest.model import Reference
from infra.manifest.references import Resolver, Unresolved
from infra.manifest.secrets_file import read
from infra.sensitive import Sensitive

POISON = "hunter2-poison"


def write(base: Path, text: str, name: str = "secrets", mode: int = 0o600) -> Path:
    (base / ".dyno").mkdir(exist_ok=True)
    file = base / ".dyno" / name
    file.write_text(text, newline="")
    file.chmod(mode)
    return file


def value(base: Path, name: str, destination: str | None = None) -> str:
    found = Resolver(base, destination)(Reference("from_env", name))
    assert isinstance(found, Sensitive)
    return found.reveal()


def test_syntax(tmp_path: Path) -> None:
    write(tmp_path, "# a comment\nA=1\nexport B='x $A #y'\nC=\"one\\ntwo\nthree\"\n\nEMPTY=\n")
    assert read(tmp_path, None) == {"A": "1", "B": "x $A #y", "C": "one\ntwo\nthree", "EMPTY": ""}
    assert read(tmp_path / "nowhere", None) == {}


def test_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "KEY=file\nOTHER=file\n")
    write(tmp_path, "KEY=staging\n", "secrets.staging")
    monkeypatch.delenv("KEY", raising=False)
    assert value(tmp_path, "KEY") == "file"
    assert value(tmp_path, "KEY", "staging") == "staging"
    assert value(tmp_path, "OTHER", "staging") == "file"
    monkeypatch.setenv("KEY", "environment")
    assert value(tmp_path, "KEY", "staging") == "environment"
    with pytest.raises(Unresolved, match="environment variable NOT_THERE is not set"):
        value(tmp_path, "NOT_THERE")


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        (f"A=1\nnot {POISON}\n", 0o600, r"secrets:2: invalid line, expected NAME=value"),
        (f"A=1\n\n\n={POISON}\n", 0o600, r"secrets:4: invalid line, expected NAME=value"),
        (f"A=1\r\n\r\n\r\nnot {POISON}\r\n", 0o600, r"secrets:4: invalid line, expected NAME=value"),
        (f"A=1\n  \n\nnot {POISON}\n", 0o600, r"secrets:4: invalid line, expected NAME=value"),
        (f"A={POISON}\nA={POISON}2\n", 0o600, r"secrets:2: duplicate variable A"),
        (f"A={POISON}\n", 0o644, r"is readable by other users: its mode is 0644"),
    ],
)
def test_invalid_files(tmp_path: Path, text: str, mode: int, message: str) -> None:
    write(tmp_path, text, mode=mode)
    with pytest.raises(DynoctlError, match=message) as error:
        read(tmp_path, None)
    assert POISON not in f"{error.value.summary} {error.value.hint} {error.value!r}"


def test_a_file_tracked_by_git_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "A=1\n")
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True, env=env)
    assert read(tmp_path, None) == {"A": "1"}
    subprocess.run(["git", "add", "-f", str(file)], cwd=tmp_path, check=True, env=env)
    with pytest.raises(DynoctlError, match="secrets is tracked by git"):
        read(tmp_path, None)
    monkeypatch.setenv("GIT_DIR", ".git")  # as in a git hook
    with pytest.raises(DynoctlError, match="secrets is tracked by git"):
        read(tmp_path, None)
    link = write(tmp_path, "", "secrets.staging")
    link.unlink()
    file.rename(tmp_path / "kept")
    subprocess.run(["git", "add", "-f", "kept"], cwd=tmp_path, check=True, env=env)
    link.symlink_to(tmp_path / "kept")
    with pytest.raises(DynoctlError, match="staging is tracked by git"):
        read(tmp_path, "staging")
    link.unlink()
    if os.geteuid() != 0:
        return
    os.chown(tmp_path, 12345, 12345)  # a checkout of another user: git does not read what may run programs
    (tmp_path / "kept").rename(file)
    with pytest.raises(DynoctlError, match=r"cannot determine whether git tracks .*dubious ownership"):
        read(tmp_path, None)


def test_a_reference_is_resolved_once(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("-----BEGIN\nabc\n")
    (tmp_path / "count").write_text("")
    resolver = Resolver(tmp_path, None)
    reference = Reference("from_command", ("sh", "-c", "echo x >> count; cat key"))
    stripped, whole = resolver(reference), resolver.whole(reference)
    assert isinstance(stripped, Sensitive)
    assert (stripped.reveal(), whole.reveal()) == ("-----BEGIN\nabc", "-----BEGIN\nabc\n")
    assert (tmp_path / "count").read_text() == "x\n"
