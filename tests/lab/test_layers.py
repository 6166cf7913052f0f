"""Every layer on real servers: each app server with each framework, databases, caches, middleware, workers."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.support import APPS, DYNOCTL, STARTERS, Project, eventually

FRAMEWORKS: dict[str, dict[str, Any]] = {
    "rails": {"name": "rails"},
    "sinatra": {"name": "sinatra", "require": "./app", "app": "Shop"},
    "rack": {"name": "rack", "require": "./app", "app": "App"},
}

# Which the app has for its own, and which its middleware: every app server sees all four.
BACKINGS = {
    "thin": (("postgresql", "redis"), ("mariadb", "memcached")),
    "puma": (("mysql", "memcached"), ("postgresql", "redis")),
    "unicorn": (("postgresql", "memcached"), ("mysql", "redis")),
}

HOSTILE = [
    "quote \" and ' and `touch /tmp/owned`",
    "#{system('touch /tmp/owned')} #$0 $(id)",
    "\nMANIFEST\nsystem('touch /tmp/owned')\n",
    "é ☃ 🦆 \u2028 \u0085 \u0000 \r\n\t",
    "\\ \\\\ \\n %s %n 100%",
    2**62,
    -1.5e300,
    True,
    None,
    [1, {"a": ["b"]}],
]

WORKERS = {
    "rails": "bin/rails runner worker.rb",
    "sinatra": "ruby worker.rb",
}


def files(fleet: Any) -> dict[str, dict[str, Any]]:
    """Each service as a manifest says it: by URL from a file, and by its parts."""
    mysql = fleet.url("mysql_url").removeprefix("mysql2://")
    user, password = mysql.partition("@")[0].split(":")
    host, name = mysql.partition("@")[2].split("/")
    parts = {"adapter": "mariadb", "host": host, "name": name, "user": user, "password": password}
    return {
        "postgresql": {"adapter": "postgresql", "url": {"from_file": str(fleet.path / "database_url")}},
        "mysql": {"adapter": "mysql", "url": {"from_file": str(fleet.path / "mysql_url")}},
        "mariadb": parts,
        "redis": {"adapter": "redis", "url": {"from_file": str(fleet.path / "cache_url")}},
        "memcached": {"adapter": "memcached", "host": host},
    }


@pytest.fixture
def make(fleet: Any, tmp_path: Path) -> Iterator[Any]:
    made: list[Project] = []

    def project(starter: str, server: str, **keys: Any) -> Project:
        (database, cache), (other, pages) = BACKINGS[server]
        known = files(fleet)
        project = Project(
            tmp_path / f"{starter}-{server}",
            fleet,
            f"{starter}-{server}",
            STARTERS / starter,
            app_server={"name": server},
            framework=FRAMEWORKS[starter],
            database=known[database],
            cache=known[cache],
            databases={"other": known[other]},
            caches={"pages": known[pages]},
            **keys,
        )
        project.manifest["dynos"] = {"web": 1}
        if starter == "rails":
            project.manifest["env"] = {"SECRET_KEY_BASE": {"from_env": "KEY"}}
            project.environment["KEY"] = secrets.token_hex(64)
            project.manifest["app"]["build"] = ["SECRET_KEY_BASE=none bin/rails assets:precompile"]
            project.manifest["builder"] = "grid-1"
            project.manifest["release_command"] = "bin/rails db:migrate"
        shutil.copy(APPS / "layers/layers_probe.rb", project.source)
        made.append(project)
        return project

    yield project
    for one in made:
        one.destroy()
        if "volumes" in one.manifest:  # destroy keeps them
            name = one.manifest["app"]["name"]
            fleet.exec("grid-1", "sh", "-c", f"rm -rf /var/lib/dynoctl-volumes/{name}; groupdel dyno-{name}")


def ask(row: Any, method: str, path: str, body: str | None = None) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection(row["listen"], row["port"], timeout=60)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {key.lower(): value for key, value in answer.getheaders()}
    finally:
        connection.close()


MATRIX = [(starter, server) for starter in sorted(FRAMEWORKS) for server in sorted(BACKINGS)]
LONG = {("rails", "thin"), ("rails", "unicorn")}  # Rails is the same with each, and slow to boot


@pytest.mark.parametrize(
    ("starter", "server"), [pytest.param(*one, marks=[pytest.mark.soak] if one in LONG else []) for one in MATRIX]
)
def test_the_matrix(make: Any, starter: str, server: str, capsys: pytest.CaptureFixture[str]) -> None:
    project = make(starter, server)
    probe = {"require": "./layers_probe"}
    project.manifest["middleware"] = [
        {"use": "Mark", "args": ["outer"], **probe},
        {"use": "Hot", "options": {"path": "/hot"}, **probe},
        {"use": "Tell", "args": HOSTILE, "options": {"all": HOSTILE}, **probe},
        {"use": "Backings", **probe},
        {"map": "/one", "app": "One", **probe},
        {"map": "/two", "app": "Two", **probe},
        {"use": "Mark", "args": ["inner"], **probe},
    ]
    project.apply()
    project.settled()
    row = project.ps()["web.1"]

    status, text, headers = ask(row, "GET", "/up")
    assert (status, text, headers["x-chain"]) == (200, "up\n", "outer,inner")
    before = int(ask(row, "GET", "/visits")[1].split()[0])
    status, number, _ = ask(row, "POST", "/visits")
    assert status == 201
    assert int(number) >= 1
    with ThreadPoolExecutor(8) as pool:  # Puma answers them in threads, which share what the app has opened
        many = [*pool.map(lambda _: ask(row, "GET", "/visits")[:2], range(80))]
    assert {*many} == {(200, f"{before + 1} visits\n")}
    word = secrets.token_hex(8)
    assert ask(row, "PUT", f"/notes/{word}", f"note {word}")[0] in (200, 204)
    assert ask(row, "GET", f"/notes/{word}")[1] == f"note {word}"
    assert ask(row, "GET", "/notes/none")[0] == 404
    assert ask(row, "GET", f"/backings?{word}")[1] == f"{word} {word}\n"

    told = json.loads(ask(row, "GET", "/told")[1])
    assert told == {"args": HOSTILE, "options": {"all": HOSTILE}}
    one, two = ask(row, "GET", "/one")[1].split(), ask(row, "GET", "/two")[1].split()
    assert (one[0], two[0]) == ("one", "two")
    if server == "unicorn":
        assert one[1] == two[1]
    else:
        assert one[1] == two[1] == str(row["pid"])

    status, text, headers = ask(row, "GET", "/hot")
    assert (status, text, headers["x-chain"]) == (200, "hot\n", "outer"), "it never came to the framework"
    hot, cold = rate(row, "/hot"), rate(row, "/up")
    with capsys.disabled():
        print(
            f"\n{starter} on {server}: middleware answers {hot:.0f}, the framework {cold:.0f} requests/s: {hot / cold:.2f}x"
        )


def rate(row: Any, path: str, seconds: float = 0.8) -> float:
    """Requests a second over one connection."""
    connection = http.client.HTTPConnection(row["listen"], row["port"], timeout=60)
    count, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        connection.request("GET", path)
        connection.getresponse().read()
        count += 1
    connection.close()
    return count / (time.monotonic() - began)


@pytest.mark.parametrize("starter", ["rails", pytest.param("sinatra", marks=pytest.mark.soak)])
def test_a_worker_consumes_a_real_queue(make: Any, fleet: Any, starter: str) -> None:
    project = make(starter, "thin")
    project.manifest["dynos"] = {"web": 1, "worker": {"count": 2, "command": WORKERS[starter], "memory": "300M"}}
    project.apply()
    project.settled()
    rows = project.ps()
    assert {name: row["port"] for name, row in rows.items()} == {
        "web.1": rows["web.1"]["port"],
        "worker.1": 0,
        "worker.2": 0,
    }
    assert all(row["state"] == "up" for row in rows.values())
    words = [secrets.token_hex(4) for _ in range(20)]
    queue(fleet, "lpush", "jobs", *words)
    done = eventually(lambda: all(queue(fleet, "get", f"done:{word}") for word in words) and True)
    assert done
    assert queue(fleet, "get", f"done:{words[0]}").startswith(words[0][::-1])
    name = f"{project.manifest['app']['name']}-worker.1"
    log = ("journalctl", "-q", "--namespace=*", "-o", "cat", "-t", name)
    eventually(lambda: "worker.1 is waiting for jobs" in fleet.exec(rows["worker.1"]["server"], *log).stdout)

    # Told to stop, it ends what it is at and says so; a command that ends is not a dyno that stays up.
    project.manifest["dynos"]["worker"]["count"] = 1
    project.apply()
    assert list(project.ps()) == ["web.1", "worker.1"]
    project.manifest["dynos"]["worker"]["command"] = "echo this is the end; exit 3"
    done = project.apply(code=5)
    assert "this is the end" in done.stdout
    assert "Reverted to what ran before: worker.1." in done.stdout


def queue(fleet: Any, *words: str) -> str:
    return str(fleet.exec("data", "redis-cli", *words).stdout.strip())


def test_any_rack_framework_runs(fleet: Any, tmp_path: Path) -> None:
    """Grape, as Debian packages it: no file of ours knows its name."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "api.rb").write_text(
        'require "grape"\nclass Api < Grape::API\n  format :json\n  get(:hello) { { to: params[:to], at: ENV["DYNO"] } }\nend\n'
    )
    framework = {"name": "rack", "require": "./api", "app": "Api"}
    project = Project(
        tmp_path, fleet, "grape", source, framework=framework, app_server={"name": "puma"}, packages=["ruby-grape"]
    )
    project.manifest["dynos"] = {"web": 1}
    try:
        project.apply()
        status, text, _ = ask(project.ps()["web.1"], "GET", "/hello?to=you")
        assert (status, json.loads(text)) == (200, {"to": "you", "at": "web.1"})
        project.settled()
    finally:
        project.destroy()


@pytest.mark.parametrize("server", ["puma"])  # the contract of all app servers has the same, without Rails
def test_the_apps_own_rackup_wrapped_by_the_chain(make: Any, server: str) -> None:
    project = make("rails", server)
    project.manifest["rackup"] = "config.ru"
    project.manifest["middleware"] = [{"use": "Mark", "args": ["around"], "require": "./layers_probe"}]
    project.apply()
    status, text, headers = ask(project.ps()["web.1"], "GET", "/up")
    assert (status, text, headers["x-chain"]) == (200, "up\n", "around")


PRODUCTION = """\
Rails.application.configure do
  config.eager_load = true
  config.assets.compile = false
  config.public_file_server.enabled = false
  config.active_storage.service = :local
end
"""

BLOBS = """\
class CreateBlobs < ActiveRecord::Migration[6.1]
  def change
    create_table :active_storage_blobs do |t|
      %i[key filename content_type checksum service_name].each { |name| t.string name }
      t.text :metadata
      t.bigint :byte_size
      t.datetime :created_at
    end
  end
end
"""

HEALTH = """\
class Rails::HealthController < ActionController::Base
  def show
    head :ok
  end
end
"""


def test_rails_as_it_comes(make: Any, fleet: Any) -> None:
    """A production.rb that knows nothing of dynos, a SQLite database and Active Storage in a volume, a console."""
    project = make("rails", "puma")
    source, manifest = project.source, project.manifest
    (source / "config/environments/production.rb").write_text(PRODUCTION)
    (source / "config/storage.yml").write_text('local:\n  service: Disk\n  root: <%= Rails.root.join("storage") %>\n')
    (source / "app/controllers/rails").mkdir()
    (source / "app/controllers/rails/health_controller.rb").write_text(HEALTH)
    for file, old, new in (
        ("application", 'require "sprockets', 'require "active_storage/engine"\nrequire "sprockets'),
        ("routes", "  root", '  get "up" => "rails/health#show"\n  root'),
    ):
        path = source / f"config/{file}.rb"
        path.write_text(path.read_text().replace(old, new))
    (source / "db/migrate/20260101000000_create_blobs.rb").write_text(BLOBS)
    manifest["dynos"]["web"] = 2
    manifest["servers"] = manifest["servers"][:1]
    manifest["volumes"] = [{"name": "storage", "path": "storage"}]
    manifest["database"] = {"adapter": "sqlite", "path": "storage/production.sqlite3"}
    assert "migrated" in project.apply().stdout, "the schema is not written to the slug, which is read-only"
    row = project.ps()["web.1"]
    _, page, _ = ask(row, "GET", "/")
    assert "Hello from web.1" in page
    style = page.partition('href="')[2].partition('"')[0]
    assert style.startswith("/assets/application-")
    status, text, _ = ask(row, "GET", style)
    assert (status, "font:" in text) == (200, True)
    log = fleet.exec(row["server"], "journalctl", "-q", "--namespace=*", "-o", "cat", "-t", "rails-puma-web.1").stdout
    assert 'Started GET "/"' in log, "its log is the journal"
    assert 'Started GET "/up"' in log, "the health check of Rails itself is the default"
    assert project.environment["KEY"] not in log
    rows = project.ps().values()
    unit = [
        fleet.exec(row["server"], "sh", "-c", f"tr '\\0' '\\n' < /proc/{row['pid']}/environ").stdout for row in rows
    ]
    assert all(f"SECRET_KEY_BASE={project.environment['KEY']}" in text for text in unit), "all dynos share it"

    store = 'blob = ActiveStorage::Blob.create_and_upload!(io: StringIO.new("kept"), filename: "a.txt")'
    show = "puts Rails.application.routes.url_helpers.rails_storage_proxy_path(blob, only_path: true)"
    typed = f"{store}; {show}; Visit.create!; puts Visit.count\nexit\n"
    console = project.dynoctl("run", "--", "bin/rails", "console", stdin=typed).stdout
    found = re.search(r"/rails/active_storage/blobs/proxy/\S+", console)
    assert found is not None, console
    assert ask(row, "GET", found[0])[:2] == (200, "kept"), "what a console stores, a web dyno sends"
    assert ask(row, "POST", "/visits")[0] == 201, "and it writes to the database that the console wrote to"


@pytest.mark.parametrize("framework", sorted(FRAMEWORKS))
def test_from_init_to_a_running_app(fleet: Any, tmp_path: Path, framework: str) -> None:
    """What a newcomer does: init, put servers in, apply. Nothing else is edited."""
    directory = tmp_path / f"new-{framework}"
    subprocess.run([DYNOCTL, "init", "--framework", framework, directory], check=True, capture_output=True)
    file = directory / "dyno.yaml"
    hosts = {"192.0.2.11": fleet.address("grid-1"), "# - {name: server-2, host: 192.0.2.12}": ""}
    text = file.read_text().replace("ssh: {user: root}", yaml.safe_dump({"ssh": fleet.inventory()["ssh"]}))
    for old, new in hosts.items():
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)

    def run(*words: str, code: int = 0) -> str:
        environment = {**os.environ, "DATABASE_URL": fleet.url("database_url")}
        done = subprocess.run(
            [DYNOCTL, *words], cwd=directory, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    try:
        run("validate")
        run("apply", "--auto-approve")
        rows = {row["dyno"]: row for row in json.loads(run("ps", "--json"))["dynos"]}
        assert list(rows) == ["web.1", "web.2"]
        assert all(ask(row, "GET", "/up")[:2] == (200, "up\n") for row in rows.values())
        assert all(name in ask(row, "GET", "/")[1] for name, row in rows.items())
        if framework != "rails":
            assert ask(rows["web.1"], "GET", "/visits")[0] == 503, "without a database it says so"
        assert run("plan", "--detailed-exitcode").startswith("No changes.")
    finally:
        run("destroy", "--auto-approve")


def test_a_ruby_of_ones_own(fleet: Any, tmp_path: Path) -> None:
    """A Ruby below /opt, with its own programs beside it; where it is missing or another version, the plan says so."""
    source = tmp_path / "source"
    source.mkdir()
    tell = '[RbConfig.ruby, ENV["PATH"], `ruby -e "print 42"`]'
    (source / "app.rb").write_text(f"App = ->(env) {{ [200, {{}}, [{tell}.join(' ')]] }}\n")
    framework = {"name": "rack", "require": "./app", "app": "App"}
    ruby = {"version": ">= 3.1", "path": "/opt/ruby-test/bin/ruby"}
    project = Project(tmp_path, fleet, "own-ruby", source, framework=framework, ruby=ruby, dynos={"web": 1})
    make = (
        "mkdir -p /opt/ruby-test/bin && cd /opt/ruby-test/bin && cp -L /usr/bin/ruby ruby && cp /usr/bin/thin thin && "
        "sed -i '1s,.*,#!/nowhere/ruby,' thin"
    )
    try:
        done = project.dynoctl("plan", code=1)
        assert "grid-1: no MRI Ruby found at /opt/ruby-test/bin/ruby" in done.stderr
        for name in fleet.names:
            fleet.exec(name, "sh", "-c", make)
        project.manifest["ruby"]["version"] = "~> 3.3"
        done = project.dynoctl("plan", code=1)
        assert re.search(r"grid-2: ruby 3\.1\.\d does not satisfy ruby.version", done.stderr)
        project.manifest["ruby"]["version"] = "~> 3.1"
        assert "/package." not in project.dynoctl("plan").stdout, "its gems are its owner's"
        project.apply()
        text = ask(project.ps()["web.1"], "GET", "/")[1]
        assert "/opt/ruby-test/bin:/usr/local/sbin:" in text
        assert text.endswith(" 42")
        project.settled()
    finally:
        project.destroy()
        for name in fleet.names:
            fleet.exec(name, "rm", "-r", "/opt/ruby-test", check=False)


def test_writable_directories_are_a_dynos_own_and_nothing_else_is(fleet: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "public").mkdir(parents=True)
    (source / "app.rb").write_text(
        "App = lambda do |env|\n"
        "  path = env['PATH_INFO'].delete_prefix('/')\n"
        "  File.write(path, Process.pid.to_s) if env['REQUEST_METHOD'] == 'POST'\n"
        "  [200, {}, [File.read(path)]]\n"
        "rescue SystemCallError => error\n"
        "  [403, {}, [error.class.name]]\n"
        "end\n"
    )
    framework = {"name": "rack", "require": "./app", "app": "App"}
    project = Project(tmp_path, fleet, "writes", source, framework=framework, dynos={"web": 2})
    seeded = project.source / "public/seeded"
    seeded.mkdir()
    (seeded / "x").write_text("of v1")
    writable = ["tmp", "public/up/loads", {"path": "public/seeded", "seed": True, "size": "1M"}]
    project.manifest["app"]["writable"] = writable
    project.manifest["servers"] = project.manifest["servers"][:1]
    try:
        # A candidate is asked for /, which is no file.
        project.apply()
        one, two = project.ps().values()
        for path in ("/tmp/x", "/public/up/loads/x"):
            assert ask(one, "POST", path)[:2] == (200, str(one["pid"]))
            assert ask(one, "GET", path)[1] == str(one["pid"])
            assert ask(two, "GET", path)[:2] == (403, "Errno::ENOENT"), "the other one has its own"
        for path in ("/x", "/public/x", "/public/up/x", "/app.rb", "/.dynoctl/x"):
            assert ask(one, "POST", path)[:2] == (403, "Errno::EROFS"), path

        # One that is filled from the slug is a dyno's own as well, until the next release brings its files.
        assert ask(one, "GET", "/public/seeded/x")[1] == ask(two, "GET", "/public/seeded/x")[1] == "of v1"
        assert ask(one, "POST", "/public/seeded/x")[1] == str(one["pid"])
        assert ask(two, "GET", "/public/seeded/x")[1] == "of v1"
        shown = project.dynoctl("run", "--", "cat public/seeded/x; echo; df --output=size -k public/seeded").stdout
        assert shown.split() == ["of", "v1", "1K-blocks", "1024"]
        project.settled()
        (seeded / "x").write_text("of v2")
        project.apply()
        assert ask(project.ps()["web.1"], "GET", "/public/seeded/x")[1] == "of v2"
        (seeded / "large").write_bytes(os.urandom(2 << 20))
        rejected = project.apply(code=5).stdout
        assert "cannot fill public/seeded with the files of the slug: see app.writable" in rejected
    finally:
        project.destroy()


def test_validate_online_says_who_cannot_reach_what(make: Any, fleet: Any) -> None:
    project = make("sinatra", "thin")
    done = project.dynoctl("validate", "--online")
    services = 4 * len(fleet.names)
    assert f"{services} of {services} connections work." in done.stdout
    assert done.stdout.count("login succeeded") == 3 * len(fleet.names)
    password = project.manifest["databases"]["other"]["password"]
    project.manifest["databases"]["other"]["password"] = "wrong-" + password
    project.manifest["caches"]["pages"]["port"] = 11999
    done = project.dynoctl("validate", "--online", code=1)
    assert "Access denied" in done.stdout
    assert "Connection refused" in done.stdout
    assert password not in done.stdout + done.stderr
    document = json.loads(project.dynoctl("validate", "--online", "--json", code=1).stdout)
    bad = {answer["service"] for answer in document["online"]["answers"] if not answer["ok"]}
    assert bad == {"databases/other", "caches/pages"}
