"""What validate and plan say of a bundle that cannot run, and of a Ruby that is not there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli.app import app
from infra.manifest import read
from infra.plan.preconditions import layers
from infra.registry import Everything
from tests.unit.test_engine import facts

MANIFEST = """\
version: 1
app: {name: shop, source: .}
ruby: {version: ">= 3.1"}
app_server: {name: puma}
rackup: config.ru
dynos: {web: 1}
servers: [{name: grid-1, host: 10.0.0.11}]
"""
LOCK = "GEM\n  specs:\n    puma (6.4.0)\n    rack (3.0)\n\nPLATFORMS\n  x86_64-linux\n"


def validated(files: dict[str, str], directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(directory)
    for name, text in {"config.ru": "run App", "dyno.yaml": MANIFEST, **files}.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    result = CliRunner().invoke(app, ["validate"])
    assert result.exit_code == 0, result.output
    assert "is valid" in result.stdout
    return result.stderr


@pytest.mark.parametrize(
    ("files", "warning"),
    [
        ({"Gemfile": 'gem "rack"\ngem "puma"\n'}, ""),
        ({"Gemfile": 'gem "rack"\ngem "puma"\n', "Gemfile.lock": LOCK}, ""),
        ({"Gemfile": 'gem "rack"\ngem "devise"\n'}, "there is no bundle with devise"),
        (
            {"Gemfile": 'gem "rack"\n', "dyno.yaml": MANIFEST.replace('3.1"', '3.1", bundler: true')},
            "Gemfile.lock not found in app.source, and ruby.bundler is true",
        ),
        ({"Gemfile": 'gem "rack"\n', "Gemfile.lock": LOCK.replace("puma", "thin")}, "the bundle has no puma"),
        ({"Gemfile": "", "Gemfile.lock": LOCK.replace("x86_64-linux", "arm64-darwin-23")}, "no gems for Linux"),
        ({"Gemfile": "", "Gemfile.lock": LOCK.replace("x86_64-linux", "ruby")}, ""),
        ({"Gemfile": 'ruby "3.0.6"', "Gemfile.lock": LOCK}, "the Gemfile requires ruby 3.0.6, which ruby.version"),
        ({"Gemfile": 'ruby "3.2.2"', "Gemfile.lock": LOCK}, ""),
        (
            {"dyno.yaml": MANIFEST + "env: {RAILS_MASTER_KEY: {from_file: config/master.key}}\n"},
            "file config/master.key not found",
        ),
    ],
)
def test_what_validate_warns_of(
    files: dict[str, str], warning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = validated(files, tmp_path, monkeypatch)
    assert warning in said
    assert bool(said) == bool(warning)
    if warning:
        assert said.startswith("warning: ")
        assert "  dyno.yaml:" in said and "hint: " in said


def test_warnings_are_in_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validated({"Gemfile": "", "Gemfile.lock": LOCK.replace("puma", "thin")}, tmp_path, monkeypatch)
    document = json.loads(CliRunner().invoke(app, ["validate", "--json"]).stdout)
    assert document["valid"] is True
    assert [one["severity"] for one in document["diagnostics"]] == ["warning"]


def test_no_link_out_of_the_source_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "Gemfile").write_text('gem "hidden"')
    (tmp_path / "shop/Gemfile").symlink_to(tmp_path / "Gemfile")
    assert validated({}, tmp_path / "shop", monkeypatch) == ""


@pytest.mark.parametrize(
    ("path", "bundler", "ruby", "missing", "hints"),
    [
        ("", False, "", "/usr/bin/puma", ["apt-get install ruby, or", "apt-get install puma"]),
        ("", True, "3.3.8", "/usr/bin/bundle", ["apt-get install ruby-bundler"]),
        (
            "/opt/r/bin/ruby",
            False,
            "",
            "/opt/r/bin/puma",
            ["install Ruby as /opt/r/bin", "/opt/r/bin/gem install puma"],
        ),
        ("/opt/r/bin/ruby", True, "3.3.8", "/opt/r/bin/bundle", ["/opt/r/bin/gem install bundler"]),
        # A Ruby of another name next to that of the distribution is none that apt installs as ruby.
        (
            "/usr/bin/ruby3.3",
            False,
            "",
            "/usr/bin/puma",
            ["install Ruby as /usr/bin/ruby3.3", "/usr/bin/gem install puma"],
        ),
        ("/opt/r/bin/ruby", True, "3.0.1", "", ["install a matching Ruby as /opt/r/bin/ruby"]),
        ("", True, "3.0.1", "", ["set ruby.path to a matching Ruby"]),
    ],
)
def test_cures_fit_the_ruby(
    path: str, bundler: bool, ruby: str, missing: str, hints: list[str], tmp_path: Path
) -> None:
    keys = f'version: ">= 3.1", bundler: {str(bundler).lower()}' + (f", path: {path}" if path else "")
    (tmp_path / "config.ru").touch()
    (tmp_path / "dyno.yaml").write_text(MANIFEST.replace('version: ">= 3.1"', keys))
    stack = Everything().stack(read(tmp_path / "dyno.yaml"))
    server = replace(facts(), ruby=ruby, missing=frozenset([missing] if missing else []), apt="")
    problems = layers("grid-1", server, stack, ())
    assert len(problems) == len(hints)
    for problem, hint in zip(problems, hints, strict=True):
        assert hint in problem.hint
        assert not path or "apt-get" not in problem.hint


def test_a_server_with_another_ruby_than_the_gemfile_is_refused(tmp_path: Path) -> None:
    for name, text in {"config.ru": "", "Gemfile": 'ruby "3.2.2"', "Gemfile.lock": LOCK, "dyno.yaml": MANIFEST}.items():
        (tmp_path / name).write_text(text)
    stack = Everything().stack(read(tmp_path / "dyno.yaml"))
    for ruby, refused in (("3.1.2", True), ("3.2.2", False)):
        problems = layers("grid-1", replace(facts(), ruby=ruby, missing=frozenset()), stack, ())
        assert bool(problems) == refused
        if refused:
            assert "does not satisfy the Gemfile" in problems[0].summary
            assert "3.2.2" in problems[0].expected
