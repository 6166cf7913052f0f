"""The generated rackup under the Ruby of this machine: every value, every order, and RubyGems' own requirements."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from infra.manifest.model import Framework, Json, Map, Use
from infra.model.stack import ORIGINAL
from stacks import rails_production
from stacks.requirement import satisfies
from tests.lab.local_ruby import RUBY, SAY, VALUES, ask, attempt, manifest, slug_at, write


@pytest.fixture
def slug(tmp_path: Path) -> Path:
    return slug_at(tmp_path)


def test_every_value_arrives_as_it_was(slug: Path) -> None:
    options: dict[str, Json] = {f"k{number}": value for number, value in enumerate(VALUES)}
    use = Use("Tell", "./tell", tuple(VALUES), options)
    told = json.loads(ask(slug, manifest([use]), "/")[0])
    assert told["args"] == VALUES
    assert told["options"] == options
    assert set(told["keys"]) == {"Symbol"}
    assert set(told["encodings"]) == {"UTF-8"}
    assert not (slug / "owned").exists()


def test_types_arrive_as_rubys_own(slug: Path) -> None:
    use = Use("Tell", "./tell", ("s", 1, 1.5, True, False, None, [], {}))
    told = json.loads(ask(slug, manifest([use]), "/")[0])
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


def test_requirements_match_as_rubygems_matches_them() -> None:
    dice = random.Random(42)
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


RAILS = """\
require "logger"
module ActiveSupport
  Logger = Class.new(::Logger)
  TaggedLogging = Struct.new(:logger) { def self.new(logger) = logger.tap { |l| l.progname = "tagged" } }
end
Part = Struct.new(:enabled, :dump_schema_after_migration)
Config = Struct.new(:logger, :log_formatter, :public_file_server, :active_record)
CONFIG = Config.new(nil, ->(*, text) { "#{text}\\n" }, Part.new(false), Part.new(nil, true))
module Rails
  def self.application = self
  def self.config = CONFIG
  def self.configure(&block) = instance_eval(&block)
end
"""


@pytest.mark.parametrize(
    ("logger", "shown", "in_file"),
    [
        ("", "said\n", ""),
        ("config.logger = Logger.new('own.log', formatter: config.log_formatter)", "said\n", ""),
        ("config.logger = Logger.new(File.open('own.log', 'a'), formatter: config.log_formatter)", "said\n", ""),
        ("config.logger = Logger.new($stdout, formatter: ->(*) { 'own' })", "own", ""),
        ("config.logger = Logger.new(nil)", "", ""),
        ("ENV['RAILS_LOG_TO_STDOUT'] = ''\n  config.logger = Logger.new('own.log')", "", "said"),
    ],
)
def test_rails_logs_to_stdout_whatever_its_file_says(slug: Path, logger: str, shown: str, in_file: str) -> None:
    """The file runs as the app's own, with its path, and changes three settings after it."""
    (slug / "config/environments").mkdir(parents=True)
    own = f"Rails.application.configure do\n  {logger}\nend\nrequire_relative './beside'\nputs __FILE__, __dir__\n"
    path = "config/environments/production.rb"
    write(slug, {"original.rb": own, "config/environments/beside.rb": "puts 'beside'\n", "rails.rb": RAILS})
    text = rails_production.text(path).replace(ORIGINAL, "original.rb").replace("/app/", f"{slug}/")
    write(slug, {"boot.rb": f"require './rails'\n{text}\nCONFIG.logger.info 'said'\np CONFIG.to_a.drop(2)\n"})
    environment = {**os.environ, "RAILS_LOG_TO_STDOUT": "1", "RAILS_SERVE_STATIC_FILES": "1"}
    done = subprocess.run([RUBY, "boot.rb"], cwd=slug, env=environment, capture_output=True, text=True, check=True)
    beside, file, directory, *rest = done.stdout.split("\n", 3)
    assert (beside, file, directory) == ("beside", f"{slug}/{path}", f"{slug}/config/environments")
    said, _, settings = rest[0].partition("[#<struct Part")
    assert said == shown and "enabled=true" in settings and "dump_schema_after_migration=false" in settings
    log = slug / "own.log"
    assert ("said" in log.read_text() if log.exists() else False) == bool(in_file)
