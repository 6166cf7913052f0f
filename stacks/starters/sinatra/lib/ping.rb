# Answers one hot path by itself, before any framework is reached, and counts the answers in the cache.
#
#   use Ping, "/ping", cache: true
class Ping
  COUNTER = "ping:answers"
  PATIENCE = 0.2 # seconds: a hot path does not wait for a cache that is away
  PAUSE = 5      # seconds until a cache that was away is asked again

  def initialize(app, path = "/ping", cache: false)
    @app = app
    @path = path
    # The dyno's environment says where the cache is: middleware can read it just as an app can.
    url = ENV["REDIS_URL"]
    @redis = connect(url) if cache && url
    @away_until = 0
  end

  def call(env)
    return @app.call(env) unless env["PATH_INFO"] == @path

    [200, { "content-type" => "text/plain" }, ["pong #{count || "(not counted)"}\n"]]
  end

  private

  def connect(url)
    require "redis" # only where it is used
    Redis.new(url: url, timeout: PATIENCE, reconnect_attempts: 0)
  end

  def count
    @redis.incr(COUNTER) if @redis && now >= @away_until
  rescue StandardError
    @away_until = now + PAUSE
    nil
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
