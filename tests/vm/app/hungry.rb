# A Rack app that uses more memory than it may: when a request asks for it, or as it boots.

class Hungry
  RELEASE = "one"
  EATEN = []

  def self.eat
    loop { EATEN << "x" * (1 << 20) }
  end

  def self.call(env)
    eat if env["PATH_INFO"] == "/eat"
    [200, {"content-type" => "text/plain"}, ["#{ENV["DYNO"]} #{RELEASE}"]]
  end

  eat if ENV["EAT"] == "boot"
  eat if ENV["EAT"] == "dynos" && ENV["DYNO"] != "web.0" # the candidate is web.0
end
