# The connection to the database of DATABASE_URL, PostgreSQL or MySQL. It is opened on demand, and again after an error.
module Database
  class Unavailable < StandardError; end

  ONE_AT_A_TIME = Mutex.new # Puma answers in several threads, and a connection is for one of them at a time

  # Inserts a row and returns its number. Raises Unavailable if the database cannot be reached.
  def self.visit(dyno)
    attempt { |database| database.insert(dyno) }
  end

  # The number of rows.
  def self.visits
    attempt(&:count)
  end

  def self.attempt
    ONE_AT_A_TIME.synchronize do
      @database ||= open(ENV.fetch("DATABASE_URL") { raise Unavailable, "DATABASE_URL is not set" })
      yield @database
    rescue StandardError
      @database = nil # before another thread may use it
      raise
    end
  rescue Unavailable
    raise
  rescue StandardError => error
    raise Unavailable, error.class.name # the message may contain the address and the user name
  end

  def self.open(url)
    url.start_with?("mysql") ? MySQL.new(url) : PostgreSQL.new(url)
  end

  private_class_method :attempt, :open

  class PostgreSQL
    TABLE = "CREATE TABLE IF NOT EXISTS visits (id bigserial PRIMARY KEY, dyno text, at timestamptz DEFAULT now())".freeze

    def initialize(url)
      require "pg"
      @connection = PG.connect(url, connect_timeout: 2)
      @connection.set_notice_processor {} # no notice if the table already exists
      @connection.exec(TABLE)
    rescue PG::UniqueViolation
      # Another dyno created the table at the same time.
    end

    def insert(dyno)
      @connection.exec_params("INSERT INTO visits (dyno) VALUES ($1) RETURNING id", [dyno]).getvalue(0, 0)
    end

    def count
      @connection.exec("SELECT count(*) FROM visits").getvalue(0, 0)
    end
  end

  class MySQL
    TABLE = "CREATE TABLE IF NOT EXISTS visits (id bigint AUTO_INCREMENT PRIMARY KEY, dyno text, at timestamp DEFAULT now())".freeze

    def initialize(url)
      require "mysql2"
      require "uri"
      uri = URI(url)
      user, password = [uri.user, uri.password].map { |part| part && URI.decode_www_form_component(part.gsub("+", "%2B")) }
      @connection = Mysql2::Client.new(
        host: uri.host, port: uri.port || 3306, username: user, password: password,
        database: uri.path.delete_prefix("/"), connect_timeout: 2
      )
      @connection.query(TABLE)
    end

    def insert(dyno)
      @connection.prepare("INSERT INTO visits (dyno) VALUES (?)").execute(dyno)
      @connection.last_id.to_s
    end

    def count
      @connection.query("SELECT count(*) AS number FROM visits").first["number"].to_s
    end
  end
end
