"""What a manifest of a stranger can read at plan: nothing outside of its repository, and no secret in an error."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from infra import manifest
from infra.errors import DynoctlError, ManifestInvalid
from infra.manifest import yaml_faults
from infra.manifest.references import resolve_environment
from infra.slug.tree import scan
from infra.views.diagnostics import render

POISON = "hunter2-poison"
BASE = """\
version: 1
app: {name: shop, source: .}
framework: {name: rack, require: ./app, app: App}
dynos: {web: 1}
servers:
  - {name: grid-1, host: 10.0.0.11}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout, beside files that are not in it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "token").write_text(f"{POISON}\n")
    (outside / "base.yaml").write_text(f"env: {{A: '1'}}\nx-note: {POISON}\n")
    (outside / ".netrc").write_text(f"machine example.org login a password {POISON}\n")
    checkout = tmp_path / "checkout"
    (checkout / ".git").mkdir(parents=True)
    (checkout / "sub").mkdir()
    (checkout / "app.rb").write_text("App = 1\n")
    return checkout


def said(file: Path, destination: str | None = None) -> str:
    """Every view of the errors of a manifest."""
    found, problems = manifest.check(file, destination)
    text = render(problems, color=False) + json.dumps([problem.as_json() for problem in problems])
    if found is not None:
        try:
            resolve_environment(found)
        except ManifestInvalid as error:
            text += render(error.diagnostics, color=False)
        except DynoctlError as error:
            text += error.summary + error.hint
    return text


OUTSIDE = [
    "/proc/self/environ",
    "/proc/self/cmdline",
    "/proc/1/environ",
    "/etc/shadow",
    "/etc/passwd",
    "/dev/stdin",
    "/dev/zero",
    "/dev/fd/0",
    "~/.netrc",
    "~root/.netrc",
    "../outside/token",
    "../outside/base.yaml",
    "../outside/.netrc",
    "sub/../../outside/base.yaml",
    "link-out.yaml",
    "links/base.yaml",
    "chain.yaml",
    "loop.yaml",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("form", ["extends: {0}\n", "extends: [{0}]\n", "extends: [inner.yaml]\n"])
def test_extends_stays_in_the_repository(project: Path, name: str, form: str) -> None:
    (project / "link-out.yaml").symlink_to(project.parent / "outside/base.yaml")
    (project / "links").symlink_to(project.parent / "outside")
    (project / "chain.yaml").symlink_to("link-out.yaml")
    (project / "loop.yaml").symlink_to("loop.yaml")
    (project / "inner.yaml").write_text(f"extends: {name}\nkeep: 3\n")
    (project / "dyno.yaml").write_text(form.format(name) + BASE)
    text = said(project / "dyno.yaml")
    assert "is outside of" in text
    assert POISON not in text and "root:" not in text


INSIDE = {
    "token": f"{POISON}\n",
    ".env": f"API_KEY={POISON}\n",
    ".netrc": f"machine a login b password {POISON}\n",
    ".dyno/secrets": f"API_KEY={POISON}\n",
    "secrets.json": f'{{"key": "{POISON}"}}\n',
    "a.yaml": f"{POISON}\n",
    "b.yaml": f"machine a login b password {POISON}\n",
    "c.yaml": f"production: {{secret_key_base: {POISON}}}\n",
    "d.yml": f"- {POISON}\n",
    "e.yml": f"API_KEY={POISON}\nSERVERS: *{POISON}\n",
    "f.yml": f'"{POISON}\n',
    "g.yaml": f"!{POISON} x\n",
    "h.yaml": f"root:{POISON}:19000:0:99999:7:::\n",
}


@pytest.mark.parametrize("name", INSIDE)
def test_a_file_that_is_no_manifest_is_not_shown(project: Path, name: str) -> None:
    file = project / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(INSIDE[name])
    (project / "dyno.yaml").write_text(f"extends: {name}\n" + BASE)
    text = said(project / "dyno.yaml")
    assert POISON not in text
    assert "cannot extend" in text or "is not a manifest" in text


@pytest.mark.parametrize("kind", ["fifo", "directory", "socket", "device", "link to a fifo"])
def test_a_manifest_is_a_regular_file(project: Path, kind: str) -> None:
    base = project / "base.yaml"
    if kind == "fifo":
        os.mkfifo(base)
    elif kind == "directory":
        base.mkdir()
    elif kind == "device":
        base.symlink_to("/dev/zero")
    elif kind == "link to a fifo":
        os.mkfifo(project / "pipe.yaml")
        base.symlink_to("pipe.yaml")
    else:
        os.mknod(base, 0o140600)
    (project / "dyno.yaml").write_text("extends: base.yaml\n" + BASE)
    assert "base.yaml" in said(project / "dyno.yaml")
    (project / "dyno.yaml").unlink()
    base.rename(project / "dyno.yaml")
    assert "dyno.yaml" in said(project / "dyno.yaml")


@pytest.mark.parametrize("target", ["/proc/self/environ", "/etc/shadow", "outside/token", "outside/base.yaml", "token"])
@pytest.mark.parametrize("name", ["dyno.yaml", "dyno.staging.yaml"])
def test_a_manifest_is_no_link_to_another_file(project: Path, name: str, target: str) -> None:
    (project / "token").write_text(POISON)
    (project / "dyno.yaml").write_text(BASE)
    (project / name).unlink(missing_ok=True)
    (project / name).symlink_to(project.parent / target if target.startswith("outside") else target)
    text = said(project / "dyno.yaml", "staging")
    assert "is a link to a file outside" in text and POISON not in text


def test_the_user_allows_directories(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "dyno.yaml").write_text("extends: ../outside/base.yaml\n" + BASE)
    monkeypatch.setenv("DYNOCTL_EXTENDS_FROM", f"relative:{project.parent / 'other'}")
    assert "is outside of" in said(project / "dyno.yaml")
    monkeypatch.setenv("DYNOCTL_EXTENDS_FROM", f"/nowhere:{project.parent / 'outside'}")
    assert manifest.read(project / "dyno.yaml").env == {"A": "1"}


@pytest.mark.parametrize("name", ["key", "pipe", "device", "/proc/self/mem", "/etc/shadow/x", "directory", "loop"])
def test_from_file_shows_nothing_of_a_file(project: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "key").write_bytes(POISON.encode() + b"\xff\n")
    os.mkfifo(project / "pipe")
    (project / "device").symlink_to("/dev/zero")
    (project / "directory").mkdir()
    (project / "loop").symlink_to("loop")
    for line in (f"env: {{A: {{from_file: {name}}}}}\n", f"credentials: {{a: {{from_file: {name}}}}}\n"):
        (project / "dyno.yaml").write_text(BASE + line)
        text = said(project / "dyno.yaml")
        assert POISON not in text and ("from_file" in text or line.startswith("credentials"))


@pytest.mark.parametrize("kind", ["fifo", "device", "directory", "large"])
def test_an_ignore_file_is_regular_and_bounded(project: Path, kind: str) -> None:
    file = project / ".slugignore"
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "directory":
        file.mkdir()
    else:
        file.write_bytes(b"a\n" * (1 << 20))
    with pytest.raises(DynoctlError, match=r"slugignore"):
        scan(project)


VALUES = [
    POISON,
    f"*{POISON}",
    f"!{POISON} x",
    f"!!{POISON} x",
    f"&{POISON} x y: z",
    f"[{POISON}]",
    f"[[{POISON}]]",
    f"{{{POISON}: 1}}",
    f"{{{POISON}: 1, {POISON}: 2}}",
    f"{{{POISON}}}",
    f"'{POISON}",
    f'"{POISON}',
    f"@{POISON}",
    f"`{POISON}",
    f"%{POISON}",
    f"{POISON}: x",
    f"|{POISON}",
    f"> {POISON}",
    f"1{POISON}",
    f'"\\q{POISON}"',
    f"? {POISON}",
    f"- {POISON}",
    f"x, y: {POISON}",
    f"{POISON}, {POISON}: [",
    f"{{from_env: [{POISON}]}}",
    f"{{from_env: 'a {POISON}'}}",
    f"{{from_env: {POISON}}}",
    f"{{from_file: {POISON}, from_env: A}}",
    f"{{from_envs: {POISON}}}",
    f"{{from_env: A, x: {POISON}}}",
    f"{{from_command: {{a: {POISON}}}}}",
    f"{{from_command: {POISON}}}",
    f"{{from_command: [[{POISON}]]}}",
]

PLACES = [
    "database: {{adapter: postgresql, host: db, name: shop, user: u, password: {0}}}\n",
    "database:\n  adapter: postgresql\n  host: db\n  password: {0}\n",
    "databases: {{a: {{adapter: mysql, host: db, name: shop, user: u, password: {0}}}}}\n",
    "database:\n  adapter: postgresql\n  url: {0}\n",
    "caches: {{a: {{adapter: redis, url: {0}}}}}\n",
    "database: {{adapter: postgresql, host: db, name: x, options: {{sslpassword: {0}}}}}\n",
    "env: {{KEY: {0}}}\n",
    "env:\n  KEY: {0}\n",
    "env:\n  KEY: {0}\n  KEY: {0}\n",
    "env:\n  KEY:\n    {0}\n",
    "env:\n  PORT: {0}\n  bad-name: {0}\n",
    "credentials: {{key: {0}}}\n",
    "middleware:\n  - {{use: Rack::Auth, options: {{secret: {0}}}}}\n",
    "middleware:\n  - {{map: /x, options: {{secret: {0}}}}}\n",
]


@pytest.mark.parametrize("place", PLACES)
def test_a_literal_secret_is_in_no_error(project: Path, place: str) -> None:
    """Each value in each place, most of them invalid: 33 secrets for each of 14 places."""
    file = project / "dyno.yaml"
    for value in VALUES:
        if value.startswith("x, y") and "middleware" in place:
            continue  # an option of its own
        file.write_text(BASE + place.format(value))
        assert POISON not in said(file), value


@pytest.mark.parametrize(
    "text",
    [
        f'env:\n  KEY: "-----BEGIN\n\n{POISON}\n\n  END" x: [\n',
        f"env:\n  KEY: |\n   {POISON}\n {POISON}\n",
        f"env:\n  KEY: '{POISON}\n{POISON}\n",
        f"env:\n  KEY: {POISON}\n    {POISON}: x\n",
        f"env:\n  KEY:\n    - {POISON}\n    - {POISON}\n",
        f"env:\n  KEY:\n    A: {POISON}\n    {POISON}: {POISON}\n",
        f"env:\n\tKEY: {POISON}\n",
        f"env:\n  KEY: {POISON}\n KEY: {POISON}\n",
        f"env: &env\n  PORT: {POISON}\nx-other:\n  <<: *env\n",
        f"x-secret: &s [{POISON}]\nenv: {{KEY: *s}}\n",
        f"env:\n  <<: {{PORT: {POISON}}}\n",
        f"env:\n  <<: {POISON}\n",
        f"database:\n  adapter: postgresql\n  url: 'postgresql://a:{POISON}\n",
        f"database:\n  adapter: postgresql\n  url: >\n    postgresql://a:{POISON}@\n    db:x/y\n",
        f"database: {{adapter: postgresql, host: db, name: x, password: {POISON}\n",
        f"{POISON}\n",
        f"{POISON}: x: y\n",
        f'"{POISON}\n',
    ],
)
def test_a_secret_of_several_lines_is_in_no_error(project: Path, text: str) -> None:
    (project / "dyno.yaml").write_text(BASE + text)
    assert POISON not in said(project / "dyno.yaml")


def test_what_helps_is_still_shown(project: Path) -> None:
    (project / "dyno.yaml").write_text(BASE + "env: {KEY: {form_env: A}}\nkeeep: 3\n")
    text = said(project / "dyno.yaml")
    assert "did you mean from_env?" in text and "unknown key 'keeep'" in text and "keeep: 3" in text


MISWRITTEN = [
    "env: {A:%s}\n",
    "env:\n  'A:%s':\n",
    "env: {A=%s}\n",
    "env: {B: 1, A=%s}\n",
    "env: {LD_PRELOAD=%s}\n",
    "Env: {A: %s}\n",
    "ENV:\n  A: %s\n  B: {from_env: X\n",
    "environment: {A: %s}\n",
    "database: {adapter: redis}\nDatabase: {password: %s}\n",
    "database: password %s\n",
    "database:\n  password %s\n",
    "cache: password=%s\n",
]


@pytest.mark.parametrize("text", MISWRITTEN)
def test_a_secret_whose_key_is_miswritten_is_not_shown(tmp_path: Path, text: str) -> None:
    for whole in (BASE + text % POISON, text % POISON + BASE):
        (tmp_path / "dyno.yaml").write_text(whole)
        shown = said(tmp_path / "dyno.yaml")
        assert "error: " in shown and POISON not in shown, shown


def test_few_repairs_are_tried_on_a_line_with_thousands_of_keys() -> None:
    """A manifest of 64 KB took 20 s."""
    line = "env: {" + " ".join(f"A{number}: 1" for number in range(7000)) + "}"
    tries: list[str] = []

    def parses(text: str) -> int | None:
        tries.append(text)
        return 1

    assert yaml_faults.find(["version: 1", line], 1, parses) is None
    assert len(tries) < 200
