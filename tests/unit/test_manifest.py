"""Valid manifests, pitfalls of YAML, references, and random input."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import ManifestInvalid
from infra.manifest import check, read
from infra.manifest.model import Manifest, Map, Reference, Use
from infra.manifest.references import resolve_environment
from infra.sensitive import Sensitive

BASE = """\
version: 1
app: {name: shop, source: app}
rackup: config.ru
dynos: {web: 2}
servers:
  - {name: grid-1, host: 10.0.0.11}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app").mkdir()
    (tmp_path / "app/config.ru").write_text("run Shop\n")
    (tmp_path / "app/app.rb").write_text("Shop = 1\n")


def manifest(text: str) -> Manifest:
    Path("dyno.yaml").write_text(text)
    return read(Path("dyno.yaml"))


def test_defaults() -> None:
    found = manifest(BASE)
    assert (found.app.name, found.app.source) == ("shop", Path("app").resolve())
    web = found.dynos["web"]
    assert (web.count, web.cpu, web.memory, web.port) == (2, 250, 512 << 20, 5000)
    assert (found.framework, found.rackup, found.app_server.name) == (None, "config.ru", "thin")
    assert found.servers[0].user is None


def test_everything() -> None:
    found = manifest(
        BASE.replace("rackup: config.ru", "framework: {name: sinatra, require: ./app, app: Shop::Web}").replace(
            "web: 2", "web: {count: 3, cpu: 0.5, memory: 1G, port: 6000}"
        )
        + "middleware: [{use: 'Rack::Deflater'}, {use: A, args: [1, x, null], options: {k: [true]}}, {map: /b, app: B}]\n"
        "database: {adapter: postgresql, url: {from_env: DB}}\nplacement: {spread: rack}\n".replace(
            "placement: {spread: rack}\n", ""
        )
    )
    assert (found.dynos["web"].cpu, found.dynos["web"].memory) == (500, 1 << 30)
    assert found.middleware == (
        Use("Rack::Deflater"),
        Use("A", None, (1, "x", None), {"k": [True]}),
        Map("/b", "B"),
    )
    assert found.database is not None
    assert found.database.url == Reference("from_env", "DB")


def test_env_values_are_used_as_written() -> None:
    text = "env: {A: 1.10, B: true, C: 010, D: no, E: 12:30, F: 2026-01-02, G: 1_000, H: '', I: ~x, J: 1e3, K: 0x1F, L: on}\n"
    assert dict(manifest(BASE + text).env) == {
        "A": "1.10",
        "B": "true",
        "C": "010",
        "D": "no",
        "E": "12:30",
        "F": "2026-01-02",
        "G": "1_000",
        "H": "",
        "I": "~x",
        "J": "1e3",
        "K": "0x1F",
        "L": "on",
    }


def test_strings_in_arguments_stay_strings() -> None:
    found = manifest(BASE + "middleware: [{use: A, args: [no, on, 010, 12:30, 2026-01-02, 1.5, true, null, 7]}]\n")
    assert found.middleware[0] == Use("A", None, ("no", "on", "010", "12:30", "2026-01-02", 1.5, True, None, 7))


def test_anchors_and_merges_work() -> None:
    text = (
        "x-common: &common {port: 2222, user: deploy}\n"
        + BASE.replace("{name: grid-1, host: 10.0.0.11}", "{<<: *common, name: grid-1, host: 10.0.0.11, user: root}")
        + "env: {A: &a hello, B: *a}\n"
    )
    found = manifest(text)
    assert (found.servers[0].port, found.servers[0].user) == (2222, "root")
    assert dict(found.env) == {"A": "hello", "B": "hello"}


def test_blanks_in_a_cron_expression_are_no_difference() -> None:
    """Units keep no outer blanks and no line breaks: with them, every plan had a change."""
    entry = 'schedule: [{name: tick, command: x, cron: "  0 3\\t*  *\\n * "}]\n'
    (schedule,) = manifest(BASE + entry).schedule
    assert schedule.when == "0 3 * * *"


def test_a_bom_and_crlf_are_accepted() -> None:
    Path("dyno.yaml").write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert read(Path("dyno.yaml")).app.name == "shop"


def test_a_missing_file_and_a_directory() -> None:
    for name, summary in (("none.yaml", f"none.yaml not found in {Path.cwd()}"), ("app", "app is a directory")):
        with pytest.raises(ManifestInvalid) as caught:
            read(Path(name))
        assert caught.value.diagnostics[0].summary == summary


def test_a_file_that_is_too_large() -> None:
    Path("dyno.yaml").write_text("# " + "x" * (1 << 20))
    with pytest.raises(ManifestInvalid) as caught:
        read(Path("dyno.yaml"))
    assert "larger than 1 MiB" in caught.value.diagnostics[0].summary


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB", "postgresql://u:pw@db/shop")
    Path("key").write_text("-----BEGIN\nabc\n")
    found = resolve_environment(
        manifest(
            BASE + "env: {LOG: info, KEY: {from_file: key}, CMD: {from_command: [printf, 'a b']}, CACHE_URL: mine}\n"
            "database: {adapter: postgresql, url: {from_env: DB}}\n"
            "cache: {adapter: memcached, url: 'memcached://10.0.0.1'}\n"
        )
    )
    assert found["DATABASE_URL"] == Sensitive("postgresql://u:pw@db/shop")
    assert found["KEY"] == Sensitive("-----BEGIN\nabc")
    assert found["CMD"] == Sensitive("a b")
    assert (found["LOG"], found["CACHE_URL"], found["MEMCACHE_SERVERS"]) == ("info", "mine", "10.0.0.1:11211")


def test_a_literal_url_with_a_password_is_secret() -> None:
    found = resolve_environment(manifest(BASE + "cache: {adapter: redis, url: 'redis://:pw@10.0.0.1/0'}\n"))
    assert all(isinstance(found[name], Sensitive) for name in ("REDIS_URL", "CACHE_URL"))
    open_ = resolve_environment(manifest(BASE + "cache: {adapter: redis, url: 'redis://10.0.0.1/0'}\n"))
    assert open_["REDIS_URL"] == "redis://10.0.0.1/0"


def test_all_unresolved_references_are_reported_at_once() -> None:
    text = (
        "env:\n  A: {from_env: NOT_SET_ANYWHERE}\n  B: {from_file: nowhere}\n"
        "  C: {from_command: [sh, -c, 'echo hunter2; exit 3']}\n  D: {from_command: [no-such-program]}\n"
    )
    with pytest.raises(ManifestInvalid) as caught:
        resolve_environment(manifest(BASE + text))
    summaries = {diagnostic.path: diagnostic.summary for diagnostic in caught.value.diagnostics}
    assert summaries["env/A"] == "environment variable NOT_SET_ANYWHERE is not set"
    assert "cannot read " in summaries["env/B"]
    assert [one.hint for one in caught.value.diagnostics if one.path == "env/B"] == [
        "create it, or copy it from who has it"
    ]
    assert summaries["env/C"] == "from_command: sh failed with exit status 3"
    assert "cannot run " in summaries["env/D"]
    assert [diagnostic.location.line for diagnostic in caught.value.diagnostics if diagnostic.location] == [
        8,
        9,
        10,
        11,
    ]


def test_an_invalid_secret_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB", "mysql://u:hunter2@db/shop")
    with pytest.raises(ManifestInvalid) as caught:
        resolve_environment(manifest(BASE + "database: {adapter: postgresql, url: {from_env: DB}}\n"))
    assert "hunter2" not in repr(caught.value.diagnostics)


def test_a_tag_on_the_whole_file() -> None:
    Path("dyno.staging.yaml").write_text("!env: {A: b}\n")
    Path("dyno.yaml").write_text(BASE)
    assert "the tag !env: is not allowed" in [error.summary for error in check(Path("dyno.yaml"), "staging")[1]]
    Path("dyno.yaml").write_text("!x {version: 1}\n")
    assert "the tag !x is not allowed" in [error.summary for error in check(Path("dyno.yaml"))[1]]


@pytest.mark.parametrize("name", ["a" * 300, "app/" * 2000, "loop/x", "app/config.ru/x"])
def test_a_name_that_no_file_can_have(name: str) -> None:
    Path("loop").symlink_to("loop")
    texts = (BASE.replace("source: app", f"source: {name}"), BASE.replace("rackup: config.ru", f"rackup: {name}"))
    for text in texts:
        with pytest.raises(ManifestInvalid) as caught:
            manifest(text)
        assert "not found" in caught.value.diagnostics[0].summary
    with pytest.raises(ManifestInvalid):
        manifest(f"{BASE}extends: {name}\n")
