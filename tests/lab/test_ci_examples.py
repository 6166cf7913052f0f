"""The pipelines in the docs, as far as a machine without these services can run them: every command, in a shell."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml

from tests.lab import observer
from tests.lab.support import DYNOCTL, Project

CI = Path(__file__).parents[2] / "docs/ci"
APP = 'App = ->(env) { [200, { "content-type" => "text/plain" }, ["#{ENV["API_KEY"].size}"]] }\n'
SECRET = "hunter2-of-a-pipeline"


@pytest.fixture
def app(fleet: Any, tmp_path: Path) -> Iterator[Project]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.rb").write_text(APP)
    framework = {"name": "rack", "require": "./app", "app": "App"}
    project = Project(tmp_path, fleet, "pipeline", source, framework=framework, app_server={"name": "puma"})
    project.manifest["env"] = {"API_KEY": {"from_env": "SHOP_API_KEY"}}
    project.environment["SHOP_API_KEY"] = SECRET
    project.dynoctl("validate")
    yield project
    project.destroy()


def shell(project: Project, script: str, **environment: str) -> str:
    """Run one step as the service does, with dynoctl installed."""
    path = f"{project.directory}/bin:{DYNOCTL.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=project.directory,
        env={**os.environ, **project.environment, **environment, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done.stdout


def check(project: Project, comment: str) -> None:
    assert comment.startswith("### dynoctl plan: `pipeline`") and SECRET not in comment
    assert (project.directory / "plan.html").read_text().startswith("<!doctype html>")
    assert {project.get(row) for row in project.ps().values()} == {str(len(SECRET))}
    project.settled()


def install_step(service: str) -> str:
    """The commands of one example that set dynoctl up, as far as dynoctl is concerned."""
    example = yaml.safe_load((CI / f"{service}.yml").read_text())
    if service == "github":
        assert example["env"]["DYNOCTL"] == "${{ vars.DYNOCTL }}"
        steps = [step for job in example["jobs"].values() for step in job["steps"]]
        return str(next(step["run"] for step in steps if step.get("name") == "Install dynoctl"))
    return "\n".join(line for line in example["default"]["before_script"] if "dynoctl" in line)


@pytest.mark.parametrize("service", ["github", "gitlab"])
def test_dynoctl_is_installed_from_an_address_and_never_by_its_name(service: str, tmp_path: Path) -> None:
    """Whoever registers a free name on an index is run by everybody who installs it."""
    (tmp_path / "sudo").write_text("#!/bin/sh\n")
    (tmp_path / "pipx").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/said\n')
    for name in ("sudo", "pipx"):
        (tmp_path / name).chmod(0o755)

    def run(**given: str) -> int:
        path = f"{tmp_path}:{os.environ['PATH']}"
        script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", install_step(service)]
        return subprocess.run(
            script, env={"PATH": path, "HOME": str(tmp_path), **given}, stderr=subprocess.PIPE
        ).returncode

    assert run() != 0 and run(DYNOCTL="") != 0
    assert not (tmp_path / "said").exists()
    address = "git+https://git.invalid/ops/dynoctl@v0.1.0"
    assert run(DYNOCTL=address) == 0
    # A direct reference (PEP 508): what is no address is no requirement at all.
    assert (tmp_path / "said").read_text().splitlines() == ["install", f"dynoctl @ {address}"]


@pytest.fixture
def observed(app: Project, fleet: Any) -> Iterator[dict[str, str]]:
    """What the job of a pull request has: the login of the observer, and no secret."""
    app.apply()
    given = observer.install(app, fleet, fleet.names, app.directory)
    given["PATH"] = given["PATH"].partition(":")[0]
    del app.environment["SHOP_API_KEY"]
    yield given
    app.environment["SHOP_API_KEY"] = SECRET
    observer.remove("pipeline", fleet, fleet.names)


def test_github_actions(app: Project) -> None:
    workflow = yaml.safe_load((CI / "github.yml").read_text())
    steps = {step["name"]: step for job in workflow["jobs"].values() for step in job["steps"] if "run" in step}
    assert all("${{" not in step["run"] for step in steps.values()), "what an event holds is no part of a script"
    home = app.directory / "home"
    shell(app, steps["Log in"]["run"], HOME=str(home), SSH_KEY="key", SSH_KNOWN_HOSTS="hosts")
    assert (home / ".ssh/id_ed25519").stat().st_mode & 0o777 == 0o600
    shell(app, steps["Plan to apply"]["run"], GITHUB_STEP_SUMMARY=str(app.directory / "summary"))
    assert "Apply complete" in shell(app, steps["Apply"]["run"], GITHUB_SHA="1f3c8a77b2d0")
    assert "1f3c8a77b2d0" in app.dynoctl("releases").stdout
    check(app, (app.directory / "summary").read_text())


def test_a_pull_request_on_github_gets_no_secret_and_no_root(app: Project, observed: dict[str, str]) -> None:
    workflow = yaml.safe_load((CI / "github.yml").read_text())
    job = workflow["jobs"]["check"]
    steps = {step["name"]: step for step in job["steps"] if "run" in step}
    given = yaml.safe_dump([job, workflow["env"], workflow["permissions"]])
    assert set(re.findall(r"secrets\.(\w+)", given)) == {"OBSERVER_SSH_KEY"}
    assert [name for name, one in workflow["jobs"].items() if "environment" not in one] == ["check"]
    assert all("pull_request" not in one["if"] for name, one in workflow["jobs"].items() if name != "check")
    home = app.directory / "home"
    login = {"SSH_KEY": "key", "SSH_KNOWN_HOSTS": "hosts", "SSH_USER": "observer"}
    shell(app, steps["Log in to observe"]["run"], HOME=str(home), **login)
    assert (home / ".ssh/config").read_text() == "User observer\n"
    (app.directory / "bin").mkdir()
    (app.directory / "bin/gh").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > gh.said\ncp "$7" comment\n')
    (app.directory / "bin/gh").chmod(0o755)
    (app.directory / "bin/ssh").symlink_to(f"{observed['PATH']}/ssh")

    def commented(fork: str) -> tuple[str, str]:
        for name in ("plan.md", "plan.txt", "comment"):
            (app.directory / name).unlink(missing_ok=True)
        shell(
            app, steps["Plan"]["run"], GITHUB_STEP_SUMMARY=str(app.directory / "summary"), FORK=fork, SSH_AUTH_SOCK=""
        )
        shell(app, steps["Comment"]["run"], PULL_REQUEST="7")
        return (app.directory / "comment").read_text(), (app.directory / "status").read_text().strip()

    app.manifest["env"]["NEW"] = "value"
    app.dynoctl("validate")
    comment, status = commented("false")
    assert status == "0" and comment.startswith("### dynoctl plan: `pipeline`") and "variables.NEW" in comment
    said = (app.directory / "gh.said").read_text().split()
    assert said == ["pr", "comment", "7", "--edit-last", "--create-if-none", "--body-file", "plan.md"]
    assert "is valid: pipeline" in commented("true")[0]
    app.manifest["dynos"] = {"web": -1}
    app.write()
    for fork in ("true", "false"):
        comment, status = commented(fork)
        assert status == "3" and "### dynoctl: exit status 3" in comment and "dynos/web" in comment
    app.manifest["dynos"] = {"web": 2}
    app.write()


class Notes(BaseHTTPRequestHandler):
    """Takes comments as GitLab does."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.notes.append((self.path, self.headers["PRIVATE-TOKEN"], parse_qs(body)["body"][0]))  # type: ignore[attr-defined]
        self.send_response(201)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not on the tests' stderr."""


def test_gitlab_ci(app: Project, observed: dict[str, str]) -> None:
    pipeline = yaml.safe_load((CI / "gitlab.yml").read_text())
    assert "merge_request" not in str([pipeline["plan"]["rules"], pipeline["apply"]["rules"]])
    (app.directory / "bin").mkdir()
    (app.directory / "bin/ssh").symlink_to(f"{observed['PATH']}/ssh")
    app.manifest["env"]["NEW"] = "value"
    app.dynoctl("validate")
    server = HTTPServer(("127.0.0.1", 0), Notes)
    server.notes = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    variables = {
        "CI_MERGE_REQUEST_IID": "7",
        "CI_PROJECT_ID": "4711",
        "GITLAB_TOKEN": "token",
        "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}/api/v4",
        "CI_COMMIT_SHA": "1f3c8a77b2d0",
        "OBSERVER_SSH_KEY": "key",
        "SSH_AUTH_SOCK": "",
        "HOME": str(app.directory / "home"),
    }
    (app.directory / "home/.ssh").mkdir(parents=True)
    try:
        shell(app, "\n".join(pipeline["check"]["script"]), **variables)
    finally:
        server.shutdown()
        server.server_close()
    ((path, token, comment),) = server.notes  # type: ignore[attr-defined]
    assert (path, token) == ("/api/v4/projects/4711/merge_requests/7/notes", "token")
    assert comment.startswith("### dynoctl plan: `pipeline`")
    app.environment["SHOP_API_KEY"] = SECRET
    (app.directory / "bin/ssh").unlink()
    summary = shell(app, "\n".join(pipeline["plan"]["script"]), **variables)
    assert "Apply complete" in shell(app, "\n".join(pipeline["apply"]["script"]), **variables)
    check(app, summary.partition("### ")[1] + summary.partition("### ")[2])
