"""Every command ends as it should, whatever the terminal can show and whoever has stopped reading."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli import streams
from tests.command import SCRIPT, Dynoctl

GOOD = """\
version: 1
app: {name: shop, source: .}
rackup: config.ru
env: {WORD: "über ✗ 日本"}
dynos: {web: 4}
servers: [{name: one, host: 127.0.0.1, port: 1}]
ssh: {connect_timeout: 1}
"""
LOCALES = (
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
)
COMMANDS = (
    ("config", 0),
    ("config --json", 0),
    ("schema", 0),
    ("validate", 0),
    ("validate -f bäd-✗.yaml", 3),
    ("validate -f missing-✗.yaml", 3),
    ("plan", 4),
    ("plan --json", 4),
    ("plan --markdown", 4),
    ("apply --auto-approve", 4),
    ("apply --auto-approve --json", 4),
    ("ps", 4),
    ("logs -t ✗", 1),
    ("logs", 4),
    ("restart ✗", 1),
    ("releases", 4),
    ("history", 4),
    ("lock status", 4),
    ("nö", 1),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streams")
    (path / "dyno.yaml").write_text(GOOD, encoding="utf-8")
    (path / "bäd-✗.yaml").write_text("version: 1\nwört-✗: 1\n", encoding="utf-8")
    (path / "config.ru").write_text("run ->(env) { [200, {}, []] }\n")
    return path


def checked(done: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[bytes]:
    for text in (done.stdout, done.stderr):
        assert b"Traceback" not in text and b"internal error" not in text and b"Exception ignored" not in text, text
    return done


@pytest.mark.parametrize(("line", "code"), COMMANDS)
def test_a_terminal_that_cannot_show_a_character_changes_no_exit_code(
    project: Path, dynoctl: Dynoctl, line: str, code: int
) -> None:
    locale = LOCALES[COMMANDS.index((line, code)) % len(LOCALES)]
    if "LC_ALL" in locale:  # it decides also how the interpreter reads arguments and names of files
        env = {**os.environ, **locale}
        done = subprocess.run([SCRIPT, *line.split()], cwd=project, env=env, input=b"", capture_output=True)
    else:
        done = dynoctl(*line.split(), cwd=project, **locale)
    assert checked(done).returncode == code, locale


def test_what_a_terminal_cannot_show_is_escaped_and_our_symbols_are_ascii() -> None:
    raw = io.BytesIO()
    before = sys.stdout
    sys.stdout = io.TextIOWrapper(raw, encoding="latin-1", write_through=True)
    try:
        streams.prepare()
        sys.stdout.write("✗ ↻ über … 日 \udcff\n")
    finally:
        sys.stdout.detach()
        sys.stdout = before
    assert raw.getvalue().decode("latin-1") == "x @ über ... \\u65e5 \\udcff\n"


@pytest.mark.parametrize(
    ("line", "closed", "code"),
    [
        ("config", "<&-", 0),
        ("config", ">&-", 0),
        ("config", "2>&-", 0),
        ("config", ">/dev/full", 1),
        ("schema", "2>/dev/full", 0),
        ("apply", "<&-", 1),
        ("apply --auto-approve", ">&-", 4),
        ("apply --auto-approve", "<&- >&- 2>&-", 4),
        ("apply --auto-approve --json", ">/dev/full", 4),
        ("nope", "2>&-", 1),
        ("nope", "2>/dev/full", 1),
        ("", ">/dev/full", 1),
    ],
)
def test_a_closed_or_full_stream_is_no_crash(project: Path, line: str, closed: str, code: int) -> None:
    done = subprocess.run(["sh", "-c", f'"$0" {line} {closed}', SCRIPT], cwd=project, capture_output=True, text=True)
    assert not re.search("Traceback|internal error|Exception ignored", done.stdout + done.stderr), done
    assert done.returncode == code, done


@pytest.mark.parametrize("line", ["config", "schema", "apply --auto-approve --json"])
def test_a_reader_that_leaves_is_no_crash(project: Path, line: str) -> None:
    script = f'{{ "$0" {line}; echo $? >&3; }} 3>&2 2>&1 | :'
    done = subprocess.run(["sh", "-c", script, SCRIPT], cwd=project, capture_output=True, text=True)
    assert done.stderr.strip() in ("0", "1", "4"), done.stderr


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("apply --json", 1, "apply needs approval, and --json was given"),
        ("destroy --json", 1, "destroy needs approval"),
        ("apply --auto-approve --json -f bäd-✗.yaml", 3, "errors in the manifest"),
        ("rollback --auto-approve --json", 1, "no server is reachable"),
        ("scale web=x --auto-approve --json", 1, "invalid count"),
        ("restart nope --json", 1, "nope matches no running dyno"),
        ("apply --json --nope", 1, "unknown option of dynoctl apply: --nope"),
    ],
)
def test_json_output_ends_with_a_report(project: Path, dynoctl: Dynoctl, line: str, code: int, says: str) -> None:
    done = checked(dynoctl(*line.split(), cwd=project))
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["type"], last["exit_code"], last["ok"]) == ("report", code, False) and done.returncode == code
    assert says in last["error"]["summary"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_json_output_ends_with_a_report_after_a_signal(project: Path, tmp_path: Path, number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        manifest = (project / "dyno.yaml").read_text("utf-8").replace("port: 1}", f"port: {silent.getsockname()[1]}}}")
        (tmp_path / "dyno.yaml").write_text(manifest.replace("source: .", f"source: {project}"), encoding="utf-8")
        argv = [SCRIPT, "apply", "--auto-approve", "--json"]
        process = subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with silent.accept()[0]:
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
    last = json.loads(out.splitlines()[-1])
    assert (last["type"], last["exit_code"]) == ("report", process.returncode)
    assert process.returncode == 128 + number and "Traceback" not in err


LONG = """
import sys
from infra.cli import fail, streams
from infra.views import plan_json, stream_json

argv = ["apply", "--json"]
streams.prepare()
fail.report_signals(argv)
plan_json.line_chunks = lambda *_: ("x" * 50_000 for _ in range(100))
try:
    stream_json.write_plan(None, {})
except BaseException as error:
    sys.exit(streams.finish(fail.report(error, argv)))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_report_is_a_line_of_its_own_if_a_signal_cuts_the_plan_off(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LONG], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None and process.stdout.read(1000) == "x" * 1000
    process.send_signal(number)  # the plan does not fit into the pipe, so it waits in the middle of it
    out, _ = process.communicate(timeout=60)
    cut, last = out.splitlines()
    assert set(cut) == {"x"}
    assert json.loads(last)["exit_code"] == process.returncode == 128 + number
