# One connection to the database of DATABASE_URL: opened when it is needed, and anew after it broke.
require "pg"

module Database
  class Away < StandardError; end

  TABLE = <<~SQL
    CREATE TABLE IF NOT EXISTS visits (id bigserial PRIMARY KEY, dyno text, at timestamptz DEFAULT now())
  SQL

  # Writes a row and gives its number. Raises Away when there is no database to write to.
  def self.visit(dyno)
    row = connection.exec_params("INSERT INTO visits (dyno) VALUES ($1) RETURNING id", [dyno])
    row.getvalue(0, 0)
  rescue PG::Error => error
    @connection = nil
    raise Away, error.class.name # its message may hold the address and the user
  end

  def self.connection
    @connection ||= connect(ENV.fetch("DATABASE_URL") { raise Away, "DATABASE_URL is not set" })
  end

  def self.connect(url)
    PG.connect(url, connect_timeout: 2).tap { |opened| make_table(opened) }
  end

  def self.make_table(opened)
    opened.set_notice_processor {} # it may say that the table is there already
    opened.exec(TABLE)
  rescue PG::UniqueViolation
    # Another dyno made the table at the same moment.
  end

  private_class_method :connection, :connect, :make_table
end
