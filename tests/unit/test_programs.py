"""Programs of the local machine are found on absolute entries of PATH: no repository may bring a program of its own."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from infra.errors import DynoctlError
from infra.lab import needs
from infra.lab.run import run
from infra.manifest import programs
from infra.manifest.git import git
from infra.manifest.model import Reference
from infra.manifest.references import Unresolved, resolve
from infra.remote import ssh_config
from infra.slug import squashfs

ROOT = Path(__file__).parents[2]

NAMES = ("git", "ssh", "mksquashfs", "printf", "ip", "apt-get")


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that is there if a program of the repository was run. PATH leads there, and nowhere else before."""
    for directory in (tmp_path, tmp_path / "bin"):
        directory.mkdir(exist_ok=True)
        for name in NAMES:
            program = directory / name
            program.write_text(f"#!/bin/sh\necho {name} >> '{tmp_path}/mark'\n")
            program.chmod(0o755)
    (tmp_path / "config").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".:bin::./bin:{os.environ['PATH']}")
    yield tmp_path / "mark"


STARTS: dict[str, Callable[[Path], object]] = {
    "git": lambda here: git(here, "rev-parse", "HEAD"),
    "ssh": lambda here: ssh_config.resolve(ssh_config.Question("grid-1", config=here / "config")),
    "mksquashfs": lambda _: squashfs.find(),
    "from_command": lambda here: resolve(Reference("from_command", ("printf", "x")), here, lambda _: None),
    "the lab": lambda _: run(["ip", "-V"]),
    "the lab's needs": lambda _: needs._old_mksquashfs(),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_program_of_the_repository_is_not_run(mark: Path, start: Callable[[Path], object]) -> None:
    with suppress(DynoctlError, Unresolved):  # it may not be installed here
        start(mark.parent)
    assert not mark.exists(), mark.read_text()


def test_without_an_absolute_entry_nothing_is_found(mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", ".", "bin:.", "::"):
        monkeypatch.setenv("PATH", value)
        assert programs.find("git") is None
        for start in STARTS.values():
            with suppress(DynoctlError, Unresolved):
                start(mark.parent)
    assert not mark.exists()


def test_a_path_is_taken_as_it_is(mark: Path) -> None:
    """Such as ``from_command: [./secret]``: whoever wrote it meant that file."""
    assert programs.find("./git") == "./git"
    resolve(Reference("from_command", ("bin/printf",)), mark.parent, lambda _: None)
    assert mark.read_text() == "printf\n"


def test_no_other_module_searches_the_path() -> None:
    """Neither by ``which``, nor by starting a program by its bare name."""
    found = []
    for path in sorted((ROOT / "infra").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            first = node.args[0] if node.args else None
            words = first.elts if isinstance(first, ast.List) else [first]
            bare = words and isinstance(words[0], ast.Constant) and "/" not in str(words[0].value)
            starts = called in ("subprocess.Popen", "subprocess.run", "subprocess.check_output")
            searches = called in ("shutil.which", "os.execvp", "os.execvpe", "os.posix_spawnp", "os.system", "os.popen")
            if (searches or (starts and bare)) and path.name != "programs.py":
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {called}")
    assert found == []
