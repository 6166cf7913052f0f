"""From a manifest to the app server's command, its environment and the text of its rackup."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from infra.manifest.model import App, AppServer, Framework, Json, Manifest, Map, Reference, Use
from stacks.contract import Entry, Option, StackError, Stop
from stacks.launch import launch
from stacks.rackup import rackup
from stacks.registry import STACKS, registry

GOLDEN = Path(__file__).parents[1] / "golden" / "stacks"

SHOP = Manifest(
    file=Path("dyno.yaml"),
    app=App("shop", Path("/src/shop")),
    servers=(),
    dynos={},
    framework=Framework("sinatra", "./app", "Shop"),
    ruby_version=">= 3.1",
    middleware=(
        Use("Rack::Deflater"),
        Use("Ping", "./lib/ping", ("/ping",), {"cache": True}),
        Map("/admin", "Admin", "./admin"),
    ),
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
    """Compare with a file; UPDATE_GOLDEN=1 writes it, to be read before it is committed."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{path} differs: UPDATE_GOLDEN=1 writes it anew"


def data(text: str | None) -> Mapping[str, Json]:
    """The JSON in a rackup."""
    assert text is not None
    return json.loads(text.partition("<<'MANIFEST', max_nesting: false)\n")[2].partition("\n")[0])


@pytest.mark.parametrize(
    ("name", "manifest"),
    [
        ("shop.ru", SHOP),
        ("own-rackup.ru", replace(SHOP, framework=None, rackup="config.ru", middleware=())),
        ("hostile.ru", replace(SHOP, middleware=(Use("Ping", None, HOSTILE, {HOSTILE[2]: list(HOSTILE)}),))),
    ],
)
def test_rackup_is_the_golden_one(name: str, manifest: Manifest) -> None:
    golden(name, launch(manifest).rackup or "")


def test_launch_of_the_shop() -> None:
    shop = launch(SHOP)
    assert shop.argv("10.0.0.11", 5001) == (
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
    assert shop.ruby == ">= 3.1"
    assert shop.ruby_fits("3.1.2")
    assert not shop.ruby_fits("2.7.8")
    assert shop.executables == ("/usr/bin/thin",)
    assert shop.libraries == ("rack", "thin", "sinatra/base")
    assert shop.stop == Stop("SIGTERM", 30)


def test_thin_options_become_flags() -> None:
    options: dict[str, Json] = {
        "timeout": 20,
        "threaded": True,
        "threadpool_size": 8,
        "max_persistent_conns": 0,
    }
    shop = launch(replace(SHOP, app_server=AppServer("thin", options)))
    assert shop.argv("::1", 1)[10:] == (
        *("--timeout", "20"),
        *("--max-persistent-conns", "0"),
        "--threaded",
        *("--threadpool-size", "8"),
    )


def test_an_option_that_is_off_is_left_out() -> None:
    assert "--threaded" not in launch(replace(SHOP, app_server=AppServer("thin", {"threaded": False}))).argv("::1", 1)


def test_rack_env_of_the_manifest_reaches_the_app_server() -> None:
    shop = launch(replace(SHOP, env={"RACK_ENV": "staging"}))
    assert shop.argv("::1", 1)[-1] == "staging"
    assert shop.environment["RACK_ENV"] == "staging"


@pytest.mark.parametrize(
    ("manifest", "path", "summary"),
    [
        (replace(SHOP, app_server=AppServer("mongrel")), "app_server/name", "there is no app server mongrel"),
        (
            replace(SHOP, app_server=AppServer("thin", {"pid": "/tmp/x"})),
            "app_server/options/pid",
            "thin has no option pid",
        ),
        (
            replace(SHOP, app_server=AppServer("thin", {"timeout": "30"})),
            "app_server/options/timeout",
            "'30' is not an integer of at least 1",
        ),
        (
            replace(SHOP, app_server=AppServer("thin", {"timeout": True})),
            "app_server/options/timeout",
            "True is not an integer of at least 1",
        ),
        (
            replace(SHOP, app_server=AppServer("thin", {"threaded": 1})),
            "app_server/options/threaded",
            "1 is not a boolean",
        ),
        (replace(SHOP, framework=Framework("merb")), "framework/name", "there is no framework merb"),
        (
            replace(SHOP, framework=Framework("rack", "./app")),
            "framework/app",
            "the rack framework has no app of its own to run",
        ),
        (replace(SHOP, framework=None), "", "neither framework nor rackup is given"),
        (
            replace(SHOP, env={"RACK_ENV": Reference("from_env", "X")}),
            "env/RACK_ENV",
            "it must be in the manifest itself",
        ),
        (
            replace(SHOP, middleware=(Use("A"), Map("admin", "Admin"))),
            "middleware/1/map",
            "'admin' is no path that Rack maps",
        ),
        (
            replace(SHOP, middleware=(Use("A", args=(float("nan"),)),)),
            "middleware/0",
            "A is given a value that cannot be passed on: Out of range float values are not JSON compliant",
        ),
    ],
)
def test_layers_that_do_not_fit(manifest: Manifest, path: str, summary: str) -> None:
    with pytest.raises(StackError) as caught:
        launch(manifest)
    assert caught.value.path == path
    assert caught.value.summary.startswith(summary)


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(StackError, match="middleware/0: A is given a value that cannot be passed on"):
        launch(replace(SHOP, middleware=(Use("A", options={"x": ["\ud800"]}),)))


def test_a_bad_ruby_requirement_names_its_key() -> None:
    with pytest.raises(StackError, match="ruby/version: 'latest' is not a version requirement"):
        launch(replace(SHOP, ruby_version="latest"))


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
def test_a_value_is_data_on_one_line_of_ascii(value: str) -> None:
    plain = rackup([Use("Ping", None, ("x",), {"x": "x"})], "config.ru")
    text = rackup([Use("Ping", value, (value, [value], {value: value}), {value: value})], value)
    assert text.isascii()
    # Whatever the manifest says, only the one line with the data differs.
    pairs = list(zip(plain.split("\n"), text.split("\n"), strict=True))
    assert [number for number, (one, other) in enumerate(pairs) if one != other] == [
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


def test_the_same_manifest_gives_the_same_text() -> None:
    one = rackup([Use("A", options={"a": 1, "b": 2})], Entry(("./app",), "Shop"))
    other = rackup([Use("A", options={"b": 2, "a": 1})], Entry(("./app",), "Shop"))
    assert one == other


def test_an_app_server_is_one_file_and_one_line() -> None:
    class Puma:
        name = "puma"
        executable = "/usr/bin/puma"
        libraries = ("puma",)
        options: Mapping[str, Option] = {"threads": Option("integer", "Threads.", 5)}
        stop = Stop("SIGTERM", 30)

        def command(
            self, options: Mapping[str, Json], rackup: str, listen: str, port: int, environment: str
        ) -> tuple[str, ...]:
            return (self.executable, "-b", f"tcp://{listen}:{port}", "-t", str(options["threads"]), rackup)

    stacks = registry([*STACKS.app_servers.values(), Puma()], STACKS.frameworks.values())
    shop = launch(replace(SHOP, app_server=AppServer("puma", {"threads": 3})), stacks)
    assert shop.argv("::1", 9) == ("/usr/bin/puma", "-b", "tcp://::1:9", "-t", "3", "/app/.dynoctl/config.ru")
    assert shop.executables == ("/usr/bin/puma",)


def test_an_option_as_json_schema() -> None:
    assert STACKS.app_servers["thin"].options["timeout"].schema() == {
        "type": "integer",
        "description": "Seconds without data after which a connection is closed.",
        "default": 30,
        "minimum": 1,
    }
    assert STACKS.app_servers["thin"].options["threaded"].schema() == {
        "type": "boolean",
        "description": "Call the app in threads; it must be thread-safe.",
        "default": False,
    }


def test_the_schema_takes_the_options_that_thin_takes() -> None:
    schema = json.loads((Path(__file__).parents[2] / "schemas/dyno.schema.json").read_text(encoding="utf-8"))
    taken = schema["properties"]["app_server"]["properties"]["options"]["properties"]
    assert {name: {key: rule[key] for key in rule if key != "examples"} for name, rule in taken.items()} == {
        name: option.schema() for name, option in STACKS.app_servers["thin"].options.items()
    }


def test_the_schema_names_the_layers_there_are() -> None:
    schema = json.loads((Path(__file__).parents[2] / "schemas/dyno.schema.json").read_text(encoding="utf-8"))
    for key, layers in (("app_server", STACKS.app_servers), ("framework", STACKS.frameworks)):
        assert set(schema["properties"][key]["properties"]["name"]["enum"]) == set(layers)
