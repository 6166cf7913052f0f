"""The Ruby program that checks databases and caches on a server, as the app's own clients would."""

from __future__ import annotations

# One thread for each service. The login is tried with the app's own library if the server has it. Without it, the first
# bytes of the service show at least that it is running. Certificates are checked as the app's client does: redis-rb
# does so always for rediss:, libpq as sslmode says. No secret is printed, and the only file that is written, for a
# moment, has the certificates of authorities.
ASK = r"""
require "timeout"
$stdout.sync = true
reply = lambda do |name, ok, text|
  puts JSON.generate([name, ok, text.to_s.lines.map(&:strip).reject(&:empty?).uniq.join(" ")])
end
connect = lambda do |service, host = service["hosts"][0]|
  Socket.tcp(host, service["port"], connect_timeout: service["timeout"])
end
read = lambda do |socket, seconds, size = 256|
  raise Errno::ETIMEDOUT, "timed out" unless socket.wait_readable(seconds)
  socket.readpartial(size)
end
library = lambda do |name|
  require name
  true
rescue LoadError
  false
end
# Gives the file with the authorities of the service, nil for the system's.
authority = lambda do |service, &block|
  text, path = service["authority"].values_at("text", "path")
  raise "#{path} cannot be read on this server, so the certificate is not checked" if path && !File.readable?(path)
  next block.call(path) unless text
  require "tempfile"
  Tempfile.create("authorities") do |file|
    file.binmode
    file.write(text.encode("ISO-8859-1"))
    file.flush
    block.call(file.path)
  end
end
tls = lambda do |socket, host, file, chain: true, name: true|
  require "openssl"
  context = OpenSSL::SSL::SSLContext.new
  if chain && file
    context.set_params(verify_hostname: false, ca_file: file)
  elsif chain
    context.set_params(verify_hostname: false)
  else
    context.set_params(verify_mode: OpenSSL::SSL::VERIFY_NONE, verify_hostname: false)
  end
  secure = OpenSSL::SSL::SSLSocket.new(socket, context)
  secure.hostname = host unless host =~ /\A[\d.]+\z|:/ # an address is no name for SNI
  secure.connect
  secure.post_connection_check(host) if name
  secure
rescue OpenSSL::SSL::SSLError, Errno::ECONNRESET, EOFError => error
  raise "TLS: #{error.message}"
end
redis = lambda do |service|
  socket, host = connect.(service), service["hosts"][0]
  secure = service["url"].start_with?("rediss:")
  socket = authority.(service) { |file| tls.(socket, host, file) } if secure
  login = [service["user"], service["password"]].reject(&:empty?)
  commands = [["PING"]]
  commands.unshift(["SELECT", service["database"]]) unless service["database"].empty?
  commands.unshift(["AUTH", *login]) unless login.empty?
  commands.each do |words|
    socket.write("*#{words.size}\r\n" + words.map { |word| "$#{word.bytesize}\r\n#{word}\r\n" }.join)
    answer = secure ? socket.readpartial(256) : read.(socket, service["timeout"])
    raise answer if answer.start_with?("-")
  end
  secure ? "login succeeded, certificate verified" : "login succeeded"
end
checked = { "verify-ca" => "certificate authority verified", "verify-full" => "certificate verified" }
ask = {
  "postgresql" => lambda do |service|
    mode = service["sslmode"]
    if library.("pg")
      authority.(service) do |file|
        more = file ? { sslrootcert: file } : {}
        PG.connect(service["url"], connect_timeout: service["timeout"], **more).exec("SELECT 1")
      end
      next ["login succeeded", checked[mode]].compact.join(", ")
    end
    socket = connect.(service)
    socket.write([8, 80_877_103].pack("NN"))
    answer = read.(socket, service["timeout"], 1)
    raise "not a PostgreSQL server" unless %w[S N].include?(answer)
    if %w[require verify-ca verify-full].include?(mode)
      raise "the server does not support TLS, and sslmode is #{mode}" if answer == "N"
      raise "sslmode=#{mode} needs sslrootcert" if mode != "require" && service["authority"].empty?
      authority.(service) do |file|
        tls.(socket, service["hosts"][0], file, chain: mode != "require" || !file.nil?, name: mode == "verify-full")
      end
    end
    ["reachable", checked[mode], "the login was not tried: the server has no pg gem"].compact.join("; ")
  end,
  "mysql" => lambda do |service|
    if library.("mysql2")
      Mysql2::Client.new(host: service["hosts"][0], port: service["port"], username: service["user"],
                         password: service["password"], database: service["database"],
                         connect_timeout: service["timeout"]).query("SELECT 1")
      next "login succeeded"
    end
    raise "not a MySQL server" unless read.(connect.(service), service["timeout"])[4] == "\n"
    "reachable; the login was not tried: the server has no mysql2 gem"
  end,
  "redis" => redis,
  "memcached" => lambda do |service|
    service["hosts"].each do |host|
      socket = connect.(service, host)
      socket.write("version\r\n")
      raise "#{host} is not a memcached server" unless read.(socket, service["timeout"]).start_with?("VERSION", "ERROR")
    end
    "reachable"
  end,
}
ask["mariadb"] = ask["mysql"]
require "io/wait"
JSON.parse($stdin.read).map do |service|
  Thread.new do
    tries = 0
    begin
      Timeout.timeout(3 * service["timeout"], RuntimeError, "timed out") do
        reply.(service["name"], true, ask.fetch(service["adapter"]).(service))
      end
    rescue IOError => error # libpq connects again with another socket, which Ruby may take for the old one
      retry if error.message.include?("another thread") && (tries += 1) < 3
      raise
    end
  rescue StandardError => error
    reply.(service["name"], false, error.message)
  end
end.each(&:join)
"""
