# A Rack app that attacks what it runs on, when it is asked to.

require_relative "attacks"

class Hostile
  def self.call(env)
    body = env["PATH_INFO"] == "/attacks" ? JSON.generate(Attacks.run) : "hostile #{ENV["DYNO"]}\n"
    [200, {"content-type" => "text/plain"}, [body]]
  end
end
