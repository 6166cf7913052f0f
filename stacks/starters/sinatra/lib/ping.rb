# Answers one hot path without calling the app, and counts the responses in the cache.
#
#   use Ping, "/ping", cache: true
class Ping
  COUNTER = "ping:answers"
  TIMEOUT = 0.2 # seconds: a hot path does not wait for an unavailable cache
  PAUSE = 5     # seconds until an unavailable cache is tried again

  def initialize(app, path = "/ping", cache: false)
    @app = app
    @path = path
    # Middleware can read the environment of the dyno, like the app.
    url = ENV["REDIS_URL"]
    @redis = connect(url) if cache && url
    @retry_at = 0
  end

  def call(env)
    return @app.call(env) unless env["PATH_INFO"] == @path

    [200, { "content-type" => "text/plain" }, ["pong #{count || "(not counted)"}\n"]]
  end

  private

  def connect(url)
    require "redis" # only if it is used
    Redis.new(url: url, timeout: TIMEOUT, reconnect_attempts: 0)
  end

  def count
    @redis.incr(COUNTER) if @redis && now >= @retry_at
  rescue StandardError
    @retry_at = now + PAUSE
    nil
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
