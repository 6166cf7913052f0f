"""The manifest of a stranger is planned without reading or running anything for it, and its login is bounded."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra import manifest
from infra.cli.app import app
from infra.errors import DynoctlError, ManifestInvalid
from infra.manifest.references import resolve_credentials, resolve_environment, resolve_tls
from infra.manifest.untrusted import NoResolver, refuse_linked, restricted
from infra.model.resource import Fingerprint
from infra.ops.sudoers import read_only_program, read_only_rule
from infra.registry import Everything
from infra.sensitive import Sensitive, Unread
from infra.views.attributes import plain, text

BASE = """\
version: 1
app: {name: shop, source: app}
framework: {name: rack, require: ./app, app: App}
dynos: {web: 1}
servers: [{name: grid-1, host: 10.0.0.1, user: root}]
ssh: {user: root, key: key, known_hosts: key, gateway: evil.example.org}
"""
REFERENCES = """\
env:
  A: {from_env: SHOP_SECRET}
  B: {from_file: secret}
  C: {from_command: [sh, -c, "touch ran"]}
  PLAIN: info
  URL: "https://a:b@example.org"
credentials: {k: {from_command: [sh, -c, "touch ran"]}}
database: {adapter: postgresql, url: {from_command: [sh, -c, "touch ran"]}}
databases: {two: {adapter: mysql, host: h, name: n, user: u, password: {from_env: SHOP_SECRET}}}
cache: {adapter: redis, url: {from_file: secret}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOP_SECRET", "hunter2")
    checkout = tmp_path / "checkout"
    (checkout / "app").mkdir(parents=True)
    (checkout / ".git").mkdir()
    (checkout / "app/app.rb").write_text("")
    (checkout / "key").write_text("")
    (checkout / "secret").write_text("hunter2\n")
    (checkout / ".dyno").mkdir()
    (checkout / ".dyno/secrets").write_text("not a line, and readable by all\n")
    (checkout / "dyno.yaml").write_text(BASE + REFERENCES)
    monkeypatch.chdir(checkout)
    return checkout


def test_no_reference_is_resolved(project: Path) -> None:
    model = manifest.read(project / "dyno.yaml")
    found = resolve_environment(model, NoResolver())
    for name in ("A", "B", "C", "DATABASE_URL", "PGPASSWORD", "PGHOST", "TWO_DATABASE_URL", "REDIS_URL"):
        assert isinstance(found[name], Unread), name
        assert text(found[name]) == "(unresolved)" and plain(found[name]) == {"sensitive": True}
    assert found["PLAIN"] == "info" and text(found["URL"]) == "(sensitive)"
    assert all(isinstance(value, Unread) for value in resolve_credentials(model, NoResolver()).values())
    assert resolve_tls(model, NoResolver()) == {}
    assert not (project / "ran").exists() and "hunter2" not in json.dumps(
        {key: plain(value) for key, value in found.items()}
    )


def test_what_was_not_read_is_what_is_there() -> None:
    there = Fingerprint("salt", "0" * 64, str)
    assert there.fits(Unread()) and not there.fits(Sensitive("")) and not there.fits("")


def test_a_manifest_says_nothing_of_logins(project: Path) -> None:
    model = restricted(manifest.read(project / "dyno.yaml"))
    ssh = model.ssh
    assert (ssh.user, ssh.key, ssh.known_hosts, ssh.gateway) == (None, None, None, None)
    assert [server.user for server in model.servers] == [None]


@pytest.mark.parametrize("source", ["/etc", "..", "../outside", "link", "app/../..", "~"])
def test_the_source_is_in_the_repository(source: str, project: Path) -> None:
    (project.parent / "outside").mkdir()
    (project.parent / "outside/app.rb").write_text("")
    (project / "link").symlink_to(project.parent / "outside")
    text = BASE.replace("source: app", f"source: {source}").replace("require: ./app", "require: sinatra")
    (project / "dyno.yaml").write_text(text)
    with pytest.raises(ManifestInvalid) as caught:
        restricted(manifest.read(project / "dyno.yaml"))
    assert [problem.path for problem in caught.value.diagnostics] == ["app/source"]


@pytest.mark.parametrize(
    "option",
    ["--out=x", "--refresh-only", "--force", "--take-over", "--evacuate=grid-1", "--with-changes", "--over-rollback"],
)
def test_options_that_are_for_an_apply(option: str, project: Path) -> None:
    done = CliRunner().invoke(app, ["plan", "--untrusted", option])
    assert done.exit_code != 0 and "--untrusted cannot be combined" in str(done.exception)


def test_the_program_and_its_rule(project: Path) -> None:
    model = manifest.read(project / "dyno.yaml")
    program = read_only_program(model, Everything())
    assert subprocess.run(["sh", "-n"], input=program, text=True, check=False).returncode == 0
    assert program == read_only_program(model, Everything()), "the same manifest, the same digest"
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    rule = read_only_rule("watcher", "shop", program)
    assert f'watcher ALL=(root) NOPASSWD: sha256:{digest} /usr/local/sbin/dynoctl-observe-shop ""' in rule
    assert "SETENV" not in rule and "*" not in rule.split("NOPASSWD")[1]
    assert "hunter2" not in program and not (project / "ran").exists()
    for name in ("eval ", '"$@"; exec', "read -r line <"):
        assert name not in program
    assert "$1" not in program.partition("observe()")[0] and "exec </dev/null" in program
    with pytest.raises(DynoctlError, match="invalid login name"):
        read_only_rule("a b", "shop", program)


WRITES = (
    "rm",
    "mv",
    "cp",
    "tee",
    "dd",
    "chmod",
    "chown",
    "mkdir",
    "touch",
    "ln",
    "kill",
    "useradd",
    "mount",
    "umount",
    "apt-get",
)


@pytest.mark.parametrize("word", WRITES)
def test_the_program_has_no_word_that_writes(word: str, project: Path) -> None:
    program = read_only_program(manifest.read(project / "dyno.yaml"), Everything())
    for line in program.splitlines():
        words = line.replace("(", " ").replace(";", " ; ").replace("|", " | ").split()
        commands = [
            found
            for before, found in zip(["", *words], words, strict=False)
            if before in ("", ";", "|", "||", "&&", "then", "do", "else", "{")
        ]
        assert word not in commands, line
    assert "systemctl start" not in program and "systemctl stop" not in program


def test_the_command_line_prints_both(project: Path) -> None:
    rule = CliRunner().invoke(app, ["sudoers", "--read-only", "--user", "watcher"]).output
    program = CliRunner().invoke(app, ["sudoers", "--read-only", "--program"]).output
    assert base64.b64encode(hashlib.sha256(program.encode()).digest()).decode() in rule
    assert CliRunner().invoke(app, ["sudoers", "--program"]).exit_code != 0
    assert shlex.split(rule.splitlines()[-1])[-1] == ""


def test_the_program_digests_secrets_with_a_salt_that_is_not_shown(project: Path, tmp_path: Path) -> None:
    """It is run here, with its directories replaced, on an env file that has secrets and plain variables."""
    program = read_only_program(manifest.read(project / "dyno.yaml"), Everything())
    files = tmp_path / "etc/shop"
    files.mkdir(parents=True)
    (files / "web.1.env").write_text('A="4711"\nPLAIN="info"\nLANG="C.UTF-8"\n')
    program = program.replace("/etc/dyno/", f"{tmp_path}/etc/")
    (tmp_path / "program").write_text(program)
    argv = ["sh", str(tmp_path / "program")]
    outputs = [subprocess.run(argv, capture_output=True, text=True, check=False).stdout for _ in range(2)]
    keys = [dict(line.split(" ")[1:] for line in found.splitlines() if line.startswith("key ")) for found in outputs]
    assert keys[0]["PLAIN"] == hashlib.sha256(b'dynoctl-observePLAIN="info"').hexdigest() == keys[1]["PLAIN"]
    assert keys[0]["A"] != keys[1]["A"], "the salt is another one each time"
    for output in outputs:
        for salt in ("", "-", "dynoctl-observe", *re.findall(r"\S+", output)):
            assert hashlib.sha256(f'{salt}A="4711"'.encode()).hexdigest() not in output


@pytest.mark.parametrize("absolute", [False, True])
def test_no_directory_of_a_stranger_leads_to_the_manifest_of_another_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absolute: bool
) -> None:
    other, checkout = tmp_path / "other", tmp_path / "checkout"
    for directory in (other, checkout):
        (directory / ".git").mkdir(parents=True)
    (other / "dyno.yaml").write_text(BASE)
    (checkout / "deploy").symlink_to(other)
    (checkout / "own").mkdir()
    (checkout / "own/dyno.yaml").write_text("version: 1\n")
    monkeypatch.chdir(checkout)
    base = checkout if absolute else Path()
    with pytest.raises(ManifestInvalid) as caught:
        refuse_linked(base / "deploy/dyno.yaml")
    assert "deploy is a link" in caught.value.diagnostics[0].summary
    refuse_linked(base / "own/dyno.yaml")
    result = CliRunner().invoke(app, ["plan", "--untrusted", "-f", str(base / "deploy/dyno.yaml")])
    assert isinstance(result.exception, ManifestInvalid)
