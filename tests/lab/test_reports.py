"""What each app server says of a release that fails, and what a browser gets of one that changes static files."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from infra import manifest
from infra.engine.failure_report import DEADLINE, Limits, detail
from infra.fleet.inventory import targets
from infra.manifest.model import Rollout
from infra.model.provider import Scope
from infra.model.shell import StepFailed
from infra.registry import Everything
from infra.remote.session import Session
from tests.lab.support import WAIT, Project

APP = """\
require "sinatra/base"

module Shop
  class Down < StandardError; end

  def self.work
    raise Down, "no till"
  end
end

case ENV["WAY"]
when "raise" then raise "broken"
when "gem" then require "no_such_gem"
when "syntax" then require "./broken"
when "exit" then exit!(3)
when "memory" then "x" * (1 << 30)
end

class Site < Sinatra::Base
  get("/") { raise ArgumentError, "bad page" }
  set :public_folder, "public" # for Sinatra a file is unchanged if it is not newer
end

FILES = Rack::Files.new("public") # and for Rack if it is as old

App = lambda do |env|
  return FILES.call(env) if env["PATH_INFO"].end_with?(".css")
  return Site.call(env) if env["PATH_INFO"].end_with?(".js")

  puts "asked for #{env["PATH_INFO"]}"
  case ENV["WAY"]
  when "request" then Shop.work
  when "page" then Site.call(env)
  when "hang" then sleep
  else [200, { "content-type" => "text/plain" }, ["fine"]]
  end
end
"""

MEMORY = "killed by SIGKILL, as the kernel does at the memory limit of 256 MiB (dynos.web.memory: 256M)"
AT_ONCE = "exited with status 1 before it answered a request"

WAYS = {
    "raise": (AT_ONCE, "RuntimeError: broken (app.rb:12)"),
    "gem": (AT_ONCE, "LoadError: cannot load such file -- no_such_gem (app.rb:13)"),
    "syntax": (AT_ONCE, "SyntaxError: "),
    "request": ("GET / answered 500", "Shop::Down: no till (app.rb:7)"),
    "page": ("GET / answered 500", "ArgumentError: bad page (app.rb:20)"),
    "memory": (MEMORY, ""),
    "hang": ("no answer to GET /, and no healthy answer came within 5 s (rollout.healthy_deadline: 5)", ""),
    "exit": ("exited with status ", ""),
}
"""By way to fail, the cause and the exception; "" if there is none."""

FILES = ("changes.css", "stays.css", "changes.js", "stays.js")

SERVERS = {"thin": "grid-1", "puma": "grid-2", "unicorn": "grid-3"}


@pytest.fixture(scope="module")
def projects(fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Project]]:
    """An app that works, for each app server on a server of its own."""
    source = tmp_path_factory.mktemp("source")
    (source / "app.rb").write_text(APP)
    (source / "broken.rb").write_text("def x(\nend\n")
    (source / "public").mkdir()
    for file in FILES:
        (source / "public" / file).write_text("first")
    made = {}
    for name, server in SERVERS.items():
        framework = {"name": "rack", "require": "./app", "app": "App"}
        made[name] = Project(
            tmp_path_factory.mktemp(name), fleet, f"why-{name}", source, framework=framework, app_server={"name": name}
        )
        made[name].manifest |= {**fleet.inventory(server), "dynos": {"web": {"count": 1, "memory": "256M"}}}
        made[name].manifest["env"] = {"WAY": "none"}
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda project: project.apply(), made.values()))
    yield made
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda project: project.destroy(), made.values()))


def reports(project: Project) -> dict[str, list[str]]:
    """The lines of the report of a candidate by the way in which it fails. Only the env file differs, so each candidate
    boots from the slug of the app that works, without an apply around it."""
    registry, found = Everything(), {}
    model = manifest.read(project.directory / "dyno.yaml", None)
    session = Session(targets(model)[0])
    try:
        shell = session.shell(model.app.name, "a test").take()
        for way in WAYS:
            rollout = Rollout(healthy_deadline=5) if way == "hang" else Rollout()
            failing, stack = replace(model, rollout=rollout), registry.stack(model)
            scope = Scope(model.app.name, secrets.token_hex(16), {"web": {"WAY": way}})
            trial = registry.candidate(failing, stack, registry.slug(model, stack), session.name, scope)
            try:
                shell.run(trial.commands)
                found[way] = ["healthy"]
            except StepFailed as error:
                limits = Limits(rollout.healthy_deadline, DEADLINE, model.types["web"])
                found[way] = detail(error.output, limits).splitlines()
    finally:
        session.close()
    return found


def test_a_report_names_the_exception(projects: dict[str, Project]) -> None:
    """The first line is what was asked and answered, or how it ended; the second is the exception, with the line of the
    app: with the summary above them, the first three lines of a report."""
    with ThreadPoolExecutor() as pool:
        results = dict(zip(projects, pool.map(reports, projects.values()), strict=True))
    wrong = [
        f"{server}, {way}:\n" + "\n".join(lines)
        for server, found in results.items()
        for way, lines in found.items()
        if not lines[0].startswith(WAYS[way][0]) or WAYS[way][1] not in [*lines, ""][1]
    ]
    assert not wrong, "\n".join(wrong)


def test_a_release_keeps_its_report(projects: dict[str, Project]) -> None:
    project = projects["puma"]
    project.manifest["env"] = {"WAY": "request"}
    said = project.apply(code=5).stdout
    report = "  | GET / answered 500\n  | Shop::Down: no till (app.rb:7)\n"
    assert f"Failed: release rejected: its candidate did not become healthy on grid-2\n{report}" in said
    newest = json.loads(project.dynoctl("releases", "--json").stdout)["releases"][-1]
    shown = project.dynoctl("releases", "show", f"v{newest['number']}").stdout
    assert "  Result       rejected" in shown and report in shown
    project.manifest["env"] = {"WAY": "none"}


def fetched(project: Project, file: str, since: str = "") -> tuple[int, str, str]:
    """A request for a static file by a browser that may have it: status, Last-Modified, body."""
    row = project.ps()["web.1"]
    request = urllib.request.Request(f"http://{row['listen']}:{row['port']}/{file}")
    if since:
        request.add_header("If-Modified-Since", since)
    try:
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            return answer.status, answer.headers["Last-Modified"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Last-Modified", ""), ""


def test_a_browser_gets_static_files_that_changed_and_keeps_the_others(projects: dict[str, Project]) -> None:
    """The next release is made by another person, with a cache of their own. A changed file is as long as before."""
    project = projects["thin"]
    before = {file: fetched(project, file) for file in FILES}
    assert {(status, body) for status, _, body in before.values()} == {(200, "first")}
    for file in FILES:
        if file.startswith("changes"):
            (project.source / "public" / file).write_text("later")
    project.environment["XDG_CACHE_HOME"] = str(project.directory / "other-cache")
    project.apply()
    project.settled()
    after = {file: fetched(project, file, since) for file, (_, since, _) in before.items()}
    assert {file: (status, body) for file, (status, _, body) in after.items()} == {
        "changes.css": (200, "later"),
        "stays.css": (304, ""),
        "changes.js": (200, "later"),
        "stays.js": (304, ""),
    }
    assert parsedate_to_datetime(after["changes.css"][1]) > parsedate_to_datetime(before["changes.css"][1])
    # A server that is added later, by somebody else, has the same image.
    project.environment["XDG_CACHE_HOME"] = str(project.directory / "third-cache")
    project.manifest |= {
        **project.fleet.inventory("grid-1", "grid-2"),
        "dynos": {"web": {"count": 3, "memory": "256M"}},  # more than fit a server that is as loaded as the other
    }
    project.apply()
    digest = "sha256sum /var/lib/dynoctl/why-thin/slugs/*.squashfs | sort"
    first, second = (set(project.fleet.exec(name, "sh", "-c", digest).stdout.split()) for name in ("grid-1", "grid-2"))
    assert second and second <= first


def test_a_worker_is_healthy_once_its_command_says_so(projects: dict[str, Project]) -> None:
    project = projects["unicorn"]
    worker: dict[str, Any] = {"command": "touch /tmp/up; sleep infinity", "health": {"command": "test -e /tmp/never"}}
    project.manifest["dynos"]["worker"] = worker
    project.manifest["rollout"] = {"healthy_deadline": 5}
    said = project.apply(code=5).stdout
    assert "  | did not become healthy within 5 s (rollout.healthy_deadline: 5)\n" in said
    assert list(project.ps()) == ["web.1"]
    worker["health"] = {"command": ["test", "-e", "/tmp/up"]}  # it sees the files of the dyno
    project.manifest["rollout"] = {}
    project.apply()
    project.settled()
    assert project.ps()["worker.1"]["state"] == "up"
