# Gems come from the bundle where there is one, and else from the system.
ENV["BUNDLE_GEMFILE"] ||= File.expand_path("../Gemfile", __dir__)
require "bundler/setup" if File.exist?("#{ENV["BUNDLE_GEMFILE"]}.lock")
require "logger" # Rails before 7.1 forgets to
