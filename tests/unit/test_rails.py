"""What the source of a Rails app says: its health check, the file that is covered, and what the manifest lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli.app import app
from infra.manifest import read
from infra.manifest.model import Writable
from infra.model.stack import Stack
from infra.registry import Everything
from providers import dyno_unit
from providers.dyno_unit import DynoUnit
from providers.health import check_of

MANIFEST = """\
version: 1
app: {name: shop, source: .}
framework: rails
app_server: puma
dynos: {web: 1}
servers: [{name: grid-1, host: 10.0.0.11}]
env: {SECRET_KEY_BASE: {from_env: KEY}}
"""
SQLITE = "volumes: [{name: storage, path: storage}]\ndatabase: {adapter: sqlite, path: storage/production.sqlite3}\n"
POSTGRESQL = "database: {adapter: postgresql, host: db, name: shop}\n"

SOLID = {
    "config/environments/production.rb": """\
Rails.application.configure do
  config.active_job.queue_adapter = :solid_queue
  config.solid_queue.connects_to = { database: { writing: :queue } }
  # config.active_storage.service = :amazon
  config.active_storage.service = :local
end
""",
    "config/cache.yml": "default: &default\n  store_options:\n    namespace: <%= Rails.env %>\n"
    "production:\n  database: cache\n  <<: *default\n",
    "config/cable.yml": "production:\n  adapter: solid_cable\n  connects_to:\n    database:\n      writing: cable\n",
    "config/storage.yml": "local:\n  service: Disk\n  root: <%= Rails.root.join('storage') %>\n",
    "config/database.yml": "default: &default\n  adapter: sqlite3\nproduction:\n  primary:\n    <<: *default\n"
    "    database: storage/production.sqlite3\n"
    + "".join(
        f"  {n}:\n    <<: *default\n    database: storage/production_{n}.sqlite3\n" for n in ("cache", "queue", "cable")
    ),
}
OTHERS = "databases:\n" + "".join(
    f"  {name}: {{adapter: sqlite, path: storage/production_{name}.sqlite3}}\n" for name in ("cache", "queue", "cable")
)
WORKER = MANIFEST.replace("web: 1", "web: 1, worker: {command: bin/jobs}")


def write(directory: Path, manifest: str, files: dict[str, str]) -> Path:
    for name, text in {"config/environment.rb": "", "dyno.yaml": manifest, **files}.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory / "dyno.yaml"


def stack(directory: Path, manifest: str, files: dict[str, str]) -> Stack:
    return Everything().stack(read(write(directory, manifest, files)))


@pytest.mark.parametrize(
    ("routes", "manifest", "path", "wanted"),
    [
        ('get "up" => "rails/health#show", as: :rails_health_check', "", "/up", "booted"),
        ('get("/alive", to: "rails/health#show")', "", "/alive", "booted"),
        ('get "up" => "rails/health#show"', "rollout: {health: {path: /}}\n", "/", "ok"),
        ('# get "up" => "rails/health#show"', "", "/", ""),
        ('scope "admin" do\n    get "up" => "rails/health#show"\n  end', "", "/", ""),
        ('get "up" => "status#show"', "", "/", ""),
    ],
)
def test_the_health_check_of_rails_is_the_default(
    tmp_path: Path, routes: str, manifest: str, path: str, wanted: str
) -> None:
    files = {"config/routes.rb": f"Rails.application.routes.draw do\n  {routes}\nend\n"}
    made = stack(tmp_path, MANIFEST + manifest, files)
    check = check_of(read(tmp_path / "dyno.yaml"), made.health)
    assert (check.path, check.wanted) == (path, wanted)


@pytest.mark.parametrize("seed", [True, False])
def test_a_directory_that_is_filled_from_the_slug_gets_the_covered_file(*, seed: bool) -> None:
    """systemd would create its directories as root in the empty one, and the rest could not be copied there."""
    dyno = DynoUnit(
        "shop",
        "web.1",
        ("serve",),
        {},
        "a" * 64,
        250,
        1 << 29,
        files={"launcher": "l", "cover": "c"},
        cover="config/environments/production.rb",
        writable=(Writable("config" if seed else "log", seed=True),),
    )
    place = "/app/.dynoctl/seed/config" if seed else "/app/config"
    binds = dyno_unit.service(dyno)["Service.BindReadOnlyPaths"].split("\n")
    assert [bind.partition(":")[2] for bind in binds if "/covers/" in bind] == [f"{place}/environments/production.rb"]


@pytest.mark.parametrize(
    ("env", "covered"),
    [
        ("", "production"),
        ("RAILS_ENV: staging, ", "staging"),
        ("RAILS_ENV: {from_env: X}, ", "production"),
        ("RAILS_ENV: ../x, ", "production"),
        ("RAILS_ENV: gone, ", None),
    ],
)
def test_the_settings_of_the_environment_are_covered(tmp_path: Path, env: str, covered: str | None) -> None:
    files = {f"config/environments/{name}.rb": "" for name in ("production", "staging")}
    made = stack(tmp_path, MANIFEST.replace("env: {", f"env: {{{env}"), files)
    assert (made.cover and made.cover.path) == (covered and f"config/environments/{covered}.rb")
    assert made.cover is None or f'"/app/config/environments/{covered}.rb"' in made.cover.text


LACKS = "the app uses the database {} of config/database.yml, which the manifest does not have"
BLOBS = {"db/schema.rb": 'create_table "active_storage_blobs"'}
NO_QUEUE = {"config/cable.yml": "production: {adapter: async}", "config/cache.yml": ": ["}


@pytest.mark.parametrize(
    ("manifest", "files", "warnings", "hint"),
    [
        (MANIFEST, {}, [], ""),
        (
            MANIFEST + SQLITE,
            SOLID,
            [
                "the app uses Solid Queue, and no process type runs its jobs",
                *map(LACKS.format, ("queue", "cache", "cable")),
            ],
            "add to databases: cable: {adapter: sqlite, path: storage/production_cable.sqlite3}",
        ),
        (WORKER + SQLITE + OTHERS, {**SOLID, **BLOBS}, [], ""),
        (
            WORKER + POSTGRESQL,
            {**SOLID, **BLOBS, **NO_QUEUE},
            [LACKS.format("queue"), "Active Storage keeps files in storage, which is read-only in a dyno"],
            "add to databases: queue: {adapter: postgresql, url: {from_env: QUEUE_DATABASE_URL}}",
        ),
        (
            WORKER,
            SOLID,
            ["the SQLite database of config/database.yml is in no volume, so it is read-only in a dyno"],
            "add database: {adapter: sqlite, path: storage/production.sqlite3}",
        ),
        (WORKER.replace("env: {", "env: {DATABASE_URL: 'postgresql://db/x', "), SOLID, [], ""),
        (WORKER.replace("env: {", "env: {QUEUE_DATABASE_URL: x, ") + SQLITE, {**SOLID, **NO_QUEUE}, [], ""),
    ],
)
def test_what_the_app_needs_is_said(
    tmp_path: Path,
    manifest: str,
    files: dict[str, str],
    warnings: list[str],
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(tmp_path, manifest, files)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["validate"])
    assert result.exit_code == 0, result.output
    said = [line.removeprefix("warning: ") for line in result.stderr.splitlines() if line.startswith("warning:")]
    assert said == warnings and hint in result.stderr
