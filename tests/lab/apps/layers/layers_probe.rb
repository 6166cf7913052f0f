# Middleware of the tests: marks its place in the chain, answers a hot path, and uses a database and a cache itself.
class Mark
  def initialize(app, name)
    @app, @name = app, name
  end

  def call(env)
    status, headers, body = @app.call(env)
    [status, headers.to_h.merge("x-chain" => [@name, headers["x-chain"]].compact.join(",")), body]
  end
end

class Hot
  def initialize(app, path:)
    @app, @path = app, path
  end

  def call(env)
    env["PATH_INFO"] == @path ? [200, { "content-type" => "text/plain" }, ["hot\n"]] : @app.call(env)
  end
end

# Answers with what it was given.
class Tell
  def initialize(app, *args, **options)
    @app, @told = app, { "args" => args, "options" => options }
  end

  def call(env)
    return @app.call(env) unless env["PATH_INFO"] == "/told"

    require "json"
    [200, { "content-type" => "application/json" }, [JSON.generate(@told)]]
  end
end

# A row written and read, a key set and read, in the database and the cache that have names.
class Backings
  def initialize(app)
    @app = app
  end

  def call(env)
    return @app.call(env) unless env["PATH_INFO"] == "/backings"

    word = env["QUERY_STRING"]
    [200, { "content-type" => "text/plain" }, ["#{row(word)} #{note(word)}\n"]]
  end

  def row(word)
    url = ENV.fetch("OTHER_DATABASE_URL")
    table = "CREATE TABLE IF NOT EXISTS words (word varchar(200))"
    if url.start_with?("mysql2")
      require "mysql2"
      require "uri"
      at = URI(url)
      database = Mysql2::Client.new(host: at.host, username: at.user, password: at.password, database: at.path[1..])
      database.query(table)
      database.prepare("INSERT INTO words VALUES (?)").execute(word)
      database.prepare("SELECT word FROM words WHERE word = ?").execute(word).first["word"]
    else
      require "pg"
      database = PG.connect(url)
      database.set_notice_processor {}
      database.exec(table)
      database.exec_params("INSERT INTO words VALUES ($1)", [word])
      database.exec_params("SELECT word FROM words WHERE word = $1", [word]).getvalue(0, 0)
    end
  ensure
    database&.close
  end

  def note(word)
    if (url = ENV["PAGES_REDIS_URL"])
      require "redis"
      store = Redis.new(url: url)
    else
      require "dalli"
      store = Dalli::Client.new(ENV.fetch("PAGES_MEMCACHE_SERVERS"), raw: true)
    end
    store.set("word", word)
    store.get("word")
  ensure
    store&.close
  end
end

One = ->(env) { [200, { "content-type" => "text/plain" }, ["one #{Process.pid}"]] }
Two = ->(env) { [200, { "content-type" => "text/plain" }, ["two #{Process.pid}"]] }
