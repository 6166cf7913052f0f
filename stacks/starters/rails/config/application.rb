require_relative "boot"

# Of Rails, what a small app needs; add a railtie here when you use it.
require "rails"
require "active_record/railtie"
require "action_controller/railtie"
require "action_view/railtie"
require "sprockets/railtie"

module Blog
  class Application < Rails::Application
    config.load_defaults 6.1
    config.generators.system_tests = nil
  end
end
