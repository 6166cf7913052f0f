# For local development. Dynos use a rackup file that dynoctl generates from dyno.yaml.
require_relative "config/environment"

run Rails.application
