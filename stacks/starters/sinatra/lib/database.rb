# One connection to the database of DATABASE_URL, PostgreSQL or MySQL: opened when it is needed, anew after it broke.
module Database
  class Away < StandardError; end

  # A row is written and its number given back. Raises Away when there is no database to write to.
  def self.visit(dyno)
    attempt { |database| database.insert(dyno) }
  end

  # How many rows there are.
  def self.visits
    attempt(&:count)
  end

  def self.attempt
    @database ||= open(ENV.fetch("DATABASE_URL") { raise Away, "DATABASE_URL is not set" })
    yield @database
  rescue Away
    raise
  rescue StandardError => error
    @database = nil
    raise Away, error.class.name # its message may hold the address and the user
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
      @connection.set_notice_processor {} # it may say that the table is there already
      @connection.exec(TABLE)
    rescue PG::UniqueViolation
      # Another dyno made the table at the same moment.
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
      at = URI(url)
      user, password = [at.user, at.password].map { |word| word && URI.decode_www_form_component(word.gsub("+", "%2B")) }
      @connection = Mysql2::Client.new(
        host: at.host, port: at.port || 3306, username: user, password: password,
        database: at.path.delete_prefix("/"), connect_timeout: 2
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
