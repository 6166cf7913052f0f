# Adds a row to a SQLite database, that of DATABASE_URL or another, and says how many there are.

require "uri"

module Rows
  def self.add(path)
    require "sqlite3"
    path = URI(ENV.fetch("DATABASE_URL")).path if path.empty?
    database = SQLite3::Database.new(path)
    database.busy_timeout(20_000)
    mode = database.get_first_value("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, dyno TEXT)")
    count = 0
    database.transaction(:immediate) do # nobody else adds a row before it counts
      database.execute("INSERT INTO rows (dyno) VALUES (?)", [ENV["DYNO"]])
      count = database.get_first_value("SELECT count(*) FROM rows")
    end
    "#{mode} #{count}"
  rescue SQLite3::Exception => e
    "#{e.class.name}: #{e.message}"
  ensure
    database&.close
  end
end

puts Rows.add(ARGV.fetch(0, "")) if $PROGRAM_NAME == __FILE__
