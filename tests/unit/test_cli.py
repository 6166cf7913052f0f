"""The command line as a process: exit codes, streams, and no traceback whatever is typed."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from infra.cli import app, apply
from infra.cli.session import PlanOptions
from infra.engine.prepared import StalePlan
from infra.model.invocation import Invocation
from tests.command import SCRIPT, Dynoctl

Run = Callable[..., subprocess.CompletedProcess[str]]

GOOD = """\
version: 1
app: {name: shop, source: .}
rackup: config.ru
dynos: {web: 4}
servers: [{name: one, host: 127.0.0.1, port: 1}]
"""


def checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert "Traceback" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr, "no colour where nobody watches"
    return done


@pytest.fixture
def run(dynoctl: Dynoctl) -> Run:
    return lambda *argv, cwd: checked(dynoctl.text(*argv, cwd=cwd))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dyno.yaml").write_text(GOOD)
    (tmp_path / "config.ru").write_text("run ->(env) { [200, {}, []] }\n")
    return tmp_path


def test_alone_it_shows_its_help(tmp_path: Path, run: Run) -> None:
    script = checked(subprocess.run([SCRIPT], cwd=tmp_path, input="", capture_output=True, text=True))
    for done in (script, run(cwd=tmp_path)):
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: dynoctl")


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["bogus"], 1, "unknown command: bogus"),
        (["plan", "--nope"], 1, "unknown option of dynoctl plan: --nope"),
        (["logs", "-t"], 1, "hint: dynoctl logs -t TYPE; to keep printing new lines: dynoctl logs --follow"),
        (["releases:info"], 1, "hint: dynoctl releases show VERSION\n"),
        (["releases:info", "v3"], 1, "hint: dynoctl releases show v3\n"),
        (["heroku", "dyno:restart", "web.1"], 1, "hint: dynoctl restart web.1\n"),
        (["cap", "staging", "logs"], 1, "hint: dynoctl logs; with the overlay dyno.staging.yaml: -d staging\n"),
        (["cap", "deploy"], 1, "then: dynoctl apply\n"),
        (["config", "--shell"], 1, "hint: dynoctl config get prints NAME=VALUE lines\n"),
        (["maintenance"], 1, "on|off; on shows the maintenance page, off the app; dynoctl ps shows which\n"),
        (["logs", "-n"], 1, "hint: dynoctl logs -n N\n"),
        (["plan"], 3, "dyno.yaml not found"),
        (["validate", "-f", "/"], 3, "/ is a directory"),
        (["apply"], 1, "apply needs approval, and stdin is not a terminal"),
        (["destroy"], 1, "destroy needs approval, and stdin is not a terminal"),
        (["rollback", "v3"], 1, "rollback needs approval, and stdin is not a terminal"),
        (["releases"], 3, "dyno.yaml not found"),
        (["releases", "show"], 1, "missing argument VERSION of dynoctl releases show"),
        (["lock", "status"], 3, "dyno.yaml not found"),
        (["apply", "--lock-timeout", "-1"], 1, "invalid duration for --lock-timeout"),
        (["apply", "--auto-approve", "--force"], 1, "--force requires --evacuate or --forget"),
        (["apply", "--auto-approve", "--with-changes"], 1, "--with-changes requires --evacuate"),
        (["plan", "--force"], 1, "hint: dynoctl plan --evacuate SERVER --force"),
        (["destroy", "--force"], 1, "hint: dynoctl destroy --forget SERVER --force"),
        (["plan", "--with-changes"], 1, "--with-changes requires --evacuate"),
        (["plan", "--refresh-only", "--evacuate", "grid-1"], 1, "--refresh-only can be combined only with"),
        (["plan", "--refresh-only", "--over-rollback"], 1, "--refresh-only can be combined only with"),
        (["apply", "plan", "--forget", "grid-9"], 1, "hint: apply without a saved plan: dynoctl apply --forget grid-9"),
        (["apply", "plan", "--take-over"], 1, "hint: choose these when the plan is made: dynoctl plan --out FILE"),
        (["lab", "ssh", "grid-1", "--name", "no-such-lab"], 1, "lab no-such-lab not found"),
    ],
)
def test_errors(tmp_path: Path, run: Run, argv: list[str], code: int, says: str) -> None:
    done = run(*argv, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


def test_the_list_of_commands_is_not_cut(tmp_path: Path, run: Run) -> None:
    assert "..." not in run("--help", cwd=tmp_path).stdout.partition("Commands:")[2]


def test_validate(project: Path, run: Run) -> None:
    done = run("validate", cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "dyno.yaml is valid: shop, 4 dynos on 1 server.\n", "")
    assert json.loads(run("validate", "--json", cwd=project).stdout) == {
        "format_version": 1,
        "valid": True,
        "diagnostics": [],
    }
    (project / "dyno.yaml").write_text(GOOD.replace("host:", "hots:"))
    done = run("validate", "--json", cwd=project)
    document = json.loads(done.stdout)
    assert (done.returncode, document["valid"], done.stderr) == (3, False, "")
    assert [one["hint"] for one in document["diagnostics"]] == ["did you mean host?"]
    assert document["diagnostics"][0]["location"]["line"] == 5


def test_a_check_that_no_plan_can_pass_stops_plans_alone(project: Path, run: Run) -> None:
    (project / "dyno.yaml").write_text(GOOD + "ssh: {connect_timeout: 1}\nchecks: {min_healthy: {web: 5}}\n")
    for argv in (["validate"], ["plan"], ["apply", "--auto-approve"], ["scale", "web=3", "--auto-approve"]):
        done = run(*argv, cwd=project)
        assert (done.returncode, "min_healthy of web is 5" in done.stderr) == (3, True), argv
    for argv in (["ps"], ["destroy", "--auto-approve"], ["scale"], ["config", "get"]):
        done = run(*argv, cwd=project)
        assert (done.returncode in (0, 4), "min_healthy" in done.stderr) == (True, False), (argv, done.stderr)
    done = run("scale", "web=5", "--auto-approve", cwd=project)  # what cures it
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "dyno.yaml: web 4 -> 5"), done.stderr


def test_an_app_that_cannot_be_read_is_said(project: Path, run: Run) -> None:
    import os

    os.mkfifo(project / "pipe")
    (project / "dyno.yaml").write_text(GOOD + "ssh: {connect_timeout: 1}\n")
    done = run("plan", cwd=project)
    assert done.returncode == 1
    assert "pipe" in done.stderr


def test_help_starts_without_what_only_commands_need() -> None:
    """What is imported is most of the time of ``--help``: 120 of 350 ms were that of reading manifests and servers."""
    program = "import sys; from infra.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True)
    late = {"yaml", "jsonschema", "paramiko", "fabric", "rich", "concurrent.futures.thread", "infra.manifest.model"}
    assert "rebalance" in done.stdout
    assert not {*done.stderr.split()} & (
        late | {"infra.model.resource", "infra.model.provider", "infra.plan.selection"}
    )


@pytest.mark.parametrize(
    ("approved", "waited", "patience", "plans"),
    [(True, True, None, 31), (True, False, None, 5), (True, True, 0.0, 5), (False, True, None, 1)],
)
def test_a_plan_that_goes_stale_is_made_again(
    monkeypatch: pytest.MonkeyPatch, approved: bool, waited: bool, patience: float | None, plans: int
) -> None:
    """Thirty other jobs that apply to the same server, each of which takes the port that was free, fail none."""
    stale = StalePlan("stale plan: grid-1 changed after the plan was made; nothing was applied")
    stale.waited = waited
    made: list[int] = []
    begun: list[int] = []

    def plan(_options: object, _flags: object, _verb: object, _refuse: object, begin: Callable[[], object]) -> None:
        made.append(1)
        begin()
        if len(made) <= 30:
            raise stale
        raise typer.Exit(0)

    monkeypatch.setattr(apply, "_plan_and_apply", plan)
    flags = apply.ApplyFlags(approved, lock_timeout=patience)
    with pytest.raises(typer.Exit if plans == 31 else StalePlan):
        apply.carry_out(PlanOptions(Path("dyno.yaml")), flags, begin=lambda: begun.append(1))
    assert len(made) == plans
    assert len(begun) == 1, "a database is created once, however often it is planned"


@pytest.mark.parametrize(
    ("typed", "command", "arguments"),
    [
        ("scale web=3 --auto-approve", "scale", ("web=3",)),
        ("scale web+1 --auto-approve --with-changes", "scale", ("web=2", "--with-changes")),
        ("rollback v7 --with-changes --auto-approve", "rollback", ("--with-changes",)),
        ("rebalance --auto-approve", "rebalance", ()),
        ("preview up pr-12 --auto-approve", "preview up", ("pr-12",)),
        ("apply --auto-approve", "", ()),
        ("destroy --auto-approve", "", ()),
    ],
)
def test_a_command_tells_its_name_to_the_audit_log(
    typed: str, command: str, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one, it is what the plan is: apply, rollback or destroy."""
    asked: list[Invocation] = []

    def plan(_options: object, flags: apply.ApplyFlags, *_: object) -> None:
        asked.append(flags.invocation)
        raise typer.Exit(1)

    monkeypatch.setattr(apply, "_plan_and_apply", plan)
    (tmp_path / "dyno.yaml").write_text(
        "version: 1\napp: {name: shop, source: .}\nframework: {name: rack, app: Shop}\ndynos: {web: 1}\n"
        "servers: [{name: grid-1, host: 10.0.0.11}]\n"
    )
    (tmp_path / "dyno.preview.yaml").write_text(
        "preview: {host: preview.example.org}\nrouter: {kind: nginx, servers: [grid-1]}\n"
    )
    monkeypatch.chdir(tmp_path)
    app.run(typed.split())
    assert asked == [Invocation(command, arguments)]


@pytest.mark.parametrize(
    ("typed", "shows", "does"),
    [
        ("apply -d staging", "dynoctl plan -d staging", "dynoctl apply -d staging --auto-approve"),
        ("apply -f dyno.yaml", "dynoctl plan,", "dynoctl apply --auto-approve"),
        ("apply -f prod/dyno.yaml", "dynoctl plan -f prod/dyno.yaml", "dynoctl apply -f prod/dyno.yaml --auto-approve"),
        ("apply -f 'my shop.yaml'", "dynoctl plan -f FILE", "dynoctl apply -f FILE --auto-approve"),
        ("rebalance -d staging", "dynoctl plan --rebalance -d staging", "dynoctl rebalance -d staging --auto-approve"),
        ("apply -t grid-2", "dynoctl plan --target grid-2,", "dynoctl apply --target grid-2 --auto-approve"),
        (
            "apply --exclude worker --replace web.1 --over-rollback",
            "dynoctl plan --exclude worker --replace web.1 --over-rollback,",
            "dynoctl apply --exclude worker --replace web.1 --over-rollback --auto-approve",
        ),
        ("apply -t 'web.*'", "dynoctl plan --target PATTERN,", "dynoctl apply --target PATTERN --auto-approve"),
        (
            "apply -d staging --evacuate grid-2 --force",
            "dynoctl plan -d staging --evacuate grid-2 --force,",
            "dynoctl apply -d staging --evacuate grid-2 --force --auto-approve",
        ),
        (
            "apply --forget grid-2 --force -t web",
            "dynoctl plan --target web,",
            "dynoctl apply --forget grid-2 --force --target web --auto-approve",
        ),
        (
            "preview up pr-1 -f prod/dyno.yaml",
            "dynoctl plan -d preview:pr-1 -f prod/dyno.yaml,",
            "dynoctl preview up pr-1 -f prod/dyno.yaml --auto-approve",
        ),
        (
            "preview down pr-1 -f prod/dyno.yaml",
            "dynoctl preview ls -f prod/dyno.yaml,",
            "dynoctl preview down pr-1 -f prod/dyno.yaml --auto-approve",
        ),
        ("destroy -d staging", "run it on a terminal", "dynoctl destroy -d staging --auto-approve"),
        ("rollback v3 -d staging", "run it on a terminal", "dynoctl rollback v3 -d staging --auto-approve"),
    ],
)
def test_what_to_do_without_a_terminal_is_for_the_same_manifest(
    dynoctl: Dynoctl, tmp_path: Path, typed: str, shows: str, does: str
) -> None:
    """A command that is copied from the hint must not change production in place of staging."""
    done = dynoctl.text(*shlex.split(typed), cwd=tmp_path)
    assert done.returncode == 1
    hint = next(line for line in done.stderr.splitlines() if line.startswith("hint: "))
    assert shows in hint and hint.endswith(does)


@pytest.mark.parametrize("json_", [[], ["--json"]])
def test_drift_is_not_refused_for_a_check_that_no_plan_can_pass(project: Path, run: Run, json_: list[str]) -> None:
    """It plans nothing, so it goes as far as the servers: the one of this manifest is unreachable."""
    text = GOOD.replace("one, host", "one, labels: {rack: a}, host") + "checks: {min_healthy: {web: 5}}\n"
    (project / "dyno.yaml").write_text(text)
    assert run("plan", *json_, cwd=project).returncode == 3
    for argv in (("drift",), ("drift", "--detailed-exitcode"), ("plan", "--refresh-only")):
        assert run(*argv, *json_, cwd=project).returncode == 4, argv
    (project / "dyno.yaml").write_text(f"{text}unknown: 1\n")
    assert run("drift", *json_, cwd=project).returncode == 3
