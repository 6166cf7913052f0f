# For a server on your own machine; dynos get a rackup that dynoctl makes from dyno.yaml.
require_relative "config/environment"

run Rails.application
