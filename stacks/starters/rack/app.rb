# A Rack app and nothing else: whatever answers `call` with a status, headers and a body.
require "./lib/database"
require "./lib/cache"

module App
  NOTE = %r{\A/notes/([\w.-]+)\z}

  def self.call(env)
    case [env["REQUEST_METHOD"], env["PATH_INFO"]]
    in ["GET" | "HEAD", "/"] then text(200, "Hello: this is #{ENV["DYNO"] || "no dyno"}, process #{Process.pid}.\n")
    in ["GET" | "HEAD", "/up"] then text(200, "up\n") # without the database or the cache
    in ["GET", "/visits"] then text(200, "#{Database.visits} visits\n")
    in ["POST", "/visits"] then text(201, "#{Database.visit(ENV["DYNO"])}\n")
    in ["GET", NOTE] then note(env) { |key| Cache.read(key) }
    in ["PUT", NOTE] then note(env) { |key| Cache.write(key, env["rack.input"].read) && "" }
    else text(404, "There is nothing here.\n")
    end
  rescue Database::Away => error
    text(503, "The database is away: #{error.message}\n")
  rescue Cache::Away => error
    text(503, "The cache is away: #{error.message}\n")
  end

  def self.note(env)
    found = yield env["PATH_INFO"][NOTE, 1]
    found ? text(200, found) : text(404, "There is no such note.\n")
  end

  def self.text(status, body)
    [status, { "content-type" => "text/plain" }, [body]]
  end

  private_class_method :note, :text
end
