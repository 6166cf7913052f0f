# The cache of REDIS_URL or MEMCACHE_SERVERS: stores text under a key.
module Cache
  class Unavailable < StandardError; end

  TIMEOUT = 1 # seconds

  def self.read(key)
    attempt { |store| store.get(key) }
  end

  def self.write(key, text)
    attempt { |store| store.set(key, text) or raise "not stored" }
  end

  def self.attempt
    yield(@store ||= open)
  rescue Unavailable
    raise
  rescue StandardError => error
    @store = nil
    raise Unavailable, error.class.name # the message may contain the address
  end

  def self.open
    if ENV["REDIS_URL"]
      require "redis"
      Redis.new(url: ENV["REDIS_URL"], timeout: TIMEOUT, reconnect_attempts: 0)
    elsif ENV["MEMCACHE_SERVERS"]
      require "dalli"
      Dalli::Client.new(ENV["MEMCACHE_SERVERS"], socket_timeout: TIMEOUT, raw: true)
    else
      raise Unavailable, "neither REDIS_URL nor MEMCACHE_SERVERS is set"
    end
  end

  private_class_method :attempt, :open
end
