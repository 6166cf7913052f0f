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
{"app":{"at":"framework","constant":"Shop","key":"app","reader":null,"requires":["./app"]},"middleware":[{"args":[],"at":"middleware/0","constant":"Rack::Deflater","key":"use","options":{},"requires":[]},{"args":["/ping"],"at":"middleware/1","constant":"Ping","key":"use","options":{"cache":true},"requires":["./lib/ping"]},{"at":"middleware/2","constant":"Admin","key":"app","map":"/admin","requires":["./admin"]}]}
MANIFEST
