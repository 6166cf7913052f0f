require_relative "boot"

# Only the parts of Rails that this app uses. Add a railtie when you need it.
require "rails"
require "active_record/railtie"
require "action_controller/railtie"
require "action_view/railtie"
begin
  require "sprockets/railtie"
rescue LoadError
  # Rails of Debian 13 comes without an asset pipeline: the Rakefile publishes the stylesheet as it is.
end

module Blog
  class Application < Rails::Application
    config.load_defaults 6.1
    config.generators.system_tests = nil
  end
end
