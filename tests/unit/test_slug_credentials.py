"""Credentials of a source tree are not in the slug, unless .slugignore names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import manifest
from infra.engine import credential_note
from infra.manifest.references import secret_files
from infra.slug.tree import scan

PRIVATE = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"
PUBLIC = "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n"

LEFT_OUT = [
    ".env",
    ".env.production",
    ".env.local",
    ".env.development.local",
    ".env-staging",
    ".envrc",
    ".ENV",
    "deploy/.env",
    "vendor/gem/.env",
    "config/master.key",
    "config/credentials/production.key",
    "server.key",
    "Server.KEY",
    "certs/server.pem",
    "certs/both.pem",
    "id_rsa",
    "id_ed25519",
    "keys/id_ecdsa",
    "client.p12",
    "client.pfx",
    "store.jks",
    "store.keystore",
    "a.ppk",
    "a.kdbx",
    ".netrc",
    "_netrc",
    ".pgpass",
    ".my.cnf",
    ".git-credentials",
    ".npmrc",
    "ui/.npmrc",
    ".yarnrc.yml",
    ".pypirc",
    ".htpasswd",
    ".vault-token",
    ".s3cfg",
    ".boto",
    ".aws/credentials",
    ".azure/token",
    ".gnupg/secring.gpg",
    ".ssh/config",
    "home/.ssh/id_rsa",
    ".kube/config",
    ".docker/config.json",
    ".dockercfg",
    ".terraform/state",
    "terraform.tfstate",
    "terraform.tfstate.backup",
    ".config/gcloud/credentials.db",
    ".config/gh/hosts.yml",
    ".gem/credentials",
]
"""Paths that are left out by their names, most of them with a private key in them."""

KEPT = {
    ".env.example": "A=\n",
    ".env.sample": "A=\n",
    ".env.template": "A=\n",
    ".env.dist": "A=\n",
    "deploy/.env.example": "A=\n",
    "config/ca.pem": PUBLIC,
    "vendor/cacert.pem": f"# a bundle\n\n{PUBLIC}{PUBLIC}",
    "config/jwt.key": "-----BEGIN PUBLIC KEY-----\nMIIE\n",
    ".npmrc": "registry=https://registry.example.org\n",
    ".ruby-version": "3.3\n",
    ".rspec": "--color\n",
    "environment.rb": "",
    "env": "",
    "lib/env.rb": "",
    "id_rsa.pub": "ssh-rsa AAAA\n",
    "key": "",
    "monkey.rb": "",
    "lib/key.rb": "",
    "config/credentials.yml.enc": "",
    "config.json": "{}",
    "docker/config.json": "{}",
    "netrc": "",
    "secrets.rb": "",
}

NEVER = [".dyno/secrets", ".dyno/secrets.staging", ".git/config", "sub/.dyno/secrets"]


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def has(root: Path, name: str) -> bool:
    return name.encode() in [entry.path for entry in scan(root).entries]


@pytest.mark.parametrize("name", LEFT_OUT)
def test_credentials_are_left_out_and_said(name: str, tmp_path: Path) -> None:
    write(tmp_path, "app.rb", "")
    without = scan(tmp_path).digest
    write(tmp_path, name, f"{PUBLIC if 'both' in name else ''}{PRIVATE}//registry/:_authToken=x\n")
    tree = scan(tmp_path)
    assert not has(tmp_path, name)
    (said,) = tree.left_out
    assert name.encode().startswith(said)
    if "/" not in name:
        assert tree.digest == without


@pytest.mark.parametrize("name", LEFT_OUT)
def test_slugignore_puts_credentials_back(name: str, tmp_path: Path) -> None:
    write(tmp_path, name, PRIVATE + "//registry/:_authToken=x\n")
    (said,) = scan(tmp_path).left_out
    write(tmp_path, ".slugignore", f"!/{said.decode()}\n")
    assert has(tmp_path, name) or name.startswith("home/") or scan(tmp_path).left_out == (name.encode(),)


@pytest.mark.parametrize("line", ["!*", "!/*", "!**", "!**/*", "!/config/**", "!config", "!?env", "!*/", "*\n!*"])
def test_a_line_that_names_no_file_puts_none_back(line: str, tmp_path: Path) -> None:
    for name in (".env", "config/master.key"):
        write(tmp_path, name, PRIVATE)
    write(tmp_path, ".slugignore", line + "\n")
    assert not has(tmp_path, "config/master.key")
    assert not has(tmp_path, ".env") or line == "!?env"


@pytest.mark.parametrize("line", ["!.env", "!/.env", "!.env*", "!**/.env", "!.[e]nv"])
def test_a_line_that_names_a_file_puts_it_back(line: str, tmp_path: Path) -> None:
    write(tmp_path, ".env", "A=1\n")
    write(tmp_path, ".slugignore", line + "\n")
    assert has(tmp_path, ".env") and scan(tmp_path).left_out == ()


def test_what_slugignore_lists_is_not_said(tmp_path: Path) -> None:
    write(tmp_path, ".env", "A=1\n")
    write(tmp_path, ".slugignore", ".env\n")
    assert not has(tmp_path, ".env") and scan(tmp_path).left_out == ()


@pytest.mark.parametrize("name", KEPT)
def test_what_only_looks_like_a_credential_is_kept(name: str, tmp_path: Path) -> None:
    write(tmp_path, name, KEPT[name])
    assert has(tmp_path, name) and scan(tmp_path).left_out == ()


@pytest.mark.parametrize("name", NEVER)
def test_no_line_puts_these_back(name: str, tmp_path: Path) -> None:
    write(tmp_path, name, "A=1\n")
    write(tmp_path, ".slugignore", f"!{name}\n!.dyno/\n!.git/\n!secrets\n")
    assert not has(tmp_path, name)


def test_a_link_to_a_credential_is_no_credential_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    write(tmp_path, "outside.pem", PUBLIC)
    (tmp_path / "source/ca.pem").symlink_to("../outside.pem")
    assert scan(tmp_path / "source").left_out == (b"ca.pem",)


def test_files_that_the_manifest_takes_secrets_from_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "app.rb", "")
    names = ("one", "two", "three", "deploy.txt", "cert", "four")
    for name in names:
        write(tmp_path, f"config/{name}", "secret\n")
    write(
        tmp_path,
        "dyno.yaml",
        """\
version: 1
app: {name: shop, source: .}
framework: {name: rack, require: ./app, app: App}
dynos: {web: 1}
env: {A: {from_file: config/one}, B: {from_file: /nowhere}, C: plain}
credentials: {k: {from_file: ./config/../config/two}}
database: {adapter: postgresql, url: {from_file: config/three}}
cache: {adapter: redis, host: r, password: {from_file: config/four}}
ssh: {key: config/deploy.txt}
router: {kind: nginx, hosts: [a.example.org], servers: [grid-1], tls: {certificate: {from_file: config/cert}, key: {from_file: config/cert}}}
servers: [{name: grid-1, host: 10.0.0.1}]
""",
    )
    model = manifest.read(tmp_path / "dyno.yaml")
    tree = scan(tmp_path, secrets=secret_files(model))
    assert tree.left_out == tuple(sorted(f"config/{name}".encode() for name in names))
    assert not [entry.path for entry in tree.entries if entry.path in tree.left_out]
    left_out = [path.decode() for path in tree.left_out]
    assert credential_note.of(model, left_out) == "", "nobody misses in the slug what the manifest reads"
    said = credential_note.of(model, [*left_out, ".env"])
    assert said.startswith("left out of the slug, as credentials: .env; ") and "!.env" in said
