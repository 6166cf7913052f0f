Rails.application.configure do
  config.cache_classes = true
  config.eager_load = true
  config.consider_all_requests_local = false

  # The filesystem of a dyno is read-only: assets are compiled when the slug is built, and logs go to the journal.
  config.assets.compile = false if defined?(Sprockets)
  config.public_file_server.enabled = ENV["RAILS_SERVE_STATIC_FILES"].present?
  config.logger = ActiveSupport::Logger.new($stdout) if ENV["RAILS_LOG_TO_STDOUT"].present?
  config.log_level = ENV.fetch("LOG_LEVEL", "info").to_sym
  config.active_record.dump_schema_after_migration = false

  # The cache of dyno.yaml, if any.
  config.cache_store =
    if ENV["MEMCACHE_SERVERS"] then [:mem_cache_store, *ENV["MEMCACHE_SERVERS"].split(",")]
    elsif ENV["REDIS_URL"] then [:redis_cache_store, { url: ENV["REDIS_URL"] }]
    else :memory_store
    end
end
