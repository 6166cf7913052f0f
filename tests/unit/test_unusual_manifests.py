"""Manifests that are unusual and valid stay valid, and what an error says to write instead is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import Diagnostic
from infra.manifest import check
from infra.manifest.conversions import convert
from infra.manifest.spellings import nearest

REST = {
    "version": "1",
    "app": "{name: shop, source: .}",
    "framework": "{name: rack, require: ./app, app: Shop}",
    "dynos": "{web: 1}",
    "servers": "[{name: a, host: 10.0.0.1}]",
}


def errors(directory: Path, text: str) -> tuple[Diagnostic, ...]:
    """The errors of a manifest with the sections of ``text``, and valid others, beside an app."""
    for name in ("app.rb", "bin/my worker"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).touch()
    file = directory / "dyno.yaml"
    sections = {line.partition(":")[0] for line in text.splitlines()}
    file.write_text("".join(f"{key}: {value}\n" for key, value in REST.items() if key not in sections) + text)
    return check(file)[1]


@pytest.mark.parametrize(
    "text",
    [
        'servers: [{name: a, host: "42"}]',  # a Host of ssh_config
        'release_command: ["/opt/my app/bin/run", x]',
        'release_command: ["bin/my worker", x]',
        "framework: {name: rack, require: app, app: Shop}\nenv: {RUBYLIB: /app}",
        "framework: {name: rack, require: app, app: Shop}\nenv: {RUBYOPT: -I/app}",
    ],
)
def test_valid(tmp_path: Path, text: str) -> None:
    assert errors(tmp_path, text) == ()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('["rake a", "rake b"]', "release_command: rake a && rake b"),
        ('["bundle exec", "rake"]', "release_command: bundle exec rake"),
        ('["ruby ", x.rb]', "release_command: ruby x.rb"),
    ],
)
def test_words_of_one_command_are_not_taken_for_several(tmp_path: Path, text: str, hint: str) -> None:
    (one,) = errors(tmp_path, f"release_command: {text}")
    assert one.hint.endswith(f": {hint}")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        *[("0 3 * * Monday", "use 0 3 * * mon"), ("0 0 3 * * *", "without seconds: 0 3 * * *")],
        *[("0 3 * * TUES", ""), ("0 3 * MONDAY sunday", ""), ("0 0 99 * * *", "")],
    ],
)
def test_the_cron_expression_of_a_hint_is_valid(tmp_path: Path, text: str, hint: str) -> None:
    (one,) = errors(tmp_path, f"schedule: [{{name: n, command: x, cron: '{text}'}}]")
    assert one.hint == hint


def test_bits_are_no_bytes() -> None:
    schema = {"pattern": "^[1-9][0-9]{0,5}[KMG]$"}
    assert [convert(text, schema) for text in ("20MB/s", "20 Mbps", "20Mb/s")] == ["20M", "", ""]


def test_a_path_from_the_current_directory() -> None:
    assert nearest("./admin", "map", "^/") == "/admin"


@pytest.mark.parametrize(
    ("text", "line", "summary"),
    [
        ("# see docs/dyno.yaml\nversion: 1\nkeep 5\n", 3, "missing colon after a key"),
        ("# shop \u2014 the app\nenv\uff1a\n  A: b\n", 2, "the character U+FF1A in place of :"),
        ('env:\n  A: "don\u2019t"\n# \u2013\nkeep\uff1a 5\n# \u2013\n', 4, "the character U+FF1A in place of :"),
        ("env:\n  A: -----BEGIN X----- a -----END X-----\nkeep 5\n", 3, "missing colon after a key"),
    ],
)
def test_what_is_valid_is_not_blamed(tmp_path: Path, text: str, line: int, summary: str) -> None:
    file = tmp_path / "dyno.yaml"
    file.write_text(text)
    (one,) = check(file)[1]
    assert (one.summary, one.location and one.location.line) == (f"invalid YAML: {summary}", line)


@pytest.mark.parametrize(
    "text",
    [
        'release_command: ["psql postgres://ann:hunter2@h/x -c y"]',
        'release_command: ["curl -u ann:hunter2@h"]',
        'release_command: ["x --password=hunter2 y"]',
        'groups: {"ann:hunter2@h": {}}',
        'volumes: [{name: "ann:hunter2@h", path: x}]',
    ],
)
def test_no_password_in_what_is_expected(tmp_path: Path, text: str) -> None:
    found = errors(tmp_path, text)
    assert found and "hunter2" not in repr(found)
