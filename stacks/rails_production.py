"""The file that dynos of a Rails app have in place of config/environments/production.rb: it runs the app's own one, and
then says what a dyno needs.

Rails reads this file in every process that starts the app, so it reaches consoles, workers, migrations and schedules
without a change of the app. What was tried in its place: a link from log/production.log to /dev/stdout does not work,
as stdout is a socket of journald, which cannot be opened by a path (ENXIO); a pipe in its place loses the last lines
when the process that reads it is stopped; RUBYOPT would load a file into every Ruby before Bundler has set up its gems;
and SCHEMA=/dev/null also changes which schema ``db:prepare`` loads."""

from __future__ import annotations

from infra.model import paths
from infra.model.stack import ORIGINAL


def text(path: str) -> str:
    """The text of the file in place of ``path``, which is relative to the app."""
    return _TEXT.format(path=f"{paths.APP_DIRECTORY}/{path}", original=ORIGINAL)


# Compiled with its own path, the app's file can use __dir__ and require_relative.
_TEXT = """\
# dynoctl: runs {path} of the app, and then says what a dyno needs.
RubyVM::InstructionSequence.compile(File.read("{original}"), "{path}", "{path}").eval

Rails.application.configure do
  unless ENV["RAILS_LOG_TO_STDOUT"].to_s.empty?
    # A file in a dyno is in memory, and nobody sees it. Loggers that write elsewhere stay.
    $stdout.sync = true
    if config.logger.nil?
      config.logger = ActiveSupport::Logger.new($stdout)
      config.logger.formatter = config.log_formatter
      config.logger = ActiveSupport::TaggedLogging.new(config.logger)
    end
    loggers = config.logger.respond_to?(:broadcasts) ? config.logger.broadcasts : [config.logger]
    loggers.grep(Logger).each do |logger|
      device = logger.instance_variable_get(:@logdev)
      logger.reopen($stdout) if device.respond_to?(:dev) && device.dev.is_a?(File)
    end
  end

  # Nothing in front of a dyno serves the files in public/.
  config.public_file_server.enabled = true unless ENV["RAILS_SERVE_STATIC_FILES"].to_s.empty?

  # db:migrate would write the schema to a file of the slug, which is read-only.
  config.active_record.dump_schema_after_migration = false if config.respond_to?(:active_record)
end
"""
