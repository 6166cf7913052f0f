"""The keys of other tools: each is an error at its place, with what to write here, which exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.errors import Diagnostic, ManifestInvalid
from infra.manifest import foreign_keys, read
from infra.manifest.known_keys import everywhere, top

SECTIONS: dict[str, dict[str, Any]] = {
    "app": {"name": "shop", "source": "."},
    "ruby": {"version": ">= 3.1"},
    "packages": {"install": ["a"]},
    "app_server": {"name": "puma"},
    "app_server.options": {"threads": 5},
    "framework": {"name": "rack", "require": "./app", "app": "Shop"},
    "middleware": {"use": "Rack::Deflater"},
    "dynos": {"count": 1},
    "schedule": {"name": "nightly", "cron": "0 3 * * *", "command": "rake a"},
    "volumes": {"name": "reports", "path": "reports"},
    "rollout": {"max_parallel": 1},
    "rollout.health": {"path": "/up"},
    "database": {"adapter": "mysql", "host": "a", "name": "b"},
    "databases": {"adapter": "mysql", "host": "a", "name": "b"},
    "cache": {"adapter": "redis", "host": "a"},
    "preview": {"host": "p.example.org"},
    "server_defaults": {"port": 22},
    "groups": {"port": 22},
    "servers": {"name": "grid-1", "host": "10.0.0.11"},
    "ssh": {"user": "root"},
    "artifacts": {},
    "artifacts.http": {"url": "https://slugs.example.org/dyno"},
    "artifacts.oci": {"repository": "registry.example.org/shop"},
    "placement": {"overcommit": 2},
    "router": {"kind": "nginx", "servers": ["grid-1"], "hosts": ["a.example.org"]},
    "router.tls": {},
    "checks": {"max_exposure": 3},
}
LISTS, NAMED = (
    ("middleware", "schedule", "volumes", "servers"),
    {"dynos": "web", "databases": "other", "groups": "edge"},
)
NEEDED = ("version: 1", "app: {name: shop, source: .}", "dynos: {web: 1}", "servers: [{name: grid-1, host: 10.0.0.11}]")


def flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return f'"{value}"' if isinstance(value, str) and not value.isalnum() else str(value)


def manifest(section: str, key: str, unit: str = "x") -> str:
    """A manifest with a foreign key in a section, "" for the top level; the line with it is the last one."""
    if not section:
        return "\n".join([*NEEDED, "framework: {name: rack, require: ./app, app: Shop}", f"{key}: {unit}"])
    outer, _, inner = section.partition(".")
    text = flow({**SECTIONS[section], key: unit})
    if inner:
        others = SECTIONS.get(outer, {})
        text = f"{{{flow(others)[1:-1]}{', ' * bool(others)}{inner}: {text}}}"
    text = f"[{text}]" if outer in LISTS else f"{{{NAMED[outer]}: {text}}}" if outer in NAMED else text
    lines = [line for line in NEEDED if not line.startswith(f"{outer}:")]
    framework = [] if outer == "framework" else ["framework: {name: rack, require: ./app, app: Shop}"]
    return "\n".join([*lines, *framework, f"{outer}: {text}"])


def words(table: str) -> Iterator[tuple[str, str]]:
    """The section and the key of each word of a table."""
    for word in foreign_keys._answers(table):
        yield ("", word) if table == "top" else tuple(word.rsplit(".", 1))  # type: ignore[misc]


WORDS = [word for word in (*words("top"), *words("nested")) if word[0] != "env"]
"""In env:, a name is foreign only by its value."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "app.rb").write_text("")
    return tmp_path


def said(directory: Path, section: str, key: str) -> Diagnostic:
    """The error for a foreign key."""
    text = manifest(section, key)
    (directory / "dyno.yaml").write_text(text + "\n")
    with pytest.raises(ManifestInvalid) as error:
        read(directory / "dyno.yaml")
        pytest.fail(f"{section}.{key} is valid")
    found = [one for one in error.value.diagnostics if one.summary == f"unknown key '{key}'"]
    assert found, f"{section}.{key}: {[one.summary for one in error.value.diagnostics]}"
    at = found[0].location
    assert at is not None and at.line == text.count("\n") + 1
    assert text.splitlines()[-1][at.column - 1 :].startswith(f"{key}:")
    return found[0]


def test_each_is_an_error_at_its_place_with_its_cure(directory: Path) -> None:
    """All in one test: one for each of 1,400 words would take longer to start than to run."""
    for section, key in WORDS:
        answer = foreign_keys._answers("nested" if section else "top")[f"{section}.{key}" if section else key]
        assert said(directory, section, key).hint == answer, f"{section}.{key}"


def test_a_cure_names_keys_that_exist() -> None:
    for table in ("top", "nested"):
        for word, answer in foreign_keys._answers(table).items():
            section = word.split(".")[0] if table == "nested" else ""
            for verb, key in re.findall(r"(use|set|list the [a-z ]+ in) ([a-z_]+):", answer):
                assert key in everywhere(), f"{word}: {key}"
                assert section or verb == "set" or key in top(), f"{word}: {key}"
            at_top = re.findall(r"use ([a-z_]+): [^;]* (?:at|of) the top level", answer)
            assert set(at_top) <= top(), word


def test_no_known_key_is_foreign() -> None:
    assert not foreign_keys._answers("top").keys() & top()


@pytest.mark.parametrize(
    ("section", "key", "cure"),
    [
        ("dynos", "idle_after", "use idle: 30m"),
        ("", "idle_after", "idle: 30m"),
        ("dynos", "cpus", "use cpu: 0.5"),
        ("dynos", "restart", "is started again"),
        ("", "mem", "memory: 512M"),
        ("", "domain", "router: {"),
        ("", "migrate", "release_command"),
        ("", "mysql", "database: {"),
        ("", "sidekiq", "worker: {"),
        ("", "scheduler", "schedule"),
        ("", "staging", "dyno.staging.yaml"),
        ("router", "letsencrypt", "acme"),
        ("router", "websockets", "WebSockets pass"),
        ("router", "client_max_body_size", "100 MiB"),
        ("ruby", "jemalloc", "MALLOC_ARENA_MAX"),
        ("", "unicorn_config", "name: unicorn"),
        ("", "console_command", "dynoctl run"),
        ("servers", "zone", "labels"),
        ("servers", "cordon", "drain: true"),
        ("rollout", "canaries", "canary: 1"),
        ("rollout.health", "expected_status", "status: 200"),
        ("volumes", "capacity", "size: 10G"),
        ("schedule", "retries", "next time"),
    ],
)
def test_words_of_heroku_kamal_fly_compose_and_systemd(section: str, key: str, cure: str, directory: Path) -> None:
    assert cure in said(directory, section, key).hint


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("database: {adapter: postgresql, host: a, name: b, password: {file: /run/db}}", "file"),
        ("dynos: {web: 1, worker: {count: 1, command: a, health: {command: b, timeout: 10}}}", "timeout"),
        ("dynos: {web: 1, worker: {count: 1, command: a, health: {command: b, path: /up}}}", "path"),
        ("dynos: {web: {count: 1, servers: {labels: {a: b}, name: grid-1}}}", "name"),
        ("preview: {host: p.example.org, database: {create: [a], drop: [b], url: c}}", "url"),
        ("app: {name: shop, source: ., writable: [{path: tmp, type: tmpfs}]}", "type"),
        ("artifacts: {ssh: {path: a}}", "path"),
    ],
)
def test_a_key_of_a_section_is_another_one_in_a_mapping_below_it(line: str, key: str, directory: Path) -> None:
    """The answers for ``database.file``, ``dynos.path`` and the like say nothing of it."""
    section = line.partition(":")[0]
    lines = [one for one in NEEDED if not one.startswith(f"{section}:")]
    (directory / "dyno.yaml").write_text(
        "\n".join([*lines, "framework: {name: rack, require: ./app, app: Shop}", f"{line}\n"])
    )
    with pytest.raises(ManifestInvalid) as error:
        read(directory / "dyno.yaml")
    found = next(one for one in error.value.diagnostics if one.summary == f"unknown key '{key}'")
    assert found.hint != foreign_keys._answers("nested")[f"{section}.{key}"]
