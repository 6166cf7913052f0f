# The admin pages: a plain Rack app, mapped at /admin in the process of the shop.
module Admin
  STARTED = Time.now

  # Facts about this dyno, without secrets.
  def self.call(_env)
    facts = {
      "dyno" => ENV["DYNO"],
      "pid" => Process.pid,
      "uid" => Process.uid,
      "started" => STARTED.utc,
      "directory" => Dir.pwd,
      "environment" => ENV["RACK_ENV"],
      "ruby" => RUBY_VERSION,
      "rack" => Rack.release,
    }
    [200, { "content-type" => "text/plain" }, facts.map { |name, value| "#{name}: #{value}\n" }]
  end
end
