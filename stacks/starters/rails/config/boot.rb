# Use the gems of the bundle if there is a lock file, else those of the system.
ENV["BUNDLE_GEMFILE"] ||= File.expand_path("../Gemfile", __dir__)
require "bundler/setup" if File.exist?("#{ENV["BUNDLE_GEMFILE"]}.lock")
require "logger" # Rails before 7.1 does not require it
