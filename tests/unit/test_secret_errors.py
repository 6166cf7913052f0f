"""No error of a manifest shows what may be a secret: each field that may hold one, with each mistake near it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from infra import manifest
from infra.errors import DynoctlError, ManifestInvalid
from infra.manifest.references import resolve_environment
from infra.views.diagnostics import render

SECRET = "hunter2-XQZ"

BASE = """\
version: 1
app: {name: shop, source: .}
framework: {name: rack, require: ./app, app: App}
dynos: {web: 1}
"""
SERVERS = "servers:\n  - {name: grid-1, host: 10.0.0.11}\n"
LOGIN = f"ann:{SECRET}@10.0.0.12"

FIELDS: Mapping[str, tuple[str, str]] = {
    "env": ("env:\n  LOG: info\n  KEY: {}\n", SECRET),
    "name of a variable": ("env:\n  LOG: info\n  {}: info\n", SECRET),
    "name of a credential": ("credentials:\n  {}: info\n", f"{SECRET}="),
    "credentials": ("credentials:\n  key: {}\n", SECRET),
    "env with a URL": ("env:\n  DATABASE_URL: {}\n", f"postgresql://ann:{SECRET}@db/shop"),
    "password": ("database:\n  adapter: postgresql\n  host: db\n  name: shop\n  user: ann\n  password: {}\n", SECRET),
    "url": ("database:\n  adapter: postgresql\n  url: {}\n", f"postgresql://ann:{SECRET}@db/shop"),
    "urls": ("databases:\n  main:\n    adapter: mysql\n    url: {}\n", f"mysql2://ann:{SECRET}@db/shop"),
    "url with an option": ("database:\n  adapter: postgresql\n  url: {}\n", f"postgresql://db/shop?password={SECRET}"),
    "option": ("database:\n  adapter: postgresql\n  host: db\n  name: x\n  options:\n    sslpassword: {}\n", SECRET),
    "host of a database": ("database:\n  adapter: postgresql\n  name: x\n  host: {}\n", LOGIN),
    "cache": ("cache:\n  adapter: redis\n  url: {}\n", f"redis://:{SECRET}@10.0.0.20:6379/0"),
    "cache without a colon": ("cache:\n  adapter: redis\n  url: {}\n", f"redis://{SECRET}@10.0.0.20:6379/0"),
    "caches": ("caches:\n  one:\n    adapter: memcached\n    host: a\n    password: {}\n", SECRET),
    "host of a server": ("servers:\n  - name: grid-1\n    host: {}\n", LOGIN),
    "user of a server": ("servers:\n  - name: grid-1\n    host: grid-1\n    user: {}\n", LOGIN),
    "listen": ("servers:\n  - name: grid-1\n    host: grid-1\n    listen: {}\n", LOGIN),
    "gateway": ("ssh:\n  gateway: {}\n", LOGIN),
    "login of SSH": ("ssh:\n  user: {}\n", f"ann:{SECRET}"),
    "login of a server": ("servers:\n  - name: grid-1\n    host: grid-1\n    user: {}\n", f"ann:{SECRET}"),
    "key of SSH": ("ssh:\n  key: {}\n", SECRET),
    "key of SSH in base64": ("ssh:\n  key: {}\n", f"b3BlbnNzaC1rZXktdjE/AAAA/{SECRET}"),
    "known_hosts": ("ssh:\n  known_hosts: {}\n", SECRET),
    "extended URL": ("extends: {}\n", f"https://ann:{SECRET}@h/base.yaml"),
    "extended token": ("extends: {}\n", f"https://{SECRET}@h/base.yaml"),
    "extended signed URL": ("extends: {}\n", f"https://h/base.yaml?sig={SECRET}"),
    "store": ("artifacts:\n  http: {}\n", SECRET),
    "registry": ("artifacts:\n  oci: {}\n", SECRET),
    "all artifacts": ("artifacts: {}\n", SECRET),
    "database as a text": ("database: {}\n", SECRET),
    "named database as a text": ("databases:\n  main: {}\n", SECRET),
    "router as a text": ("router: {}\n", SECRET),
    "TLS of a router as a text": ("router:\n  kind: nginx\n  servers: [grid-1]\n  tls: {}\n", SECRET),
    "host of a router": ("router:\n  kind: nginx\n  servers: [grid-1]\n  hosts:\n    - {}\n", LOGIN),
    "key of a router": ("router:\n  kind: nginx\n  servers: [grid-1]\n  tls:\n    key: {}\n", f"-----BEGIN{SECRET}"),
    "host of previews": ("preview:\n  host: {}\n", LOGIN),
    "token of a store": ("artifacts:\n  http:\n    url: https://store/x\n    token: {}\n", SECRET),
    "password of a store": ("artifacts:\n  http:\n    url: https://store/x\n    user: a\n    password: {}\n", SECRET),
    "login in the URL of a store": ("artifacts:\n  http:\n    url: {}\n", f"https://ann:{SECRET}@store/x"),
    "presigned URL": ("artifacts:\n  http:\n    url: {}\n", f"https://store/x?X-Amz-Signature={SECRET}"),
    "SAS": ("artifacts:\n  http:\n    url: {}\n", f"https://store/x?sv=2022&sig={SECRET}&se=1"),
    "token to read": ("artifacts:\n  http:\n    url: https://store/x\n    read:\n      token: {}\n", SECRET),
    "token of a registry": ("artifacts:\n  oci:\n    repository: registry/x\n    token: {}\n", SECRET),
    "login of a registry": ("artifacts:\n  oci:\n    repository: {}\n", f"ann:{SECRET}@registry.example.org/x"),
    "header": ("rollout:\n  health:\n    headers:\n      Authorization: {}\n", f"Bearer {SECRET}"),
    "path": ("rollout:\n  health:\n    path: {}\n", f"/up?token={SECRET}"),
    "signed path": ("rollout:\n  health:\n    path: {}\n", f"up?X-Amz-Signature={SECRET}"),
    "host of a health check": ("rollout:\n  health:\n    host: {}\n", LOGIN),
    "option of a middleware": ("middleware:\n  - use: Rack::Auth\n    options:\n      password: {}\n", SECRET),
    "unknown section": ("secret_key_base: {}\n", SECRET),
    "another unknown section": ("stripe: {}\n", SECRET),
    "section of another tool": ("registry:\n  username: ann\n  auth: {}\n", SECRET),
    "unknown key": ("app_server:\n  name: puma\n  api_key: {}\n", SECRET),
    "unknown key of a server": ("servers:\n  - name: grid-1\n    host: grid-1\n    sudo: {}\n", SECRET),
    "unknown key of a rollout": ("rollout:\n  webhook: {}\n", f"https://hooks.example.org/{SECRET}"),
}
"""The section of each field, in which {} is the value."""

VALUES: Mapping[str, str] = {
    "as it is": "{}",
    "empty": "\n# {}",
    "comment": "# {}",
    "in single quotes": "'{}'",
    "list": "[{}]",
    "lists": "[[{}]]",
    "deep": f"{'[' * 45}{{}}{']' * 45}",
    "mapping": "{{{}: 1}}",
    "value of a mapping": "{{a: {}}}",
    "mapping of nothing": "{{{}}}",
    "duplicate key in braces": "{{'{0}': 1, '{0}': 2}}",
    "not closed '": "'{}",
    'not closed "': '"{}',
    "not closed [": "[{}",
    "not closed {": "{{a: {}",
    "after a quote": "'a' {}",
    "alias": "*{}",
    "anchor": "&{} a",
    "anchor and mapping": "&{0} {0}: b",
    "tag": "!{} a",
    "tag of a value": "!!binary {}",
    "its own alias": "&a [*a, '{}']",
    "many aliases": "[&a [x, x, x, x, x, x, x, x, x, x], &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a], &c [*b, *b, *b, *b, "
    "*b, *b, *b, *b, *b], &d [*c, *c, *c, *c, *c, *c, *c, *c], [*d, *d, *d, *d, *d, *d], '{}']",
    "at sign": "@{}",
    "backquote": "`{}",
    "percent": "%{}",
    "bar": "|{}",
    "text": "|\n      {}\n     {}",
    "text of other indentation": "|\n {}\n",
    "folded": ">\n        {}\n",
    "two lines": "{0}\n      {0}: {0}",
    "two lines at the margin": "'a\n{}'",
    "a colon in it": "{}: x",
    "a colon before it": "x: {}",
    "a comment in it": "{} # {}",
    "escape": '"\\q{}"',
    "control character": '"{}\x07"',
    "NUL": '"{}\\0"',
    "half a character": '"{}\\ud800"',
    "no-break space": "\u00a0{}",
    "dash": "- {}",
    "question mark": "? {}",
    "template": "{{{{ {} }}}}",
    "merge": "{{<<: {}}}",
    "reference without braces": "from_env: {}",
    "unknown reference": "{{from_envs: {}}}",
    "reference to a list": "{{from_env: ['{}']}}",
    "reference to a text": "{{from_env: 'a {}'}}",
    "two references": "{{from_env: A, from_file: {}}}",
    "number": "1{}",
    "long": "{}" + "x" * 20_000,
}
"""How the value is written."""


def _last(text: str, change: Callable[[str], str]) -> str:
    """The text with another last line; what follows its value in a text of several lines is kept."""
    lines = text.split("\n")
    number = next(number for number in range(len(lines)) if SECRET in lines[number])
    return "\n".join([*lines[:number], change(lines[number]), *lines[number + 1 :]])


LINES: Mapping[str, Callable[[str], str]] = {
    "as it is": lambda line: line,
    "one space more": lambda line: f" {line}",
    "one space less": lambda line: line.removeprefix(" "),
    "no indentation": str.lstrip,
    "much indentation": lambda line: f"          {line}",
    "tab": lambda line: f"\t{line.lstrip()}",
    "tab behind": lambda line: line.replace(": ", ":\t", 1),
    "duplicate": lambda line: f"{line}\n{line}",
    "no colon": lambda line: line.replace(": ", " ", 1),
    "no space": lambda line: line.replace(": ", ":", 1),
    "equals sign": lambda line: line.replace(": ", "=", 1),
    "equals sign between spaces": lambda line: line.replace(": ", " = ", 1),
    "misspelled": lambda line: line.replace(": ", "x: ", 1),
    "capitals": lambda line: line.replace(line.partition(":")[0], line.partition(":")[0].upper(), 1),
    "commented by //": lambda line: f"// {line}",
    "as an item": lambda line: f"  - {line.lstrip()}",
    "merge key": lambda line: f"{line[: len(line) - len(line.lstrip())]}<<: {line.partition(': ')[2] or line}",
    "document before it": lambda line: f"--- {line.strip()}",
    "document end": lambda line: f"... {line.strip()}",
    "directive": lambda line: f"%{line.strip()}",
    "fault above": lambda line: f"{line[: len(line) - len(line.lstrip())]}a: b: c\n{line}",
    "fault below": lambda line: f"{line}\n{line[: len(line) - len(line.lstrip())]}a: b: c",
    "not closed above": lambda line: f"{line[: len(line) - len(line.lstrip())]}a: [\n{line}",
}
"""What happens to its line."""


def said(file: Path, destination: str | None = None) -> str:
    """All views of the errors of a manifest."""
    found, problems = manifest.check(file, destination)
    text = render(problems, color=False) + json.dumps([problem.as_json() for problem in problems])
    if found is not None:
        text += render(found.warnings, color=False)
        try:
            resolve_environment(found)
        except ManifestInvalid as error:
            text += render(error.diagnostics, color=False)
        except DynoctlError as error:
            text += error.summary + error.hint
    return text


def mistakes(field: str) -> Mapping[str, str]:
    """Texts of the section of a field by mistake: each value on its line, and the plain value on each line."""
    section, secret = FIELDS[field]
    texts = {f"value: {name}": section.format(form.format(secret, secret)) for name, form in VALUES.items()}
    for name, change in LINES.items():
        texts[f"line: {name}"] = _last(section.format(secret), change)
        texts[f"line, quoted: {name}"] = _last(section.format(f"'{secret}'"), change)
        texts[f"line, not closed: {name}"] = _last(section.format(f"'{secret}"), change)
    return texts


def leaks(file: Path, text: str) -> set[str]:
    """Where an error of a text shows the secret. The text is at the end, at the start, and an overlay."""
    servers = "" if text.startswith("servers:") else SERVERS
    overlay = file.with_name("dyno.staging.yaml")
    found = set()
    for place, whole in {"end": BASE + servers + text, "start": text + BASE + servers}.items():
        file.write_text(whole)
        if SECRET in said(file):
            found.add(place)
    file.write_text(BASE + SERVERS)
    overlay.write_text(text)
    if SECRET in said(file, "staging"):
        found.add("overlay")
    return found


@pytest.mark.parametrize("field", FIELDS)
def test_no_error_shows_a_secret(field: str, tmp_path: Path) -> None:
    (tmp_path / "app.rb").write_text("App = 1\n")
    shown = {name: places for name, text in mistakes(field).items() if (places := leaks(tmp_path / "dyno.yaml", text))}
    assert not shown


@pytest.mark.parametrize(
    "line", ["--- {}", "--- '{}", "... {}", "---\n{}", "---\n- {}", "- {}", "{}", "%{}", "? {}", "[{}]"]
)
def test_a_line_that_is_no_key_shows_nothing(line: str, tmp_path: Path) -> None:
    shown = {name for name in (SECRET, LOGIN) if leaks(tmp_path / "dyno.yaml", line.format(name) + "\n")}
    assert not shown
