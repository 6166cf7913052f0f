"""``dynoctl init``: what it makes of which files, and that it writes over nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from infra.errors import DynoctlError
from infra.manifest import check
from infra.ops.init import begin
from infra.registry import Everything
from stacks.detect import detect
from stacks.starter import STARTERS, app_name, render

GOLDEN = Path(__file__).parents[1] / "golden" / "init"

RAILS = {"config/application.rb": "module Blog\n  class Application < Rails::Application\n  end\nend\n"}
LOCK = "GEM\n  specs:\n    rails (7.1.3)\n    puma (6.4.2)\n    pg (1.5.6)\n      ruby (>= 2)\n"

CASES: dict[str, Mapping[str, str]] = {
    "rails": {**RAILS, "Gemfile": 'gem "rails"\ngem "pg"\n# gem "unicorn"\nruby "3.2.2"\n', "app/assets": ""},
    "rails-locked": {
        **RAILS,
        "Gemfile": 'gem "rails"\n',
        "Gemfile.lock": LOCK,
        "app/javascript": "",
        "config.ru": "run Rails.application",
    },
    "rails-credentials": {**RAILS, "Gemfile": "gem 'rails'\n", "config/credentials.yml.enc": "x"},
    "rails-sqlite": {**RAILS, "Gemfile": 'gem "rails"\ngem "sqlite3"\n'},
    "rails-procfile": {
        **RAILS,
        "Gemfile": "gem 'rails'\ngem 'dalli'\ngem 'mysql2'\n",
        "Procfile": 'web: bundle exec unicorn -p $PORT\nworker: bundle exec sidekiq -q "a b"\nrelease: rake db:migrate\n'
        "Mail-Sender: ruby mail.rb\n9: nothing\nmailsender: again\n# a comment\nnot a line\n",
    },
    "sinatra-class": {
        "app.rb": 'require "sinatra/base"\nclass Shop::Web < Sinatra::Base\nend\n',
        ".ruby-version": "ruby-3.1.4\n",
    },
    "sinatra-classic": {
        "app.rb": "require 'sinatra'\nget('/') { 1 }\n",
        "Gemfile": "gem 'sinatra'\ngem 'puma'\ngem 'redis'",
    },
    "sinatra-rackup": {
        "app.rb": "",
        "config.ru": "run Shop",
        "Gemfile": "gem('sinatra')\ngem('thin')",
        ".tool-versions": "nodejs 20\nruby 3.3.0\n",
    },
    "rack": {"config.ru": "run ->(env) { [200, {}, []] }"},
    "rack-locked": {
        "config.ru": "run App",
        "Gemfile": "ruby '>= 3.1'",
        "Gemfile.lock": "GEM\n  specs:\n    rack (3.0)\n    unicorn (6.1)\n",
    },
    "jruby": {"config.ru": "run App", ".ruby-version": "jruby-9.4"},
    "hostile": {
        "config.ru": "run App",
        "Procfile": 'worker: echo "#{x}" \'$(id)\' # \\ é : - [\nclock: "quoted: yes"\n',
    },
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_it_makes_of_an_app(name: str) -> None:
    found = detect(CASES[name])
    assert found is not None
    text = render(found, "shop", ready=False)
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("DYNOCTL_GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()
    data = yaml.safe_load(text)
    for type_, line in found.types.items():
        assert data["dynos"][type_]["command"] == line


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
    names = begin(tmp_path / "My Blog!", framework, Everything())
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
    assert begin(tmp_path, None, Everything()) == ["dyno.yaml", ".gitignore", ".slugignore"]
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
