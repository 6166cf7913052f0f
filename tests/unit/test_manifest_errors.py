"""Bad manifests and what is said of them, word for word: NAME.yaml in tests/golden/manifests, NAME.txt beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.errors import INVALID_MANIFEST, ManifestInvalid
from infra.manifest import check, read
from infra.views.diagnostics import render

GOLDEN = Path(__file__).parents[1] / "golden" / "manifests"
NAMES = sorted(file.stem for file in GOLDEN.glob("*.yaml"))
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    monkeypatch.setenv("HOME", "/home/nobody")


def test_there_are_enough() -> None:
    assert len(NAMES) >= 50


@pytest.mark.parametrize("name", NAMES)
def test_message(name: str) -> None:
    """UPDATE_GOLDEN=1 writes the messages, to be read before they are committed."""
    manifest, diagnostics = check(Path(f"{name}.yaml"))
    assert manifest is None
    text = render(diagnostics, color=False).replace(str(GOLDEN), "/shop") + "\n"
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), f"{golden} differs: UPDATE_GOLDEN=1 writes it anew"


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_and_no_control_character(name: str) -> None:
    _, diagnostics = check(Path(f"{name}.yaml"))
    assert SECRET not in repr(diagnostics)
    assert SECRET not in str([diagnostic.as_json() for diagnostic in diagnostics])
    shown = render(diagnostics, color=False)
    assert all(c == "\n" or c.isprintable() for c in shown)


@pytest.mark.parametrize("name", NAMES)
def test_errors_are_in_the_order_of_the_file(name: str) -> None:
    _, diagnostics = check(Path(f"{name}.yaml"))
    places = [(each.location.line, each.location.column) for each in diagnostics if each.location]
    assert places == sorted(places)
    assert all(each.summary and (each.expected or each.hint or each.location) for each in diagnostics)


def test_read_raises_all_of_them() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        read(Path("many-errors.yaml"))
    assert caught.value.exit_code == INVALID_MANIFEST
    assert len(caught.value.diagnostics) == 7
    assert "7 errors" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    manifest, [diagnostic] = check(tmp_path / "dyno.yaml")
    assert manifest is None
    assert diagnostic.summary == f"There is no file {tmp_path / 'dyno.yaml'}"
    assert "--file" in diagnostic.hint


def test_a_directory(tmp_path: Path) -> None:
    _, [diagnostic] = check(tmp_path)
    assert diagnostic.summary == f"{tmp_path} is a directory"


def test_names_that_no_file_can_have() -> None:
    for name in ("x" * 5000, "a\0b"):
        _, [diagnostic] = check(Path(name))
        assert "cannot be read" in diagnostic.summary


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "dyno.yaml"
    file.touch(0o000)
    _, [diagnostic] = check(file)
    assert "Permission denied" in diagnostic.summary


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    file = tmp_path / "dyno.yaml"
    file.write_bytes(b"#" * ((1 << 20) + 1))
    _, [diagnostic] = check(file)
    assert diagnostic.summary == f"{file} is larger than 1 MiB"


def test_no_more_than_anybody_reads(tmp_path: Path) -> None:
    file = tmp_path / "dyno.yaml"
    file.write_text("".join(f"key{number}: 1\n" for number in range(500)))
    _, diagnostics = check(file)
    assert len(diagnostics) == 101
    assert diagnostics[-1].summary == "The file holds 405 more errors"
