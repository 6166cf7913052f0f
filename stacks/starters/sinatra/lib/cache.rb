# The cache that the environment names, Redis or memcached: text under a key.
module Cache
  class Away < StandardError; end

  PATIENCE = 1 # seconds

  def self.read(key)
    attempt { |store| store.get(key) }
  end

  def self.write(key, text)
    attempt { |store| store.set(key, text) or raise "it did not take it" }
  end

  def self.attempt
    yield(@store ||= open)
  rescue Away
    raise
  rescue StandardError => error
    @store = nil
    raise Away, error.class.name # its message may hold the address
  end

  def self.open
    if ENV["REDIS_URL"]
      require "redis"
      Redis.new(url: ENV["REDIS_URL"], timeout: PATIENCE, reconnect_attempts: 0)
    elsif ENV["MEMCACHE_SERVERS"]
      require "dalli"
      Dalli::Client.new(ENV["MEMCACHE_SERVERS"], socket_timeout: PATIENCE, raw: true)
    else
      raise Away, "neither REDIS_URL nor MEMCACHE_SERVERS is set"
    end
  end

  private_class_method :attempt, :open
end
