"""The generated rackup and Thin's command, run by the Ruby and the Thin of this machine."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import textwrap
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.manifest.model import App, AppServer, Framework, Json, Manifest, Map, Use
from stacks.launch import ENVIRONMENT, launch
from stacks.ruby import satisfies

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
app, _ = Rack::Builder.parse_file(".dynoctl/config.ru")
ARGV.each { |path| puts app.call(Rack::MockRequest.env_for(path)).last.each.to_a.join.inspect }
"""


def manifest(
    middleware: Sequence[Use | Map] = (),
    framework: Framework | None = Framework("rack", "./say", "Say"),  # noqa: B008 - frozen
    rackup: str | None = None,
    options: Mapping[str, Json] | None = None,
) -> Manifest:
    return Manifest(
        file=Path("dyno.yaml"),
        app=App("shop", Path("/src")),
        servers=(),
        dynos={},
        framework=None if rackup else framework,
        rackup=rackup,
        middleware=tuple(middleware),
        app_server=AppServer("thin", options or {}),
    )


@pytest.fixture
def slug(tmp_path: Path) -> Path:
    """A slug's directory, with the files that the tests name."""
    write(tmp_path, {"say.rb": SAY, "mark.rb": MARK, "tell.rb": TELL, "ask.rb": ASK})
    return tmp_path


def write(slug: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (slug / name).write_text(textwrap.dedent(text), encoding="utf-8")


def environment(**more: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", **ENVIRONMENT, **more}


def place(slug: Path, what: Manifest) -> Path:
    rackup = slug / ".dynoctl" / "config.ru"
    rackup.parent.mkdir(exist_ok=True)
    rackup.write_text(launch(what).rackup or "")
    return rackup


def ask(slug: Path, what: Manifest, *paths: str) -> list[str]:
    """What the app says to each path, in one Ruby process without a server."""
    done = attempt(slug, what, *paths)
    assert done.returncode == 0, done.stderr
    return [json.loads(line.replace("\\#", "#").replace("\\e", "\\u001b")) for line in done.stdout.splitlines()]


def attempt(slug: Path, what: Manifest, *paths: str) -> subprocess.CompletedProcess[str]:
    place(slug, what)
    return subprocess.run(
        [RUBY, "ask.rb", *paths], cwd=slug, env=environment(), capture_output=True, text=True, timeout=30
    )


@contextmanager
def thin(slug: Path, what: Manifest, **more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A dyno without systemd: the launch's own argv, but for where the rackup is."""
    rackup = place(slug, what)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shop = launch(what)
    argv = shop.app_server.command(shop.options, str(rackup), "127.0.0.1", port, "production")
    process = subprocess.Popen(
        argv, cwd=slug, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, process.stdout and process.stdout.read()
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield url, process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - a Thin of our own
        body: bytes = answer.read()
    return body.decode()


# --- values ---------------------------------------------------------------------------------------------------

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


def test_every_value_arrives_as_it_was(slug: Path) -> None:
    options: dict[str, Json] = {f"k{number}": value for number, value in enumerate(VALUES)}
    use = Use("Tell", "./tell", tuple(VALUES), options)
    done = attempt(slug, manifest([use]), "/")
    assert done.returncode == 0, done.stderr
    # Ruby's inspect of JSON text: undone by Ruby's own undump would need another process, so write it out raw.
    write(slug, {"ask.rb": ASK.replace(".inspect", "")})
    told = json.loads(attempt(slug, manifest([use]), "/").stdout)
    assert told["args"] == VALUES
    assert told["options"] == options
    assert set(told["keys"]) == {"Symbol"}
    assert set(told["encodings"]) == {"UTF-8"}
    assert not (slug / "owned").exists()


def test_types_arrive_as_rubys_own(slug: Path) -> None:
    write(slug, {"ask.rb": ASK.replace(".inspect", "")})
    use = Use("Tell", "./tell", ("s", 1, 1.5, True, False, None, [], {}))
    told = json.loads(attempt(slug, manifest([use]), "/").stdout)
    expected = ["String", "Integer", "Float", "TrueClass", "FalseClass", "NilClass", "Array", "Hash"]
    assert told["classes"] == expected


def test_options_are_keywords_and_also_a_last_hash(slug: Path) -> None:
    write(
        slug,
        {
            "kinds.rb": """
            Kind = Struct.new(:app, :text) { def call(env); s, h, b = app.call(env); [s, h, [text, *b]]; end }
            class Keyword < Kind; def initialize(app, path, deep:, on: 1); super(app, "#{path}#{deep}#{on};"); end; end
            class Hashed < Kind; def initialize(app, options = {}); super(app, "#{options};"); end; end
            class Bare < Kind; def initialize(app); super(app, "bare;"); end; end
            """
        },
    )
    chain = [
        Use("Keyword", "./kinds", ("/p",), {"deep": {"a": [1]}}),
        Use("Hashed", None, (), {"a-b": 1}),
        Use("Bare"),
    ]
    assert ask(slug, manifest(chain), "/") == ['/p{"a"=>[1]}1;{:"a-b"=>1};bare;said']


@pytest.mark.parametrize("text", ["Say; system('touch owned')", "`touch owned`", "#{system('touch owned')}", "Say\n"])
def test_a_name_is_never_code(slug: Path, text: str) -> None:
    for what in (manifest([Use(text)]), manifest([Map("/x", text)]), manifest(framework=Framework("rack", None, text))):
        write(slug, {"app.rb": SAY})
        done = attempt(slug, what, "/")
        assert done.returncode == 1
        assert "wrong constant name" in done.stderr
    done = attempt(slug, manifest([Use("Tell", text)]), "/")
    assert "dyno.yaml: middleware/0/require: cannot load " in done.stderr
    assert not (slug / "owned").exists()


# --- order ----------------------------------------------------------------------------------------------------


def test_the_order_is_racks_own(slug: Path) -> None:
    write(slug, {"admin.rb": "Admin = ->(env) { [200, {}, ['admin']] }\n"})
    chain = [
        Use("Mark", "./mark", ("one",)),
        Use("Mark", None, ("two",)),
        Map("/admin", "Admin", "./admin"),
        Use("Mark", None, ("three",)),
        Map("/late", "Admin"),
    ]
    answers = ask(slug, manifest(chain), "/", "/admin", "/admin/x", "/administrator", "/late")
    one, two, three = "one>", "two>", "three>"
    assert answers == [
        f"{one}{two}{three}said",
        f"{one}{two}admin",
        f"{one}{two}admin",
        f"{one}{two}{three}said",
        f"{one}{two}{three}admin",
    ]


def test_two_maps_side_by_side_and_the_longest_path_wins(slug: Path) -> None:
    write(slug, {"two.rb": "A = ->(env) { [200, {}, ['a']] }\nB = ->(env) { [200, {}, ['b']] }\n"})
    chain = [Map("/a", "A", "./two"), Map("/a/b", "B"), Use("Mark", "./mark", ("m",))]
    assert ask(slug, manifest(chain), "/a", "/a/b", "/") == ["a", "b", "m>said"]


def test_one_middleware_twice_with_other_arguments(slug: Path) -> None:
    chain = [Use("Mark", "./mark", ("1",)), Use("Mark", "./mark", ("2",))]
    assert ask(slug, manifest(chain), "/") == ["1>2>said"]


# --- the app ------------------------------------------------------------------------------------------------


def test_nested_constants_and_racks_own(slug: Path) -> None:
    write(slug, {"app.rb": "module Deep; module Er; App = ->(env) { [200, {}, ['deep']] }; end; end\n"})
    what = manifest([Use("Rack::Head"), Use("Rack::ContentLength")], Framework("rack", None, "Deep::Er::App"))
    assert ask(slug, what, "/") == ["deep"]


@pytest.mark.parametrize("middleware", [(), (Use("Mark", "./mark", ("m",)),)])
def test_the_apps_own_rackup(slug: Path, middleware: tuple[Use, ...]) -> None:
    write(
        slug,
        {
            "own.ru": """
            require_relative "./say"
            use(Class.new { define_method(:initialize) { |app| @app = app }; def call(env); @app.call(env); end })
            map("/file") { run ->(env) { [200, {}, [__FILE__]] } }
            run Say
            __END__
            not Ruby
            """
        },
    )
    mark = "m>" if middleware else ""
    expected = [f"{mark}said", f"{mark}{slug}/own.ru"]
    assert ask(slug, manifest(middleware, rackup="own.ru"), "/", "/file") == expected


def test_sinatra_both_ways(slug: Path) -> None:
    write(
        slug,
        {
            "modular.rb": 'require "sinatra/base"\nclass Modular < Sinatra::Base; get("/") { "modular é" }; end\n',
            "app.rb": 'require "sinatra"\nget("/") { "classic #{settings.environment}" }\n',
        },
    )
    assert ask(slug, manifest(framework=Framework("sinatra", "./modular", "Modular")), "/") == ["modular é"]
    assert ask(slug, manifest(framework=Framework("sinatra")), "/") == ["classic production"]


# --- errors -------------------------------------------------------------------------------------------------


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
            "dyno.yaml: middleware/0/require: cannot load ./lib/mark: LoadError: cannot load such file -- {slug}/lib/mark",
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
            "dyno.yaml: framework/require: cannot load ./broken: NoMethodError: undefined method `nothing' for nil:NilClass",
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
            "dyno.yaml: rackup: cannot load own.ru: Errno::ENOENT: No such file or directory @ rb_sysopen - {slug}/own.ru",
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


# --- Thin ---------------------------------------------------------------------------------------------------


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
    assert process.wait(10) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


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


# --- what RubyGems itself says ------------------------------------------------------------------------------


def test_requirements_match_as_rubygems_matches_them() -> None:
    dice = random.Random(42)  # noqa: S311 - the same cases on every run
    parts = ["0", "1", "2", "3", "9", "10", "a", "rc1", "preview2", "b2", "0a"]

    def version() -> str:
        text = ".".join([dice.choice(parts[:6]), *dice.choices(parts, k=dice.randrange(4))])
        return text + dice.choice(["", "", "", "-1", "-rc.1", "-a-b"])

    operators = ["", "=", "!=", ">", "<", ">=", "<=", "~>"]
    cases = [
        (version(), ", ".join(f"{dice.choice(operators)} {version()}" for _ in range(dice.randint(1, 2))))
        for _ in range(4000)
    ]
    script = """
    require "json"
    puts JSON.generate(JSON.parse($stdin.read).map { |version, requirement|
      Gem::Requirement.new(*requirement.split(",")).satisfied_by?(Gem::Version.new(version))
    })
    """
    done = subprocess.run(
        [RUBY, "-e", script], input=json.dumps(cases), capture_output=True, text=True, check=True, timeout=60
    )
    theirs = json.loads(done.stdout)
    ours = [satisfies(found, requirement) for found, requirement in cases]
    assert [each for each, a, b in zip(cases, ours, theirs, strict=True) if a != b] == []
