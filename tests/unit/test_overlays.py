"""A manifest of several files: merged values with their origin, and errors with the location in their file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra import manifest
from infra.errors import ManifestInvalid
from infra.manifest.model import Manifest
from infra.manifest.overlays import merge
from tests.command import Dynoctl

BASE = """\
version: 1
app: {name: shop, source: .}
framework: {name: rack, require: ./app, app: App}
dynos: {web: 4, worker: {count: 1, command: work}}
env: {LOG_LEVEL: info, API_KEY: {from_env: API_KEY}}
database: {adapter: postgresql, url: "postgresql://shop:hunter2@10.0.0.9/shop"}
server_defaults: {user: deploy, labels: {room: one}}
groups:
  edge: {port: 2222, labels: {rack: a}}
servers:
  - {name: grid-1, host: 10.0.0.11, groups: [edge]}
  - {name: grid-2, host: 10.0.0.12, user: root, labels: {room: two}}
"""
STAGING = """\
dynos: {web: 1, worker: ~}
env:
  LOG_LEVEL: debug
  API_KEY: {from_file: key}
servers:
  - {name: stage-1, host: 10.0.1.11, port: 22}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app.rb").write_text("App = 1\n")
    (tmp_path / "dyno.yaml").write_text(BASE)
    (tmp_path / "dyno.staging.yaml").write_text(STAGING)
    return tmp_path


def read(project: Path, destination: str | None = None) -> Manifest:
    return manifest.read(project / "dyno.yaml", destination)


def errors(project: Path, destination: str | None = None) -> str:
    with pytest.raises(ManifestInvalid) as error:
        read(project, destination)
    return "\n".join(
        f"{Path(diagnostic.location.file).name if diagnostic.location else ''}:{diagnostic.location.line if diagnostic.location else 0} {diagnostic.summary}"
        for diagnostic in error.value.diagnostics
    )


def test_an_overlay_is_merged_over_the_manifest(project: Path) -> None:
    staging = read(project, "staging")
    assert (staging.destination, staging.environment) == ("staging", "staging")
    assert [server.name for server in staging.servers] == ["stage-1"], "lists are replaced"
    assert (staging.servers[0].user, staging.servers[0].port) == ("deploy", 22)
    assert {name: type_.count for name, type_ in staging.dynos.items()} == {"web": 1}, "null removes a key"
    assert staging.env["LOG_LEVEL"] == "debug"
    assert repr(staging.env["API_KEY"]).count("from_file") == 1, "references are not merged"
    assert read(project).environment == "default"
    assert staging.digest != read(project).digest


def test_servers_get_the_settings_of_groups_and_defaults(project: Path) -> None:
    first, second = read(project).servers
    assert (first.user, first.port, dict(first.labels)) == ("deploy", 2222, {"rack": "a", "room": "one"})
    assert (second.user, second.port, dict(second.labels)) == ("root", None, {"room": "two"})
    (project / "dyno.yaml").write_text(BASE.replace("[edge]", "[egde]"))
    assert errors(project) == "dyno.yaml:11 unknown group egde"


def test_an_error_is_located_in_its_file(project: Path) -> None:
    (project / "dyno.staging.yaml").write_text("env:\n  1bad: x\ndynos: {web: many}\n")
    assert {line[:20] for line in errors(project, "staging").splitlines()} == {
        "dyno.staging.yaml:2 ",
        "dyno.staging.yaml:3 ",
    }
    (project / "dyno.yaml").write_text(BASE.replace("web: 4", "web: -4"))
    assert "dyno.yaml:4 " in errors(project)


def test_a_missing_overlay_names_the_available_overlays(project: Path) -> None:
    assert "dyno.production.yaml not found" in errors(project, "production")
    assert "invalid value for -d: '../x'" in errors(project, "../x")


def test_a_file_extends_others(project: Path) -> None:
    (project / "dyno.yaml").rename(project / "base.yaml")
    (project / "more.yaml").write_text("env: {MORE: '1', LOG_LEVEL: warn}\n")
    (project / "dyno.yaml").write_text("extends: [base.yaml, more.yaml]\nkeep: 2\n")
    staging = read(project, "staging")
    assert (staging.keep, staging.env["MORE"], staging.env["LOG_LEVEL"], staging.app.name) == (2, "1", "debug", "shop")
    assert [file.name for file in staging.files] == ["base.yaml", "more.yaml", "dyno.yaml", "dyno.staging.yaml"]
    (project / "more.yaml").write_text("extends: dyno.yaml\n")
    assert "more.yaml:1 dyno.yaml extends itself through more.yaml" in errors(project)
    (project / "dyno.yaml").write_text("extends: nowhere.yaml\n")
    assert "nowhere.yaml not found" in errors(project)
    (project / "dyno.yaml").write_text("extends: {a: 1}\n")
    assert "invalid value for extends" in errors(project)


@pytest.mark.parametrize(
    ("base", "overlay", "expected"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": {"b": 1}}, {"a": None}, {}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": {"from_env": "X"}}, {"a": {"from_file": "y"}}, {"a": {"from_file": "y"}}),
        ({}, {"a": 1}, {"a": 1}),
    ],
)
def test_merging(base: object, overlay: object, expected: object) -> None:
    assert merge(base, overlay) == expected  # type: ignore[arg-type]


def test_a_newer_version_is_the_only_error(project: Path) -> None:
    (project / "dyno.yaml").write_text("version: 2\nnovelty: 1\n")
    assert errors(project) == "dyno.yaml:1 unsupported manifest version 2"


def test_config_shows_the_origin_of_each_value(project: Path, dynoctl: Dynoctl) -> None:
    done = dynoctl.text("config", "-d", "staging", cwd=project)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "web: 1 # dyno.staging.yaml:1" in lines
    assert "LOG_LEVEL: debug # dyno.staging.yaml:3" in lines
    assert "from_file: key # dyno.staging.yaml:4" in lines
    assert "- name: stage-1 # dyno.staging.yaml:6" in lines
    assert 'url: "postgresql://***@10.0.0.9/shop" # dyno.yaml:6' in lines
    assert "hunter2" not in done.stdout and "worker" not in done.stdout
    done = dynoctl.text("config", "--json", cwd=project)
    values = {entry["path"]: entry for entry in json.loads(done.stdout)["values"]}
    assert values["env/LOG_LEVEL"] == {"path": "env/LOG_LEVEL", "value": "info", "file": "dyno.yaml", "line": 5}
    (project / "merged.yaml").write_text(dynoctl.text("config", cwd=project).stdout)
    again = manifest.read(project / "merged.yaml")
    assert (again.dynos, again.env, again.servers) == (read(project).dynos, read(project).env, read(project).servers)


HIDDEN = "hunter2"
SECRETIVE = [
    "database: {adapter: postgresql, host: db, password: hunter2}\nx-pass: &p hunter2\nx-also: {password: *p}",
    'cache: {adapter: redis, url: "redis://:top/hunter2@h:1/0"}',
    'cache: {adapter: redis, url: "redis://hunter2@h:1/0"}',
    'database: {adapter: postgresql, url: "postgresql://shop:p@ss/hunter2@db/n"}',
    'database: {adapter: postgresql, url: "postgresql://u@db/n?sslmode=require&token=hunter2"}',
    "database: {adapter: postgresql, host: db, options: {sslpassword: hunter2}}",
    "database: {adapter: postgresql, host: db, password: [hunter2]}",
]


@pytest.mark.parametrize("text", SECRETIVE)
def test_config_masks_secrets(project: Path, dynoctl: Dynoctl, text: str) -> None:
    lines = [line for line in BASE.splitlines() if not line.startswith("database")]
    (project / "dyno.yaml").write_text("\n".join([*lines, text, ""]))
    for argv in ((), ("--json",)):
        done = dynoctl.text("config", *argv, cwd=project)
        assert HIDDEN not in done.stdout + done.stderr and "***" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "text",
    [
        'database: {adapter: postgresql, url: "postgresql://shop:hunter2/ss@host/db"}',
        'cache: {adapter: redis, url: "redis://hunter2@h:x"}',
        'database: {adapter: postgresql, url: "mysql://h/db?secret=hunter2"}',
        "env:\n  LOG: a\n  LOG: hunter2",
        "database:\n  adapter: postgresql\n  password: one\n  password: hunter2",
    ],
)
def test_no_error_shows_a_secret(project: Path, dynoctl: Dynoctl, text: str) -> None:
    lines = [line for line in BASE.splitlines() if not line.startswith(("database", "env"))]
    (project / "dyno.yaml").write_text("\n".join([*lines, text, ""]))
    done = dynoctl.text("validate", cwd=project)
    assert done.returncode == 3 and "**" in done.stderr and HIDDEN not in done.stdout + done.stderr


def test_the_output_of_config_is_an_equal_manifest(project: Path, dynoctl: Dynoctl) -> None:
    odd = {"VERSION": "1.10", "DOT": ".5", "ODD": "\u200b\u2028\x7f\ufeff\U000e0001", "NUMBER": "007", "WORD": "no"}
    (project / "dyno.staging.yaml").write_text(
        f"env: {{VERSION: 1.10, DOT: '.5', ODD: {json.dumps(odd['ODD'])}, NUMBER: 007, WORD: no}}\n".replace(
            "\\udb40\\udc01", "\\U000E0001"
        )
    )
    done = dynoctl.text("config", "-d", "staging", cwd=project)
    assert done.returncode == 0, done.stderr
    (project / "merged.yaml").write_text(done.stdout)
    again, once = manifest.read(project / "merged.yaml").env, read(project, "staging").env
    assert again == once and {name: once[name] for name in odd} == odd


@pytest.mark.parametrize("name", ["~nosuchuser/x", "x" * 300, '"a\\0b"'])
@pytest.mark.parametrize(
    "key", ["extends: {0}", "env: {{A: {{from_file: {0}}}}}", "env: {{A: {{from_command: [{0}]}}}}"]
)
def test_impossible_file_names(project: Path, dynoctl: Dynoctl, key: str, name: str) -> None:
    text = "\n".join(line for line in BASE.splitlines() if not line.startswith("env")) + "\n"
    (project / "dyno.yaml").write_text(text + key.format(name) + "\n")
    done = dynoctl.text("plan", cwd=project)
    assert done.returncode in (3, 4) and "unexpected" not in done.stderr
    assert f"dyno.yaml:{len(text.splitlines()) + 1}:" in done.stderr


def test_a_base_of_a_newer_format_is_refused(project: Path) -> None:
    (project / "base.yaml").write_text("version: 2\n")
    (project / "dyno.yaml").write_text("extends: base.yaml\n" + BASE)
    assert errors(project) == "base.yaml:1 unsupported manifest version 2"


def test_a_base_of_two_files_is_merged_once(project: Path) -> None:
    (project / "base.yaml").write_text("env: {LOG: info}\n")
    (project / "b.yaml").write_text("extends: base.yaml\nenv: {LOG: debug}\n")
    (project / "c.yaml").write_text("extends: base.yaml\nenv: {C: c, from_email: a@b}\n")
    (project / "dyno.yaml").write_text("extends: [b.yaml, c.yaml]\n" + BASE)
    (project / "dyno.staging.yaml").write_text("# nothing yet\n")
    env = read(project, "staging").env
    assert (env["LOG"], env["C"], env["from_email"]) == ("debug", "c", "a@b")
    (project / "sub").mkdir()
    (project / ".git").mkdir()
    (project / "sub/dyno.yaml").symlink_to(project / "dyno.yaml")
    assert read(project / "sub").env["LOG"] == "debug"


def test_no_file_of_the_manifest_is_in_the_slug(project: Path) -> None:
    from infra.registry import Everything

    (project / "base.yaml").write_text("keep: 3\n")
    (project / "prod.yaml").write_text("extends: base.yaml\n" + BASE)
    (project / "prod.eu.yaml").write_text("keep: 4\n")
    (project / "deploy/.dyno").mkdir(parents=True)
    (project / "deploy/.dyno/secrets").write_text("A=1\n")
    registry, prod = Everything(), manifest.read(project / "prod.yaml")
    before = registry.slug(prod, registry.stack(prod)).digest
    (project / "base.yaml").write_text("keep: 5\n")
    (project / "prod.eu.yaml").unlink()
    (project / "deploy/.dyno/secrets").write_text("A=2\n")
    assert registry.slug(prod, registry.stack(prod)).digest == before
    (project / "app.rb").write_text("App = 2\n")
    assert registry.slug(prod, registry.stack(prod)).digest != before
