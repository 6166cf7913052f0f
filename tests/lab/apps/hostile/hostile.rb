# A Rack app that attacks what it runs on, when it is asked to.

require_relative "attacks"

class Hostile
  def self.call(env)
    body =
      case env["PATH_INFO"]
      when "/attacks" then JSON.generate(Attacks.run)
      when "/shut-at-exit" then at_exit { shut } && "later"
      else "hostile #{ENV["DYNO"]} #{ENV["WORD"]}\n"
      end
    [200, {"content-type" => "text/plain"}, [body]]
  end

  # Every listening socket of the process, for good.
  def self.shut
    (3..64).each do |number|
      socket = Socket.for_fd(number)
      socket.autoclose = false
      socket.shutdown if socket.getsockopt(:SOCKET, :ACCEPTCONN).bool
    rescue SystemCallError
      next
    end
  end
end
