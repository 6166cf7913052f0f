"""One contract for every app server, run by those of this machine; and the last line where an app cannot start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import urllib.error
from contextlib import suppress
from pathlib import Path

import pytest

from infra.manifest.model import Framework, Json, Manifest, Map, Use
from stacks.contract import Inherited, Unix
from stacks.launch import launch
from stacks.registry import STACKS
from tests.lab.local_ruby import (
    SAY,
    VALUES,
    answers,
    argv,
    attempt,
    environment,
    get,
    manifest,
    serving,
    slug_at,
    write,
)
from tests.lab.support import WAIT, eventually


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


@pytest.fixture(params=sorted(STACKS.app_servers))
def server(request: pytest.FixtureRequest) -> str:
    """Every app server: each of the tests below is a clause of one contract."""
    return str(request.param)


def rack_app(slug: Path, server: str, body: str, **options: Json) -> Manifest:
    write(slug, {"app.rb": f"App = ->(env) {{ {body} }}\n"})
    return manifest(framework=Framework("rack", None, "App"), server=server, options=options)


def test_an_app_that_cannot_start_ends_it_with_the_line_that_says_why(slug: Path, server: str) -> None:
    done = subprocess.run(
        argv(slug, manifest([Use("Pign")], server=server)),
        cwd=slug,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    line = "dyno.yaml: middleware/0/use: cannot find Pign: NameError: uninitialized constant Pign"
    assert line in done.stdout + done.stderr


def test_two_apps_are_one_process(slug: Path, server: str) -> None:
    pid = "->(env) { [200, {}, [Process.pid.to_s]] }"
    write(slug, {"admin.rb": f"Admin = {pid}\n", "app.rb": f"Shop = {pid}\n"})
    chain = [Use("Mark", "./mark", ("m",)), Map("/admin", "Admin", "./admin")]
    with serving(slug, manifest(chain, Framework("rack", None, "Shop"), server=server)) as (url, process):
        assert get(url + "/") == get(url + "/admin")
        if server != "unicorn":  # its master answers nothing
            assert get(url + "/") == f"m>{process.pid}"


def test_hostile_values_arrive_byte_for_byte(slug: Path, server: str) -> None:
    with serving(slug, manifest([Use("Tell", "./tell", tuple(VALUES), {"all": VALUES})], server=server)) as (url, _):
        told = json.loads(get(url))
    assert told["args"] == told["options"]["all"] == VALUES
    assert not (slug / "owned").exists()


def test_the_apps_own_rackup_with_data_behind_end(slug: Path, server: str) -> None:
    write(slug, {"own.ru": "# frozen_string_literal: true\nrequire './say'\nrun Say\n__END__\nnot Ruby\n"})
    with serving(slug, manifest(rackup="own.ru", server=server)) as (url, _):
        assert get(url) == "said"


def test_it_writes_no_file_and_logs_what_matters(slug: Path, server: str) -> None:
    what = rack_app(slug, server, "env['PATH_INFO'] == '/bad' ? raise('oh no') : [200, {}, [ENV['RACK_ENV']]]")
    with serving(slug, what) as (url, process):
        before = sorted(slug.rglob("*"))
        assert [get(url) for _ in range(5)] == ["production"] * 5
        with pytest.raises((urllib.error.HTTPError, ConnectionError)):
            get(url + "/bad")
        process.send_signal(getattr(signal, launch(what).stop.signal))
        assert process.stdout is not None
        log = process.stdout.read()
        assert process.wait(60) == 0
    assert sorted(slug.rglob("*")) == before
    assert "istening on" in log
    assert "oh no" in log
    assert "GET / " not in log


def test_it_runs_in_a_directory_that_nobody_can_write(slug: Path, server: str) -> None:
    if os.geteuid() != 0:
        pytest.fail("needs root, as the lab does")
    read_only = 'mount --bind -o ro . . && cd "$PWD" && ! touch x 2>/dev/null && exec "$@"'
    command = argv(slug, manifest(server=server))
    (slug / "log").mkdir()
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-ec", read_only, "sh", *command],
        cwd=slug,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert any("istening on" in line for line in process.stdout)
    finally:
        process.kill()
        process.communicate()


def test_an_open_request_is_finished_when_it_is_told_to_stop(slug: Path, server: str) -> None:
    options: dict[str, Json] = {"threaded": True, "timeout": 10} if server == "thin" else {}
    slow = "(File.write('begun', ''); sleep 0.02 until File.exist?('go')) if env['PATH_INFO'] == '/slow'"
    what = rack_app(slug, server, f"{slow}; [200, {{}}, ['done']]", **options)
    with (
        serving(slug, what) as (url, process),
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), WAIT) as peer,
    ):
        peer.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        eventually((slug / "begun").exists)
        process.send_signal(getattr(signal, launch(what).stop.signal))
        (slug / "go").touch()
        answer = b"".join(iter(lambda: peer.recv(4096), b""))
        assert answer.endswith(b"done")
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("server", "options"),
    [
        ("thin", {}),
        ("puma", {}),
        ("puma", {"workers": 1}),
        ("puma", {"workers": 1, "preload": True}),
        ("unicorn", {}),
        ("unicorn", {"preload": True}),
    ],
)
def test_it_ends_when_it_is_told_to_stop_while_the_app_loads(slug: Path, server: str, options: dict[str, Json]) -> None:
    write(slug, {"say.rb": "File.write('loading', '')\nsleep 0.02 until File.exist?('go')\n" + SAY})
    what = manifest(server=server, options=options)
    # Its workers are in its process group: none of them is left, whatever happens here.
    process = subprocess.Popen(argv(slug, what), cwd=slug, env=environment(), process_group=0)
    try:
        eventually((slug / "loading").exists)
        process.send_signal(getattr(signal, launch(what).stop.signal))
        (slug / "go").touch()
        process.wait(WAIT)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT)


def test_it_listens_on_a_socket_in_the_filesystem(slug: Path, server: str) -> None:
    path = Path(tempfile.mkdtemp()) / "s"  # short: a socket's path has 107 characters at most
    command = argv(slug, manifest(server=server), Unix(str(path)))
    process = subprocess.Popen(
        command, cwd=slug, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def connect() -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        try:
            peer.connect(str(path))
        except OSError:
            peer.close()
            raise
        return peer

    try:
        answers(connect, process)
    finally:
        process.kill()
        process.communicate()


def test_it_takes_the_socket_that_systemd_hands_over(slug: Path, server: str) -> None:
    """As systemd does it: file descriptor 3, LISTEN_FDS and LISTEN_PID. What waits in it while it boots is answered."""
    hand_over = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            ["sh", "-c", hand_over, "sh", *argv(slug, manifest(server=server), Inherited())],
            cwd=slug,
            env=environment(),
            preexec_fn=lambda: os.dup2(listener.fileno(), 3),
            pass_fds=[3],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert get(f"http://127.0.0.1:{listener.getsockname()[1]}") == "said"
            process.send_signal(getattr(signal, launch(manifest(server=server)).stop.signal))
            assert process.wait(60) == 0
            # The socket outlives its server: a connection still succeeds, though nobody answers.
            socket.create_connection(listener.getsockname(), WAIT).close()
        finally:
            process.kill()
            process.communicate()
