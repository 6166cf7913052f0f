"""``dynoctl init``: what it makes of which files, and that it writes over nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli.app import app
from infra.errors import DynoctlError
from infra.manifest import check
from infra.ops.init import begin
from infra.registry import Everything
from stacks.detect import detect
from stacks.manifest_text import app_name, notes_of
from stacks.starter import STARTERS
from tests.golden.init_cases import CASES, parts, write

POISON = "s3cr3t"
"""Is in every value of a case that must not be in its dyno.yaml."""


@pytest.mark.parametrize("name", CASES)
def test_what_it_makes_of_an_app(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text to the letter; it is valid as it is, its notes are on stderr, and no secret is in either."""
    options, files = parts(name)
    expected = files.pop("dyno.yaml", "")
    (tmp_path / "shop").mkdir()
    for file, text in files.items():
        path = tmp_path / "shop" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path / "shop")
    result = CliRunner().invoke(app, ["init", *options])
    assert result.exit_code == 0, result.output
    text = Path("dyno.yaml").read_text()
    if os.environ.get("DYNOCTL_GOLDEN") == "write":
        write(name, text)
        expected = text
    assert text == expected
    assert [f"note: {note}" for note in notes_of(text)] == result.stderr.splitlines()
    manifest, problems = check(Path("dyno.yaml"))
    assert manifest is not None, problems
    Everything().stack(manifest)
    assert POISON not in text + result.output


def test_there_are_at_least_40_cases() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"Gemfile": "gem 'rake'"},
        {"app.rb": "puts 1"},
        {"app.rb": '# require "sinatra"\n'},
        {"Gemfile": "# gem 'sinatra'"},
        {"Procfile": "web: node index.js"},
    ],
)
def test_what_is_no_app(files: Mapping[str, str]) -> None:
    assert detect(files) is None


@pytest.mark.parametrize("framework", sorted(STARTERS))
def test_a_starter_is_valid_but_for_its_servers(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = begin(tmp_path / "My Blog!", framework, Everything()).files
    directory = tmp_path / "My Blog!"
    assert all((directory / name).is_file() for name in names)
    monkeypatch.chdir(directory)
    manifest, problems = check(Path("dyno.yaml"))
    assert manifest is not None, problems
    assert manifest.app.name == "my-blog"
    Everything().stack(manifest)
    assert "/.dyno/" in Path(".gitignore").read_text()
    if framework == "rails":
        secret = Path(".dyno/secret_key_base")
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert len(secret.read_text().strip()) == 128
        slug = Everything().slug(manifest, Everything().stack(manifest))
        Path("dyno.yaml").write_text(Path("dyno.yaml").read_text() + "# edited\n")
        secret.write_text("changed")
        again = Everything().slug(manifest, Everything().stack(manifest))
        assert again.digest == slug.digest, "neither the manifest nor a secret is in a slug"


def test_an_app_that_is_there_gets_a_manifest_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "config.ru").write_bytes(b"run App # \xff\r\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("tmp")
    assert begin(tmp_path, None, Everything()).files == ["dyno.yaml", ".gitignore", ".slugignore"]
    assert (tmp_path / ".gitignore").read_text() == "tmp\n/.dyno/\n"
    manifest, problems = check(tmp_path / "dyno.yaml")
    assert manifest is not None, problems
    with pytest.raises(DynoctlError, match="already exists"):
        begin(tmp_path, None, Everything())
    with pytest.raises(DynoctlError, match="already exists"):
        begin(tmp_path, "rails", Everything())


def test_nothing_is_written_where_it_cannot_tell(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print()")
    with pytest.raises(DynoctlError, match="no Rack app found") as caught:
        begin(tmp_path, None, Everything())
    assert "config.ru" in caught.value.hint
    with pytest.raises(DynoctlError, match="is not empty"):
        begin(tmp_path, "sinatra", Everything())
    with pytest.raises(DynoctlError, match="unknown framework: django"):
        begin(tmp_path / "new", "django", Everything())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["main.py"]


def test_no_link_leads_out_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "secret.ru").write_text("run Secret")
    inside = tmp_path / "app"
    inside.mkdir()
    (inside / "config.ru").symlink_to(tmp_path / "secret.ru")
    with pytest.raises(DynoctlError, match="no Rack app"):
        begin(inside, None, Everything())


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("Shop", "shop"),
        ("my_great.app", "my-great-app"),
        ("2nd shop", "nd-shop"),
        ("42", "app"),
        ("é", "app"),
        ("a" * 40, "a" * 16),
    ],
)
def test_an_apps_name(directory: str, name: str) -> None:
    assert app_name(directory) == name
