"""Runs generated rackups with the Ruby and the app servers of this machine, in a directory that stands for a slug."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import textwrap
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from infra.manifest.model import App, AppServer, Framework, Json, Manifest, Map, Use
from stacks.contract import Boot, Listen, Tcp
from stacks.launch import ENVIRONMENT, launch
from tests.lab.support import WAIT, eventually

RUBY = "/usr/bin/ruby"

SAY = "class Say; def self.call(env); [200, {}, ['said']]; end; end\n"

# Middleware that leaves a mark on the way in, so that the order can be read from the answer.
MARK = """
class Mark
  def initialize(app, name); @app, @name = app, name; end
  def call(env)
    status, headers, body = @app.call(env)
    text = +""; body.each { |part| text << part }
    [status, {}, ["#{@name}>#{text}"]]
  end
end
"""

# Middleware that answers with what it was given, and of what Ruby class that is.
TELL = """
require "json"
class Tell
  def initialize(app, *args, **options); @args, @options = args, options; end
  def call(env)
    told = { args: @args, options: @options, keys: @options.keys.map { |key| key.class.name },
             classes: @args.map { |arg| arg.class.name }, encodings: @args.grep(String).map { |s| s.encoding.to_s } }
    [200, {}, [JSON.generate(told)]]
  end
end
"""

# Loads the rackup as Rack does (and so rackup and Puma), and answers each path of the command line.
ASK = """
require "rack"
require "rack/mock"
require "json"
app, _ = Rack::Builder.parse_file(".dynoctl/config.ru")
puts JSON.generate(ARGV.map { |path| app.call(Rack::MockRequest.env_for(path)).last.each.to_a.join })
"""


def manifest(
    middleware: Sequence[Use | Map] = (),
    framework: Framework | None = Framework("rack", "./say", "Say"),  # noqa: B008 - frozen
    rackup: str | None = None,
    options: Mapping[str, Json] | None = None,
    server: str = "thin",
) -> Manifest:
    return Manifest(
        file=Path("dyno.yaml"),
        app=App("shop", Path("/src")),
        servers=(),
        dynos={},
        framework=None if rackup else framework,
        rackup=rackup,
        middleware=tuple(middleware),
        app_server=AppServer(server, options or {}),
    )


def slug_at(directory: Path) -> Path:
    """A slug's directory, with the files that the tests name."""
    write(directory, {"say.rb": SAY, "mark.rb": MARK, "tell.rb": TELL, "ask.rb": ASK})
    return directory


def write(slug: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (slug / name).write_text(textwrap.dedent(text), encoding="utf-8")


def environment(**more: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", **ENVIRONMENT, **more}


def place(slug: Path, what: Manifest) -> Boot:
    """Write the generated files where a dyno finds them, but in a directory of this machine."""
    shop = launch(what)
    ours = slug / ".dynoctl"
    ours.mkdir(exist_ok=True)
    (ours / "config.ru").write_text(shop.rackup)
    (ours / "server.rb").write_text(shop.config)
    return Boot(str(ours / "config.ru"), str(ours / "server.rb"), Tcp("127.0.0.1", free_port()), "production")


def argv(slug: Path, what: Manifest, listen: Listen | None = None) -> tuple[str, ...]:
    """The launch's own command, but for where its files are and where it listens."""
    shop, boot = launch(what), place(slug, what)
    return shop.ruby.run(
        shop.app_server.name, *shop.app_server.arguments(shop.options, replace(boot, listen=listen or boot.listen))
    )


def ask(slug: Path, what: Manifest, *paths: str) -> list[str]:
    """What the app says to each path, in one Ruby process without a server."""
    done = attempt(slug, what, *paths)
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout)
    return said


def attempt(slug: Path, what: Manifest, *paths: str) -> subprocess.CompletedProcess[str]:
    """The same, with its failures."""
    place(slug, what)
    return subprocess.run(
        [RUBY, "ask.rb", *paths], cwd=slug, env=environment(), capture_output=True, text=True, timeout=60
    )


@contextmanager
def serving(slug: Path, what: Manifest, **more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A dyno without systemd."""
    port = free_port()
    process = subprocess.Popen(
        argv(slug, what, Tcp("127.0.0.1", port)),
        cwd=slug,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        answers(lambda: socket.create_connection(("127.0.0.1", port), WAIT), process)
        yield url, process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def answers(connect: Callable[[], socket.socket], process: subprocess.Popen[str]) -> None:
    """Wait until whoever listens there speaks HTTP: a master may listen long before a worker answers."""

    def speaks() -> bool:
        if process.poll() is not None:
            pytest.fail(f"it ended: {process.stdout and process.stdout.read()}")
        with connect() as peer:
            peer.settimeout(WAIT)
            peer.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            return peer.recv(5) == b"HTTP/"

    eventually(speaks)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        body: bytes = answer.read()
    return body.decode()


VALUES: list[Json] = [
    "",
    "plain",
    "quote \" and ' and `id`",
    "#{system('touch owned')} #$0 #@x",
    "%x(touch owned)",
    "\nMANIFEST\nsystem('touch owned')\n<<'MANIFEST'\n",
    "MANIFEST",
    "\n__END__\n",
    "__END__",
    "\\ \\\\ \\n \\u0022 \\#{1}",
    "é ☃ 🦆 \u2028 \u2029 \u0085",
    "\u0000 \r\n \t \x7f",
    "=begin\nsystem('touch owned')\n=end",
    "#\\ -p 1234",
    '{"json_class":"String"}',
    0,
    -1,
    2**80,
    1.5,
    -2.5e-300,
    1e300,
    True,
    False,
    None,
    [],
    {},
    ["a", ["b", {"c": [1, None]}]],
    {"json_class": "Object", "^o": "Object", "nested": {"key": "value"}},
]


PORTS = itertools.count(20000 + 1000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")))
"""Below what Linux gives to outgoing connections, and a thousand for each process of a test run."""


def free_port() -> int:
    """A port that nothing has, and that nobody is given between this look and its use."""
    while True:
        with suppress(OSError), socket.create_server(("127.0.0.1", port := next(PORTS))):
            return port
