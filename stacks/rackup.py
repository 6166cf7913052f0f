"""Generate the rackup file of a manifest: constant Ruby, with the manifest as a line of JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from infra.manifest.model import Json, Map, Use
from stacks.contract import Entry, StackError

PATH = "/app/.dynoctl/config.ru"
"""The path of the rackup file in a dyno."""

_MAPPABLE = re.compile(r"/|https?://[^/]+/")


def rackup(middleware: Sequence[Use | Map], app: Entry | str, *, idle: bool = False) -> str:
    """The text of a rackup that runs ``app`` (or the rackup file of that name) behind ``middleware``. If its dynos may
    be ``idle``, each request leaves a mark first.

    No value of the manifest is ever evaluated as Ruby. The values are JSON in ASCII, on one line that starts with a
    brace, in a heredoc without interpolation, so that no value can end the line, the heredoc or the file.
    Raises StackError if Rack cannot map a path, or if a value cannot be represented in JSON and UTF-8.
    """
    chain: list[Json] = [_link(index, entry) for index, entry in enumerate(middleware)]
    manifest: dict[str, Json] = {"middleware": chain, "app": _app(app)}
    return (
        (_USED if idle else "")
        + _BEFORE
        + json.dumps(manifest, allow_nan=False, separators=(",", ":"), sort_keys=True)
        + _AFTER
    )


def _link(index: int, entry: Use | Map) -> Json:
    at = f"middleware/{index}"
    requires: list[Json] = [] if entry.require is None else [entry.require]
    if isinstance(entry, Map):
        if not _MAPPABLE.match(entry.path):
            raise StackError(f"{at}/map", f"invalid value for map: {entry.path!r}", "Use a path that starts with /.")
        return {"at": at, "key": "app", "map": entry.path, "constant": entry.app, "requires": requires}
    arguments: dict[str, Json] = {"args": list(entry.args), "options": dict(entry.options)}
    try:
        # Ruby's JSON is stricter than Python's: it has no NaN and no unpaired surrogate.
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except ValueError as error:
        hint = "Use only values that JSON supports, in UTF-8."
        raise StackError(at, f"invalid argument of {entry.name}: {error}", hint) from error
    return {"at": at, "key": "use", "constant": entry.name, "requires": requires, **arguments}


def _app(app: Entry | str) -> Json:
    if isinstance(app, str):
        return {"at": "rackup", "rackup": app}
    return {
        "at": "framework",
        "key": "app",
        "constant": app.constant,
        "requires": list(app.requires),
        "reader": app.reader,
    }


_USED = """\
# Made by dynoctl: the time of this file is that of the last request. A dyno without requests is stopped.
use(Class.new do
  define_method(:initialize) { |app| @app = app }

  def call(env)
    begin
      File.utime(nil, nil, "/tmp/.dynoctl-used")
    rescue SystemCallError
      File.write("/tmp/.dynoctl-used", "") rescue nil
    end
    @app.call(env)
  end
end)

"""

_BEFORE = """\
# Made by dynoctl from dyno.yaml: the middleware in its order, then the app.
# The Ruby here is always the same. What the manifest says is in the JSON line and is only ever data.
$stdout.sync = $stderr.sync = true # a line of the log is there at once

require "json"

# Methods, because an app server may evaluate this file among local variables of its own.
dynoctl = Object.new
class << dynoctl
  # The last word in the log is the key of dyno.yaml to look at.
  def give_up(key, what, error)
    origin = error.backtrace.to_a.find { |frame| !frame.start_with?("<internal:") }
    ours = origin.to_s.start_with?(__FILE__) && !error.is_a?(SyntaxError)
    frames = error.backtrace.to_a.reject { |frame| frame.start_with?("<internal:", __FILE__) }.first(12)
    warn "#{error.class}: #{error.message}", frames.map { |frame| "  from #{frame}" } unless ours
    abort "dyno.yaml: #{key}: #{what}: #{error.class}: #{error.message.lines.first.to_s.chomp}"
  end

  def load_constant(entry)
    entry["requires"].each do |file|
      require file
    rescue ScriptError, StandardError => error
      give_up("#{entry["at"]}/require", "cannot load #{file}", error)
    end
    begin
      Object.const_get(entry["constant"])
    rescue ScriptError, StandardError => error
      give_up("#{entry["at"]}/#{entry["key"]}", "cannot find #{entry["constant"]}", error)
    end
  end

  def load_app(entry)
    found = load_constant(entry)
    found = found.public_send(entry["reader"]) if entry["reader"]
    return found if found.respond_to?(:call)

    abort "dyno.yaml: #{entry["at"]}/#{entry["key"]}: #{entry["constant"]} does not answer call"
  end

  def load_rackup(entry)
    app = Rack::Builder.parse_file(File.expand_path(entry["rackup"]))
    app.is_a?(Array) ? app.first : app # Rack 2 gives its options as well
  rescue ScriptError, StandardError => error
    give_up(entry["at"], "cannot load #{entry["rackup"]}", error)
  end

  # Rack makes a middleware by calling new with the app that it wraps; this one adds the arguments.
  def link(entry)
    middleware = load_constant(entry)
    options = entry["options"].transform_keys(&:to_sym)
    owner = self
    Object.new.tap do |maker|
      maker.define_singleton_method(:new) do |app|
        middleware.new(app, *entry["args"], **options)
      rescue ScriptError, StandardError => error
        owner.give_up(entry["at"], "cannot make #{entry["constant"]}", error)
      end
    end
  end

  def build(builder, manifest)
    manifest["middleware"].each do |entry|
      if entry["map"]
        mapped = load_app(entry)
        builder.map(entry["map"]) { run mapped }
      else
        builder.use(link(entry))
      end
    end
    builder.run(manifest["app"]["rackup"] ? load_rackup(manifest["app"]) : load_app(manifest["app"]))
  end
end

dynoctl.build(self, JSON.parse(<<'MANIFEST', max_nesting: false))
"""

_AFTER = "\nMANIFEST\n"
