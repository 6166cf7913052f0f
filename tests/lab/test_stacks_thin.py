"""Thin's command run by the Thin of this machine, and what the log's last line says when an app cannot start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
from pathlib import Path

import pytest

from infra.manifest.model import Framework, Manifest, Map, Use
from stacks.launch import launch
from tests.lab.local_ruby import VALUES, attempt, environment, free_port, get, manifest, place, slug_at, thin, write


@pytest.fixture
def slug(tmp_path: Path) -> Path:
    return slug_at(tmp_path)


@pytest.mark.parametrize(
    ("what", "files", "last"),
    [
        (
            manifest([Use("Rack::Head"), Use("Pign", "./mark")]),
            {},
            "dyno.yaml: middleware/1/use: cannot find Pign: NameError: uninitialized constant Pign",
        ),
        (
            manifest([Use("Mark", "./lib/mark")]),
            {},
            "dyno.yaml: middleware/0/require: cannot load ./lib/mark: LoadError: cannot load such",
        ),
        (
            manifest([Use("Mark", "./mark")]),
            {},
            "dyno.yaml: middleware/0: cannot make Mark: ArgumentError: wrong number of arguments (given 1, expected 2)",
        ),
        (
            manifest([Map("/admin", "Mark", "./mark")]),
            {},
            "dyno.yaml: middleware/0/app: Mark does not answer call",
        ),
        (
            manifest(framework=Framework("rack", "./broken", "Say")),
            {"broken.rb": "nil.nothing\n"},
            "dyno.yaml: framework/require: cannot load ./broken: NoMethodError: undefined method",
        ),
        (
            manifest(framework=Framework("rack", "./broken", "Say")),
            {"broken.rb": "class\n"},
            "dyno.yaml: framework/require: cannot load ./broken: SyntaxError: {slug}/broken.rb:1: ",
        ),
        (
            manifest(framework=Framework("rack", "./say", "Say::String")),
            {},
            "dyno.yaml: framework/app: cannot find Say::String: NameError: uninitialized constant Say::String",
        ),
        (
            manifest(rackup="own.ru"),
            {"own.ru": "use Nothing\nrun 1\n"},
            "dyno.yaml: rackup: cannot load own.ru: NameError: uninitialized constant Nothing",
        ),
        (
            manifest(rackup="own.ru"),
            {},
            "dyno.yaml: rackup: cannot load own.ru: Errno::ENOENT: No such file or directory",
        ),
    ],
)
def test_the_last_line_names_the_key(slug: Path, what: Manifest, files: dict[str, str], last: str) -> None:
    write(slug, files)
    done = attempt(slug, what, "/")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(last.replace("{slug}", str(slug)))
    if files:  # a fault in the app's own file comes with its place
        assert str(slug) in done.stderr


def test_thin_ends_with_the_same_line(slug: Path) -> None:
    rackup = place(slug, manifest([Use("Pign")]))
    argv = launch(manifest()).app_server.command({}, str(rackup), "127.0.0.1", 1, "production")
    done = subprocess.run(argv, cwd=slug, env=environment(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr == "dyno.yaml: middleware/0/use: cannot find Pign: NameError: uninitialized constant Pign\n"


def test_thin_runs_two_apps_in_one_process(slug: Path) -> None:
    pid = "->(env) { [200, {}, [Process.pid.to_s]] }"
    write(slug, {"admin.rb": f"Admin = {pid}\n", "app.rb": f"Shop = {pid}\n"})
    chain = [Use("Mark", "./mark", ("m",)), Map("/admin", "Admin", "./admin")]
    with thin(slug, manifest(chain, Framework("rack", None, "Shop"))) as (url, process):
        assert get(url + "/") == get(url + "/admin") == f"m>{process.pid}"


def test_thin_passes_hostile_values_unharmed(slug: Path) -> None:
    with thin(slug, manifest([Use("Tell", "./tell", tuple(VALUES), {"all": VALUES})])) as (url, _):
        told = json.loads(get(url))
    assert told["args"] == told["options"]["all"] == VALUES
    assert not (slug / "owned").exists()


def test_thin_runs_the_apps_own_rackup_with_data_behind_end(slug: Path) -> None:
    write(slug, {"own.ru": "# frozen_string_literal: true\nrequire './say'\nrun Say\n__END__\nnot Ruby\n"})
    with thin(slug, manifest(rackup="own.ru")) as (url, _):
        assert get(url) == "said"


def test_thin_writes_no_file_and_logs_what_matters(slug: Path) -> None:
    write(
        slug,
        {"app.rb": "App = ->(env) { env['PATH_INFO'] == '/bad' ? raise('oh no') : [200, {}, [ENV['RACK_ENV']]] }\n"},
    )
    before = None
    with thin(slug, manifest(framework=Framework("rack", None, "App"))) as (url, process):
        before = sorted(slug.rglob("*"))
        assert [get(url) for _ in range(5)] == ["production"] * 5
        with pytest.raises(urllib.error.HTTPError, match="500"):
            get(url + "/bad")
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        log = process.stdout.read()
        assert process.wait(10) == 0
    assert sorted(slug.rglob("*")) == before
    assert "Listening on 127.0.0.1" in log
    assert "Unexpected error while processing request: oh no" in log
    assert "GET" not in log


def test_thin_runs_in_a_directory_that_nobody_can_write(slug: Path) -> None:
    argv = [
        "unshare",
        "--mount",
        "sh",
        "-ec",
        'mount --bind -o ro . . && cd "$PWD" && ! touch x 2>/dev/null && exec "$@"',
    ]
    if os.geteuid() != 0:
        pytest.fail("needs root, as the lab does")
    place(slug, manifest())
    (slug / "log").mkdir()
    command = launch(manifest()).app_server.command({}, ".dynoctl/config.ru", "127.0.0.1", free_port(), "production")
    process = subprocess.Popen([*argv, "sh", *command], cwd=slug, env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert any("Listening on" in line for line in process.stdout)
        process.terminate()
    process.wait(10)


def test_thin_finishes_an_open_request_when_told_to_stop(slug: Path) -> None:
    write(slug, {"app.rb": "App = ->(env) { sleep 1.5; [200, {}, ['done']] }\n"})
    what = manifest(framework=Framework("rack", None, "App"), options={"threaded": True, "timeout": 10})
    with (
        thin(slug, what) as (url, process),
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as peer,
    ):
        peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
        time.sleep(0.3)
        process.send_signal(getattr(signal, launch(what).stop.signal))
        peer.settimeout(10)
        answer = b"".join(iter(lambda: peer.recv(4096), b""))
        assert answer.endswith(b"done")
        assert process.wait(launch(what).stop.seconds) == 0
