# A Rack app without a framework: `call` returns a status, headers and a body.
require "./lib/database"
require "./lib/cache"

module App
  NOTE = %r{\A/notes/([\w.-]+)\z}

  def self.call(env)
    case [env["REQUEST_METHOD"], env["PATH_INFO"]]
    in ["GET" | "HEAD", "/"] then text(200, "Hello: this is #{ENV["DYNO"] || "not a dyno"}, process #{Process.pid}.\n")
    in ["GET" | "HEAD", "/up"] then text(200, "up\n") # needs neither the database nor the cache
    in ["GET", "/visits"] then text(200, "#{Database.visits} visits\n")
    in ["POST", "/visits"] then text(201, "#{Database.visit(ENV["DYNO"])}\n")
    in ["GET", NOTE] then note(env) { |key| Cache.read(key) }
    in ["PUT", NOTE] then note(env) { |key| Cache.write(key, env["rack.input"].read) && "" }
    else text(404, "Not found.\n")
    end
  rescue Database::Unavailable => error
    text(503, "The database is unavailable: #{error.message}\n")
  rescue Cache::Unavailable => error
    text(503, "The cache is unavailable: #{error.message}\n")
  end

  def self.note(env)
    found = yield env["PATH_INFO"][NOTE, 1]
    found ? text(200, found) : text(404, "Note not found.\n")
  end

  def self.text(status, body)
    [status, { "content-type" => "text/plain" }, [body]]
  end

  private_class_method :note, :text
end
