"""Config vars are edited in the manifest with no other change, and secrets in a file that nobody else can read."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.cli import assignments
from infra.errors import DynoctlError
from infra.manifest import check, secrets_file
from infra.manifest.env_edit import scalar, set_variable, unset_variable
from infra.manifest.secrets_edit import edited
from infra.views import report_text
from infra.views.style import Style
from tests.command import Dynoctl

MANIFEST = """\
version: 1
app: {name: shop, source: .}
rackup: config.ru
dynos: {web: 4}
servers: [{name: one, host: 127.0.0.1, port: 1}]
env: # what the app reads
  # how much is logged
  LOG_LEVEL: info # or debug
  API_KEY: {from_env: SHOP_API_KEY}
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, dynoctl: Dynoctl) -> Run:
    (tmp_path / "dyno.yaml").write_text(MANIFEST)
    (tmp_path / "dyno.staging.yaml").write_text("# nothing yet\n")
    (tmp_path / "config.ru").write_text("run Shop\n")
    return lambda *argv, **options: dynoctl.text("config", *argv, cwd=tmp_path, **options)


@pytest.mark.parametrize(
    ("key", "value", "names"),
    [
        ("A", "1,B=2", "B="),
        ("A", "1; B=2 C=3", "B=, C="),
        ("A", "one\nB=two", "B="),
        ("A", "1,b=2", ""),
        ("PEM", "-----BEGIN\nMIIabc+/\nQIDAQAB=\n-----END", ""),  # a private key, which is not shown
        ("pem", "-----BEGIN\nMIIabc+/\nhunter2==\n-----END", ""),
        ("DSN", "SERVER=h;DATABASE=d;PWD=p", ""),
        ("dsn", "host=h port=1 password=p", ""),
        ("URL", "https://h/?a=1;B=2", ""),
    ],
)
def test_a_value_that_looks_like_several_variables(key: str, value: str, names: str) -> None:
    said = [summary for summary, _ in assignments.warnings({key: value})]
    assert said == ([f"the value of {key} contains {names}"] if names else [])


@pytest.mark.parametrize(
    ("text", "key", "value", "result"),
    [
        ("env:\n  A: 1 # one\n", "A", "2", "env:\n  A: 2 # one\n"),
        ("env:\n  A: 1 # one\nx-a: 1\n", "B", "2", "env:\n  A: 1 # one\n  B: 2\nx-a: 1\n"),
        ("env: {A: 1}", "B", "a, b", 'env: {A: 1, B: "a, b"}'),
        ("env: {}\n", "A", "1", "env: {A: 1}\n"),
        ("env: null # none yet\nx-a: 1\n", "A", "1", "env: {A: 1} # none yet\nx-a: 1\n"),
        ("env:\nx-a: 1\n", "A", "1", "env: {A: 1}\nx-a: 1\n"),
        ("version: 1\n", "A", "", 'version: 1\nenv:\n  A: ""\n'),
        ("# only a comment\n", "A", "null", '# only a comment\nenv:\n  A: "null"\n'),
        ("env:\n  A: |\n    x\n    y\n  B: 1\n", "A", "z", "env:\n  A: z\n  B: 1\n"),
        ("env:\r\n  A: 1\r\n", "B", "2", "env:\r\n  A: 1\r\n  B: 2\r\n"),
        ("env:\n  A: 1\n", "A", "two\nlines", 'env:\n  A: "two\\nlines"\n'),
    ],
)
def test_a_variable_is_set_and_nothing_else(text: str, key: str, value: str, result: str) -> None:
    assert set_variable(text, key, scalar(value), "dyno.yaml") == result


@pytest.mark.parametrize(
    ("text", "key", "result"),
    [
        ("env:\n  A: 1 # one\n  # two\n  B: 2\n", "A", "env:\n  # two\n  B: 2\n"),
        ("env: # vars\n  A: 1\nx-a: 1\n", "A", "env: {} # vars\nx-a: 1\n"),
        ("env: {A: 1, B: 2, C: 3}\n", "B", "env: {A: 1, C: 3}\n"),
        ("env: {A: 1, B: 2}\n", "B", "env: {A: 1}\n"),
        ("env: {A: 1}\n", "A", "env: {}\n"),
        (
            "env: # v\n  # old\n\n  # one\n  # two\n  A: 1\n  # b\nx-a: 1\n",
            "A",
            "env: {} # v\n  # old\n\n  # b\nx-a: 1\n",
        ),
        ("env:\n  A: >\n    x\n  B: 2\n", "A", "env:\n  B: 2\n"),
    ],
)
def test_a_variable_is_removed_and_nothing_else(text: str, key: str, result: str) -> None:
    assert unset_variable(text, key, "dyno.yaml") == result


def test_a_shared_value_is_refused() -> None:
    for text in ("x-a: &a {A: 1}\nenv: *a\n", "env:\n  A: &a 1\n  B: *a\n"):
        with pytest.raises(DynoctlError, match="has an alias"):
            set_variable(text, "A", "2", "dyno.yaml")


def test_get_set_and_unset(run: Run, tmp_path: Path) -> None:
    assert run("get").stdout == "LOG_LEVEL=info\nAPI_KEY={from_env: SHOP_API_KEY}\n"
    assert run("get", "LOG_LEVEL").stdout == "info\n"
    assert json.loads(run("get", "--json").stdout)["env"]["API_KEY"] == {"from_env": "SHOP_API_KEY"}
    done = run("set", "LOG_LEVEL=debug", "HOST=a b", "--no-plan")
    assert (done.returncode, done.stderr) == (0, "dyno.yaml: LOG_LEVEL is set\ndyno.yaml: HOST is set\n")
    wanted = MANIFEST.replace("LOG_LEVEL: info", "LOG_LEVEL: debug") + '  HOST: "a b"\n'
    assert (tmp_path / "dyno.yaml").read_text() == wanted
    assert run("unset", "HOST", "--no-plan").returncode == 0
    assert (tmp_path / "dyno.yaml").read_text() == MANIFEST.replace("LOG_LEVEL: info", "LOG_LEVEL: debug")


def test_the_overlay_is_edited_with_a_destination(run: Run, tmp_path: Path) -> None:
    assert run("set", "LOG_LEVEL=debug", "-d", "staging", "--no-plan").returncode == 0
    assert (tmp_path / "dyno.staging.yaml").read_text() == "# nothing yet\nenv:\n  LOG_LEVEL: debug\n"
    assert run("-d", "staging", "get", "LOG_LEVEL").stdout == "debug\n"
    assert run("unset", "LOG_LEVEL", "-d", "staging", "--no-plan").returncode == 0
    assert run("get", "-d", "staging").stdout == "API_KEY={from_env: SHOP_API_KEY}\n"
    assert (tmp_path / "dyno.yaml").read_text() == MANIFEST


def test_a_secret_is_in_its_file_only(run: Run, tmp_path: Path) -> None:
    value = "it's a \\ hunter2"
    for key, name in (("API_KEY", "SHOP_API_KEY"), ("TOKEN", "TOKEN")):
        done = run("set", key, "--secret", "--no-plan", stdin=f"{value}\n")
        assert done.returncode == 0 and "hunter2" not in done.stdout + done.stderr
        assert secrets_file.read(tmp_path, None)[name] == value
    assert "hunter2" not in (tmp_path / "dyno.yaml").read_text()
    assert (tmp_path / "dyno.yaml").read_text() == MANIFEST + "  TOKEN: {from_env: TOKEN}\n"
    assert (tmp_path / ".dyno/secrets").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".dyno/.gitignore").read_text() == "*\n"


def test_a_secret_is_generated_once_and_never_shown(run: Run, tmp_path: Path) -> None:
    done = run("set", "SECRET_KEY_BASE", "--generate", "--no-plan")
    value = secrets_file.read(tmp_path, None)["SECRET_KEY_BASE"]
    assert len(value) == 128 and value not in done.stdout + done.stderr + (tmp_path / "dyno.yaml").read_text()
    assert "  SECRET_KEY_BASE: {from_env: SECRET_KEY_BASE}\n" in (tmp_path / "dyno.yaml").read_text()
    (tmp_path / "dyno.yaml").write_text(MANIFEST)
    done = run("set", "SECRET_KEY_BASE", "--generate", "--no-plan")
    assert done.returncode == 0 and "SECRET_KEY_BASE is kept" in done.stderr
    assert "SECRET_KEY_BASE: {from_env: SECRET_KEY_BASE}" in (tmp_path / "dyno.yaml").read_text()
    assert secrets_file.read(tmp_path, None)["SECRET_KEY_BASE"] == value


def test_a_destination_gets_a_generated_secret_of_its_own(run: Run, tmp_path: Path) -> None:
    run("set", "API_KEY", "--generate", "--no-plan")
    production = (tmp_path / ".dyno/secrets").read_text()
    assert run("set", "API_KEY", "--generate", "-d", "staging", "--no-plan").returncode == 0
    value = secrets_file.read(tmp_path, "staging")["SHOP_API_KEY"]
    assert len(value) == 128 and value not in production == (tmp_path / ".dyno/secrets").read_text()
    again = run("set", "API_KEY", "--generate", "-d", "staging", "--no-plan")
    assert again.stderr.startswith(
        ".dyno/secrets.staging: SHOP_API_KEY is kept; to replace it: dynoctl config set API_KEY --secret -d staging\n"
    )


def test_with_a_preview_the_overlay_of_all_previews_is_edited(run: Run, tmp_path: Path) -> None:
    overlay = "preview: {host: preview.example.org}\nenv:\n  API_KEY: {from_env: API_KEY}\n"
    (tmp_path / "dyno.preview.yaml").write_text(overlay)
    for argv in (("set", "A=b"), ("set", "API_KEY", "--generate")):
        done = run(*argv, "-d", "preview:pr-1", "--no-plan")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "dyno.preview.yaml").read_text() == overlay + "  A: b\n"
    assert len(secrets_file.read(tmp_path, "preview")["API_KEY"]) == 128
    assert run("get", "A", "-d", "preview:pr-1").stdout == "b\n"
    assert "A: b" in run("-d", "preview:pr-1").stdout
    assert "invalid name of a preview" in run("get", "-d", "preview:PR").stderr


def test_a_secret_file_keeps_its_other_lines() -> None:
    text = "# ours\nA='1'\nB=2 # two\n"
    assert edited(text, "A", "x") == "# ours\nA='x'\nB=2 # two\n"
    assert edited(text, "C", "x") == text + "C='x'\n"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("set", "API_KEY=x"), "API_KEY is a secret: {from_env: SHOP_API_KEY}"),
        (("set", "TOKEN=hunter2", "--secret"), "a secret on the command line"),
        (("set", "TOKEN", "--secret", "--generate"), "--secret and --generate cannot be combined"),
        (("set", "TOKEN", "KEY", "--generate"), "hint: dynoctl config set TOKEN --generate generates the value"),
        (("set", "1A=x"), "invalid name of a variable: '1A'"),
        (("set", "PORT=1"), "PORT cannot be set in env"),
        (("set", "A"), "missing value for A"),
        (("unset", "LOGLEVEL"), "did you mean LOG_LEVEL?"),
        (("get", "NOPE"), "NOPE is not set in env: of dyno.yaml"),
        (("get", "NOPE", "-d", "staging"), "NOPE is not set in env: of dyno.yaml and its overlay staging"),
    ],
)
def test_what_is_refused_changes_nothing(run: Run, tmp_path: Path, argv: tuple[str, ...], says: str) -> None:
    done = run(*argv)
    assert done.returncode == 1 and says in done.stderr and "hunter2" not in done.stderr
    assert (tmp_path / "dyno.yaml").read_text() == MANIFEST and not (tmp_path / ".dyno").exists()


def test_short_forms_and_durations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.ru").write_text("")
    text = MANIFEST.replace("{web: 4}", "{web: {count: 2, stop_timeout: 2m}}")
    Path("dyno.yaml").write_text(text + "app_server: puma\nruby: 3.10\nrollout: {health: {timeout: 5s}}\n")
    manifest, diagnostics = check(Path("dyno.yaml"))
    assert manifest is not None, diagnostics
    assert (manifest.app_server.name, manifest.ruby.version) == ("puma", "~> 3.10.0")
    assert (manifest.dynos["web"].stop_timeout, manifest.rollout.health.timeout) == (120, 5)


def test_a_lost_colon_shows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    from infra.views.diagnostics import render

    for variables in ("  API_KEY hunter2", "  A: 1\n  API_KEY hunter2", "  A: {{ hunter2 }}", "  A: %hunter2"):
        Path("dyno.yaml").write_text(MANIFEST.partition("env:")[0] + f"env:\n{variables}\n")
        manifest, diagnostics = check(Path("dyno.yaml"))
        assert manifest is None and "hunter2" not in render(diagnostics, color=False)


COMMANDS = (
    *(
        ["plan"],
        ["drift"],
        ["ps"],
        ["top"],
        ["logs"],
        ["history"],
        ["releases"],
        ["releases", "show", "v1"],
        ["validate"],
    ),
    *(["doctor"], ["lock", "status"], ["maintenance", "on"], ["config"], ["config", "get"], ["config", "set", "A=1"]),
    *(["scale"], ["scale", "web=2", "--auto-approve"], ["apply", "--auto-approve"], ["destroy", "--auto-approve"]),
    *(["rollback", "--auto-approve"], ["restart"]),
)


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_json_is_printed_for_an_invalid_manifest(argv: list[str], tmp_path: Path, dynoctl: Dynoctl) -> None:
    (tmp_path / "dyno.yaml").write_text(MANIFEST.replace("rackup", "rackpu"))
    done = dynoctl.text(*argv, "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    found = document.get("diagnostics") or document["error"]["diagnostics"]
    assert done.returncode == 3
    assert {"rackpu/3"} <= {f"{one['path']}/{one['location']['line']}" for one in found}


def test_one_cause_on_several_servers_is_said_once() -> None:
    from infra.model.events import Failure, Report

    cause = "cannot take the release: /var/lib/dynoctl/shop: no space left on device: 0.1 MiB free, 9.3 MiB needed"
    failures = [Failure(name, "checks", f"{name}: {cause}", "free some space") for name in ("a-1", "a-2", "a-3")]
    text = report_text.render(
        Report(failures=[*failures, Failure("a-4", "web.1", "a-4: other")]), 1, "Apply", Style(False)
    )
    assert text.count("no space left on device") == text.count("free some space") == 1
    assert f"Failed: a-1, a-2, a-3: {cause}" in text and "Failed: a-4: other" in text


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("env:\n  A:\t1\t# one\n", "env:\n  A:\t2\t# one\n"),
        ("env:\n  B: 1\t\n  A: 1\n", "env:\n  B: 1\t\n  A: 2\n"),
        ("env:\n  A: 1\n  B: |\n    a\n    \tb\n  C:\t1\n", "env:\n  A: 2\n  B: |\n    a\n    \tb\n  C:\t1\n"),
        ("---\nversion: 1\n...\n", "---\nversion: 1\nenv:\n  A: 2\n...\n"),
        ("version: 1\r\n# end\r\n...\r\n", "version: 1\r\n# end\r\nenv:\r\n  A: 2\r\n...\r\n"),
        ("version: 1", "version: 1\nenv:\n  A: 2\n"),
        ("# a\n...\n", None),
    ],
)
def test_tabs_and_the_end_of_a_document(text: str, result: str | None) -> None:
    """A tab is refused by one of the two parsers, and validate uses the other one."""
    if result is None:
        with pytest.raises(DynoctlError):
            set_variable(text, "A", "2", "dyno.yaml")
    else:
        assert set_variable(text, "A", "2", "dyno.yaml") == result


KEEPING = {
    "block": "env: # all\n  # first\n  A: b # one\n  # last\nx-y: 1\n",
    "flow": "env: {A: b, C: d,}\n",
    "flow on lines": "env: {\n  A: b,  # first\n  C: d,  # last\n}\nx-y: 1\n",
    "quoted keys": '"env":\n  "A": b\n  \'C\': d\n',
    "literal": "env:\n  C: d\n  A: |+\n    one\n\n    two\n\nx-y: 1\n",
    "folded": "env:\n  A: >-\n    one\n    two\n  C: d # d\n",
    "plain on lines": "env:\n  A: one\n    two\n  C: d\n",
    "crlf": "env:\r\n  A: |\r\n    one\r\n    two\r\nx-y: 1\r\n",
    "references": "env:\n  A: {from_env: X}\n  C:\n    from_env: Y\n",
    "merge": "x-a: &a {B: c}\nenv:\n  <<: *a\n  A: b\n",
    "anchor": "env: &e\n  A: b\n  C: d\n",
    "complex key": "env:\n  ? A\n  : b\n  C: d\n",
    "no value": "env:\n  A: # none\n  C: d\n",
    "blank lines": "env:\n\n  A: b\n\n  C: d\n\n\nx-y: 1\n",
    "odd characters": 'env:\n  C: "a\x85b\u2028c"\n  A: b\nx-y: \u2603\n',
    "other env": "x-env: {A: z}\nx-o:\n  env:\n    A: q\nenv:\n  A: b\n",
    "tabs": "env:\n  A:\tb\t# c\n",
    "json": '{\n  "version": 1,\n  "env": {\n    "A": "b"\n  }\n}\n',
}


@pytest.mark.parametrize("form", KEEPING)
@pytest.mark.parametrize("entry", ["x", '"a b: c"', "{from_env: N}"])
def test_what_is_set_and_removed_again_leaves_no_trace(form: str, entry: str) -> None:
    text = KEEPING[form]
    added = set_variable(text, "NEW", entry, "dyno.yaml")
    assert unset_variable(added, "NEW", "dyno.yaml") == text
    assert added.replace(f"NEW: {entry}", "", 1) != added
    changed = set_variable(text, "A", entry, "dyno.yaml")
    assert re.findall("#.*", changed) == re.findall("#.*", text), "comments stay"
    assert ("\r\n" in text) is ("\r\n" in changed) and "\n" not in changed.replace("\r\n", "") * ("\r\n" in text)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("K=old # why\n", "K='x' # why\n"),
        ("export K=old\nB=1\n", "export K='x'\nB=1\n"),
        ('  export  K = "a # b"  # why\r\nB=1', "  export  K='x'  # why\r\nB=1"),
        ("K='one\ntwo' # why\nB=1\n", "K='x' # why\nB=1\n"),
        ("K=a#b\n", "K='x'\n"),
        ("K=\n", "K='x'\n"),
        ("\ufeffK=old\n", "\ufeffK='x'\n"),
        ("\ufeff", "\ufeffK='x'\n"),
        ("\ufeffA=1\r\n", "\ufeffA=1\r\nK='x'\r\n"),
        ("A=1\r\n# c", "A=1\r\n# c\r\nK='x'\r\n"),
        ("A=1", "A=1\nK='x'\n"),
        ("\n\n# c\n\nK=old\n\n# d\n", "\n\n# c\n\nK='x'\n\n# d\n"),
    ],
)
def test_a_secret_is_set_and_nothing_else(text: str, result: str) -> None:
    assert edited(text, "K", "x") == result
