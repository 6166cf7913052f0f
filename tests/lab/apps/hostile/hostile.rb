# A Rack app that attacks what it runs on, when it is asked to.

require_relative "attacks"

class Hostile
  def self.call(env)
    body =
      case env["PATH_INFO"]
      when "/attacks" then JSON.generate(Attacks.run)
      when "/shut-at-exit" then at_exit { shut } && "later"
      when "/daemon" then Process.detach(fork { Process.daemon; exec("sleep", env["QUERY_STRING"]) }) && "started"
      when "/drop" then listening { |socket| socket.setsockopt(:IP, IP_MINTTL, 255) } && "dropped"
      else "hostile #{ENV["DYNO"]} #{ENV["WORD"]}\n"
      end
    [200, {"content-type" => "text/plain"}, [body]]
  end

  # For good: no packet of the loopback interface has so many hops left.
  IP_MINTTL = 21

  def self.shut = listening(&:shutdown)

  # Every listening socket of the process.
  def self.listening
    (3..64).each do |number|
      socket = Socket.for_fd(number)
      socket.autoclose = false
      yield socket if socket.getsockopt(:SOCKET, :ACCEPTCONN).bool
    rescue SystemCallError
      next
    end
  end
end
