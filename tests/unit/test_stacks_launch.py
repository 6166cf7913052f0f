"""From a manifest to the command, the environment and the rackup file of the app server."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from infra.manifest.model import (
    App,
    AppServer,
    Backing,
    Framework,
    Json,
    Manifest,
    Map,
    Packages,
    Reference,
    Ruby,
    Use,
    Writable,
)
from infra.model.command_line import argv
from schemas import load
from stacks.contract import Boot, Entry, Inherited, Option, StackError, Stop, Tcp, Unix
from stacks.launch import CONFIG, launch
from stacks.rackup import rackup
from stacks.registry import STACKS, registry

GOLDEN = Path(__file__).parents[1] / "golden" / "stacks"

SHOP = Manifest(
    file=Path("dyno.yaml"),
    app=App("shop", Path("/src/shop")),
    servers=(),
    dynos={},
    framework=Framework("sinatra", "./app", "Shop"),
    ruby=Ruby(">= 3.1"),
    middleware=(
        Use("Rack::Deflater"),
        Use("Ping", "./lib/ping", ("/ping",), {"cache": True}),
        Map("/admin", "Admin", "./admin"),
    ),
)

ANYWHERE = Tcp("::1", 1)
RAILS = replace(
    SHOP, framework=Framework("rails"), middleware=(), env={"SECRET_KEY_BASE": Reference("from_env", "KEY")}
)

HOSTILE = (
    "quote \" and ' and `id`",
    "#{system('touch /tmp/owned')}",
    "\nMANIFEST\nsystem('touch /tmp/owned')\n<<'MANIFEST'\n",
    "\n__END__\n",
    "\\\\ \\n \\u0022",
    "é ☃ 🦆 \u2028 \u2029 \u0085 \u0000 \r\n",
    "=begin\n=end",
    "#\\ -p 1234",
)


def golden(name: str, text: str) -> None:
    """Compare with a golden file. DYNOCTL_GOLDEN=write writes it: review the diff before you commit it."""
    path = GOLDEN / name
    if os.environ.get("DYNOCTL_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{path} is stale: DYNOCTL_GOLDEN=write pytest {__file__}"


def data(text: str | None) -> Mapping[str, Json]:
    """The JSON line of a rackup file."""
    assert text is not None
    return json.loads(text.partition("<<'MANIFEST', max_nesting: false))\n")[2].partition("\n")[0])


@pytest.mark.parametrize(
    ("name", "manifest"),
    [
        ("shop.ru", SHOP),
        ("own-rackup.ru", replace(SHOP, framework=None, rackup="config.ru", middleware=())),
        ("hostile.ru", replace(SHOP, middleware=(Use("Ping", None, HOSTILE, {HOSTILE[2]: list(HOSTILE)}),))),
    ],
)
def test_rackup(name: str, manifest: Manifest) -> None:
    golden(name, launch(manifest).rackup or "")


def test_launch_of_the_shop() -> None:
    shop = launch(SHOP)
    assert shop.argv(Tcp("10.0.0.11", 5001)) == (
        "/usr/bin/ruby",
        "/usr/bin/thin",
        "start",
        *("-R", "/app/.dynoctl/config.ru"),
        *("-a", "10.0.0.11"),
        *("-p", "5001"),
        *("-e", "production"),
    )
    assert shop.environment == {
        "LANG": "C.UTF-8",
        "HOME": "/tmp",
        "RACK_ENV": "production",
        "RAILS_ENV": "production",
        "RAILS_LOG_TO_STDOUT": "1",
    }
    assert shop.programs == ("/usr/bin/thin",)
    assert shop.packages == ("ruby", "ruby-sinatra", "thin")
    assert shop.writable == ()
    assert shop.stop == Stop("SIGTERM", 30)


def test_thin_options_become_flags() -> None:
    options: dict[str, Json] = {
        "timeout": 20,
        "threaded": True,
        "threadpool_size": 8,
        "max_persistent_conns": 0,
    }
    shop = launch(replace(SHOP, app_server=AppServer("thin", options)))
    assert shop.argv(ANYWHERE)[11:] == (
        *("--timeout", "20"),
        *("--max-persistent-conns", "0"),
        "--threaded",
        *("--threadpool-size", "8"),
    )


def test_an_option_that_is_false_is_omitted() -> None:
    assert "--threaded" not in launch(replace(SHOP, app_server=AppServer("thin", {"threaded": False}))).argv(ANYWHERE)


def test_rack_env_of_the_manifest_reaches_the_app_server() -> None:
    shop = launch(replace(SHOP, env={"RACK_ENV": "staging"}))
    assert shop.argv(ANYWHERE)[-1] == "staging"
    assert shop.environment["RACK_ENV"] == "staging"


@pytest.mark.parametrize(
    ("manifest", "path", "summary"),
    [
        (replace(SHOP, app_server=AppServer("mongrel")), "app_server/name", "unknown app server mongrel"),
        (
            replace(SHOP, app_server=AppServer("thin", {"pid": "/tmp/x"})),
            "app_server/options/pid",
            "unknown option pid of thin",
        ),
        (
            replace(SHOP, app_server=AppServer("thin", {"timeout": "30"})),
            "app_server/options/timeout",
            "invalid value for timeout: '30' is not an integer of at least 1",
        ),
        (
            replace(SHOP, app_server=AppServer("thin", {"timeout": True})),
            "app_server/options/timeout",
            "invalid value for timeout: True is not an integer of at least 1",
        ),
        (
            replace(SHOP, app_server=AppServer("thin", {"threaded": 1})),
            "app_server/options/threaded",
            "invalid value for threaded: 1 is not a boolean",
        ),
        (replace(SHOP, framework=Framework("merb")), "framework/name", "unknown framework merb"),
        (
            replace(SHOP, framework=Framework("rack", "./app")),
            "framework/app",
            "missing key 'app' in framework",
        ),
        (replace(SHOP, framework=None), "", "missing key 'framework' or 'rackup'"),
        (replace(RAILS, env={}), "framework/name", "rails requires env.SECRET_KEY_BASE"),
        (
            replace(SHOP, app_server=AppServer("puma", {"worker_timeout": 5})),
            "app_server/options/worker_timeout",
            "invalid value for worker_timeout: 5 is not an integer of at least 6",
        ),
        (
            replace(SHOP, app_server=AppServer("unicorn", {"threads": 5})),
            "app_server/options/threads",
            "unknown option threads of unicorn",
        ),
        (
            replace(SHOP, env={"RACK_ENV": Reference("from_env", "X")}),
            "env/RACK_ENV",
            "RACK_ENV cannot be a reference",
        ),
        (
            replace(SHOP, middleware=(Use("A"), Map("admin", "Admin"))),
            "middleware/1/map",
            "invalid value for map: 'admin'",
        ),
        (
            replace(SHOP, middleware=(Use("A", args=(float("nan"),)),)),
            "middleware/0",
            "invalid argument of A: Out of range float values are not JSON compliant",
        ),
    ],
)
def test_layers_that_cannot_be_combined(manifest: Manifest, path: str, summary: str) -> None:
    with pytest.raises(StackError) as caught:
        launch(manifest)
    assert caught.value.path == path
    assert caught.value.summary.startswith(summary)


def test_an_unpaired_surrogate_is_refused() -> None:
    with pytest.raises(StackError, match="middleware/0: invalid argument of A"):
        launch(replace(SHOP, middleware=(Use("A", options={"x": ["\ud800"]}),)))


def test_an_invalid_ruby_requirement_names_its_key() -> None:
    with pytest.raises(StackError, match="ruby/version: invalid version requirement 'latest'"):
        launch(replace(SHOP, ruby=Ruby("latest")))


def test_sinatra_defaults() -> None:
    text = launch(replace(SHOP, framework=Framework("sinatra"), middleware=())).rackup
    assert data(text)["app"] == {
        "at": "framework",
        "key": "app",
        "constant": "Sinatra::Application",
        "requires": ["./app"],
        "reader": None,
    }


@pytest.mark.parametrize("value", HOSTILE)
def test_values_are_data_on_a_line_of_ascii(value: str) -> None:
    plain = rackup([Use("Ping", None, ("x",), {"x": "x"})], "config.ru")
    text = rackup([Use("Ping", value, (value, [value], {value: value}), {value: value})], value)
    assert text.isascii()
    # Only the line with the data depends on the manifest.
    pairs = list(zip(plain.split("\n"), text.split("\n"), strict=True))
    assert [number for number, (before, after) in enumerate(pairs) if before != after] == [
        plain.count("\n", 0, plain.index('{"app"'))
    ]
    use = data(text)["middleware"]
    assert isinstance(use, list)
    assert use[0] == {
        "at": "middleware/0",
        "key": "use",
        "constant": "Ping",
        "requires": [value],
        "args": [value, [value], {value: value}],
        "options": {value: value},
    }


def test_the_text_does_not_depend_on_the_order_of_keys() -> None:
    first = rackup([Use("A", options={"a": 1, "b": 2})], Entry(("./app",), "Shop"))
    second = rackup([Use("A", options={"b": 2, "a": 1})], Entry(("./app",), "Shop"))
    assert first == second


@pytest.mark.parametrize("name", sorted(STACKS.app_servers))
@pytest.mark.parametrize("listen", [Tcp("10.0.0.11", 5001), Tcp("fd00::1", 5001), Unix("/run/x/socket"), Inherited()])
def test_every_app_server_supports_every_kind_of_listener(name: str, listen: Tcp | Unix | Inherited) -> None:
    server = STACKS.app_servers[name]
    argv = server.arguments({}, Boot("/app/.dynoctl/config.ru", CONFIG, listen, "staging"))
    text = " ".join(argv)
    assert "/app/.dynoctl/config.ru" in argv
    assert "staging" in argv
    assert ("/run/x/socket" in text) is isinstance(listen, Unix)
    assert ("5001" in text) is isinstance(listen, Tcp)
    assert server.config({}).isascii()


@pytest.mark.parametrize("name", sorted(STACKS.app_servers))
def test_every_option_reaches_the_app_server(name: str) -> None:
    """An option that differs from its default changes the command line or the configuration file."""
    server = STACKS.app_servers[name]
    boot = Boot("config.ru", CONFIG, ANYWHERE, "production")
    base: dict[str, Json] = {"threaded": True} if name == "thin" else {"workers": 2}
    plain = (server.config(base), server.arguments(base, boot))
    for key, option in server.options.items():
        if key in base:
            continue
        value: Json = not option.default if option.type == "boolean" else int(option.default) + 1
        if key == "min_threads":
            value = 3
        assert (server.config({**base, key: value}), server.arguments({**base, key: value}, boot)) != plain, key
        assert str(value).lower() in str(server.config({**base, key: value})) + str(
            server.arguments({**base, key: value}, boot)
        ) or key in ("threaded",)


def test_rails_knows_its_own_app_and_writes_to_tmp_and_log() -> None:
    blog = launch(RAILS)
    app = data(blog.rackup)["app"]
    assert isinstance(app, dict)
    assert (app["constant"], app["reader"], app["requires"]) == ("Rails", "application", ["./config/environment"])
    assert blog.writable == (Writable("log"), Writable("tmp"))
    assert blog.environment["RAILS_SERVE_STATIC_FILES"] == "1"
    assert launch(replace(RAILS, rackup="config.ru", framework=Framework("rails"))).writable == blog.writable


def test_packages_follow_the_layers() -> None:
    postgresql, memcached = (
        Backing("postgresql", "postgresql://db/shop"),
        Backing("memcached", "memcached://cache:11211"),
    )
    shop = replace(SHOP, database=postgresql, caches={"pages": memcached}, packages=Packages(names=("imagemagick",)))
    assert launch(shop).packages == ("imagemagick", "ruby", "ruby-dalli", "ruby-pg", "ruby-sinatra", "thin")
    bundled = launch(replace(shop, ruby=Ruby(bundler=True)))
    assert bundled.packages == ("imagemagick", "libpq5", "ruby", "ruby-bundler")
    assert bundled.programs == ("/usr/bin/bundle",)
    assert bundled.argv(ANYWHERE)[:4] == ("/usr/bin/ruby", "/usr/bin/bundle", "exec", "thin")
    own = launch(replace(shop, ruby=Ruby(path="/opt/ruby-3.3/bin/ruby")))
    assert own.packages == ("imagemagick", "libpq5")
    assert own.argv(ANYWHERE)[:2] == ("/opt/ruby-3.3/bin/ruby", "/opt/ruby-3.3/bin/thin")
    assert own.environment["PATH"].startswith("/opt/ruby-3.3/bin:/usr/local/sbin")


def test_a_command_is_a_shell_command_line_or_an_argv() -> None:
    assert argv("rake work && echo $X") == ("/bin/sh", "-c", "rake work && echo $X")
    assert argv(("+rake", "work")) == ("/usr/bin/env", "+rake", "work"), (
        "systemd runs a command that starts with + as root"
    )


def test_an_app_server_can_be_registered() -> None:
    class Falcon:
        name = "falcon"
        options: Mapping[str, Option] = {"threads": Option("integer", "Threads.", 5)}
        stop = Stop("SIGTERM", 30)

        def workers(self, options: Mapping[str, Json]) -> int:
            return 0

        def config(self, options: Mapping[str, Json]) -> str:
            return ""

        def arguments(self, options: Mapping[str, Json], boot: Boot) -> tuple[str, ...]:
            return ("-b", str(boot.listen), "-t", str(options["threads"]), boot.rackup)

    stacks = registry([*STACKS.app_servers.values(), Falcon()], STACKS.frameworks.values())
    shop = launch(replace(SHOP, app_server=AppServer("falcon", {"threads": 3})), stacks)
    argv = ("/usr/bin/ruby", "/usr/bin/falcon", "-b", "[::1]:9", "-t", "3", "/app/.dynoctl/config.ru")
    assert shop.argv(Tcp("::1", 9)) == argv
    assert shop.programs == ("/usr/bin/falcon",)


@pytest.mark.parametrize(
    ("name", "options", "workers"),
    [("thin", {}, 0), ("puma", {}, 0), ("puma", {"workers": 3}, 3), ("unicorn", {}, 1), ("unicorn", {"workers": 2}, 2)],
)
def test_the_worker_processes_of_an_app_server(name: str, options: dict[str, Json], workers: int) -> None:
    assert STACKS.app_servers[name].workers(options) == workers


def test_an_option_as_json_schema() -> None:
    assert STACKS.app_servers["thin"].options["timeout"].schema() == {
        "type": "integer",
        "description": "Seconds without data after which a connection is closed.",
        "default": 30,
        "minimum": 1,
    }
    assert STACKS.app_servers["thin"].options["threaded"].schema() == {
        "type": "boolean",
        "description": "Call the app in threads. The app must be thread-safe.",
        "default": False,
    }


def test_the_schema_has_the_options_of_the_app_servers() -> None:
    schema = json.loads((Path(__file__).parents[2] / "schemas/dyno.schema.json").read_text(encoding="utf-8"))
    options = schema["properties"]["app_server"]["properties"]["options"]["properties"]
    assert set(options) == {name for server in STACKS.app_servers.values() for name in server.options}
    for server in STACKS.app_servers.values():
        for name, option in server.options.items():
            assert options[name]["type"] in (option.type, [option.type, "string"])  # or a duration
            assert (
                f"{server.name.capitalize()}: {option.description[0].lower()}{option.description[1:]}"
                in options[name]["description"]
            )
            assert options[name].get("minimum", 0) <= option.minimum
            assert options[name].get("default", option.default) == option.default


def test_the_schema_names_all_app_servers_and_frameworks() -> None:
    schema = json.loads((Path(__file__).parents[2] / "schemas/dyno.schema.json").read_text(encoding="utf-8"))
    for key, layers in (("app_server", STACKS.app_servers), ("framework", STACKS.frameworks)):
        assert set(schema["properties"][key]["properties"]["name"]["enum"]) == set(layers)


def test_the_schema_names_the_frameworks_that_find_their_own_app() -> None:
    """The manifest is validated by the schema, so the schema must agree with the frameworks."""
    section = load("dyno.schema.json")["properties"]["framework"]
    assert set(section["properties"]["name"]["enum"]) == STACKS.frameworks.keys()
    for name, require in section["x-knows-its-app"].items():
        assert STACKS.frameworks[name].entry(Framework(name)).requires == (require,)
