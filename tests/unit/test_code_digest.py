"""The digest of dynoctl's own code: the same for the same code, another one for any other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.engine.code_digest import PACKAGES, code_digest

ROOT = Path(__file__).parents[2]
CODE = "from infra.engine.code_digest import code_digest; print(code_digest())"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def digest(root: Path) -> str:
    """The digest of the copy."""
    found = subprocess.run([sys.executable, "-c", CODE], cwd=root, capture_output=True, text=True, check=True)
    return found.stdout.strip()


def test_a_copy_of_the_same_code_has_the_same_digest(copy: Path) -> None:
    for path in copy.rglob("*.py"):
        os.utime(path, (0, 0))
    assert digest(copy) == code_digest() == digest(copy), "independent of the directory, the times and compiled files"


@pytest.mark.parametrize(
    "path", ["infra/engine/apply.py", "providers/ini.py", "stacks/rack.py", "schemas/plan.schema.json"]
)
def test_other_code_has_another_digest(copy: Path, path: str) -> None:
    """Although its version is the same."""
    before = digest(copy)
    file = copy / path
    file.write_text(file.read_text() + "\n")
    changed = digest(copy)
    assert changed != before
    file.rename(file.with_name(f"other{file.suffix}"))
    assert digest(copy) not in (before, changed)


def test_other_files_are_not_included(copy: Path) -> None:
    before = digest(copy)
    (copy / "providers/notes.txt").write_text("x")
    (copy / "tests").mkdir()
    (copy / "tests/more.py").write_text("x = 1\n")
    assert digest(copy) == before
