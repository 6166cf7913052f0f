# A Rack app that tries what it is told to, and says how far it came: the sandbox is tested from inside.

require "socket"
require "uri"
require_relative "rows"

class Probe
  ACTIONS = {
    "write" => ->(path) { File.write(path, "x"); "written" },
    "read" => ->(path) { File.binread(path, 4096) },
    "list" => ->(path) { Dir.children(path).sort.join(" ") },
    "kill" => ->(pid) { Process.kill("TERM", Integer(pid)); "killed" },
    "processes" => ->(_) { Dir.children("/proc").grep(/\A\d+\z/).sort.join(" ") },
    "env" => ->(name) { ENV.fetch(name, "(unset)") },
    "spin" => ->(seconds) { stop = Time.now + [Float(seconds), 10].min; nil while Time.now < stop; "spun" },
    "id" => ->(_) { [Process.pid, Process.uid, Process.gid, Process.groups.join(",")].join(" ") },
    "shm" => ->(_) { File.write("/dev/shm/probe", "x"); Dir.children("/dev/shm").join(" ") },
    "exit" => ->(_) { Thread.new { sleep 0.1; exit!(1) }; "leaving" },
    "rows" => ->(path) { Rows.add(path) },
    "raw" => ->(_) { Socket.new(:INET, :RAW, 1); "raw socket" },
    "setuid" => ->(_) { Process::Sys.setuid(0); "root" },
  }.freeze

  def self.call(env)
    action = env["PATH_INFO"].delete_prefix("/")
    return [200, {"content-type" => "text/plain"}, ["probe #{ENV["DYNO"]}\n"]] if action.empty?

    argument = URI.decode_www_form(env["QUERY_STRING"]).to_h.fetch("of", "")
    [200, {"content-type" => "text/plain"}, [ACTIONS.fetch(action).call(argument).to_s]]
  rescue SystemCallError => e
    [403, {"content-type" => "text/plain"}, [e.class.name]]
  end
end
