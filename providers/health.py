"""The health check of web dynos: which request is sent, which answer is healthy, and the Ruby program that asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infra.manifest.model import Health, Manifest


@dataclass(frozen=True)
class Check:
    """What the health check of a release sends and accepts.

    ``host`` is the value of the Host header, None the address of the dyno. ``secure``: the request says that the client
    used HTTPS. ``wanted`` is a status, ``ok`` (200 to 299), ``booted`` (the same, or 403), or "" if the manifest sets
    neither path nor status. ``timeout`` is in seconds, for one answer."""

    path: str = "/"
    wanted: str = ""
    timeout: int = Health.timeout
    host: str | None = None
    secure: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    def arguments(self, listen: str, port: int, default: str) -> list[str]:
        """The arguments of ``PROGRAM``. ``listen`` is an address, or the path of a socket if ``port`` is 0. ``default``
        is what is accepted if the manifest does not say it: ``any`` answer, or ``served``, one below 500 that is no
        redirect, which is judged by the first answer."""
        address = f"[{listen}]" if ":" in listen else listen
        host = self.host or (address if port else "localhost")
        scheme = "https" if self.secure else "http"
        lines = [f"{name}: {value}" for name, value in sorted(self.headers.items())]
        return [listen, str(port), self.path, self.wanted or default, str(self.timeout), scheme, host, *lines]


def check_of(manifest: Manifest, own: str = "") -> Check:
    """The check of a manifest; ``own`` is the path of the framework's health check, for one without a path. Without a
    host or a scheme of its own, it is what the router passes on: the first of its hosts, of a wildcard the name with
    www, and that of HTTPS if it has a certificate."""
    health, router = manifest.rollout.health, manifest.router
    hosts = () if router is None else router.hosts
    tls = router is not None and (router.certificate is not None or router.acme is not None)
    path = health.path or own
    host = health.host or next(iter(hosts), "").replace("*.", "www.") or None
    # Rails answers 403 to a Host that its config.hosts lacks. Without a router, none that it has is known.
    healthy = "booted" if path and not health.path and host is None else "ok" if path else ""
    return Check(
        path=path or "/",
        wanted=str(health.status or healthy),
        timeout=health.timeout,
        host=host,
        secure=tls if health.scheme is None else health.scheme == "https",
        headers=health.headers,
    )


def command(ruby: str, program: str, arguments: Sequence[str]) -> list[str]:
    """The argv that runs one of the programs below, without gems, so that it starts quickly."""
    return [ruby, "--disable=gems", "-rsocket", "-rio/wait", "-e", program, *arguments]


# It reads from the app, so it runs as the dyno's user in the dyno's sandbox. A redirect on the same host is followed
# once, and its answer counts; Ruby's URI decides what the same host is. An answer has a deadline and a largest size.
_FUNCTIONS = """\
at, port, path, wanted, patience, scheme, host, *headers = ARGV
said = nil
at_exit { warn "health check: #{said || "no answer to GET #{path}"}" if $! }
now = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }
reach = ->(&talk) { port == "0" ? Socket.unix(at, &talk) : Socket.tcp(at, port.to_i, connect_timeout: 5, &talk) }
ask = lambda do |target, proto|
  reach.call do |s|
    lines = ["GET #{target} HTTP/1.0", "Host: #{host}", "User-Agent: dynoctl"]
    lines << "X-Forwarded-Proto: https" if proto == "https"
    s.write((lines + headers).join("\\r\\n") + "\\r\\n\\r\\n")
    text, ends = "".b, now.call + patience.to_i
    until text.include?("\\r\\n\\r\\n") || text.size > 65536
      left = ends - now.call
      break if left <= 0
      next if s.wait_readable(left).nil?
      text << (s.readpartial(4096) rescue break)
    end
    [text[%r{\\AHTTP/\\S+ (\\d{3})\\b}n, 1], text[/^location:[ \\t]*([!-~]+)/in, 1]]
  end
end
fits = lambda do |status|
  case wanted
  when "any" then true
  when "served" then status < "500" && status[0] != "3"
  when "ok" then status[0] == "2"
  when "booted" then status[0] == "2" || status == "403"
  else status == wanted
  end
end
look = lambda do
  status, location = ask.call(path, scheme)
  return false if status.nil?
  said = "GET #{path} answered #{status}"
  exit!(true) if fits.call(status)
  return true if status[0] != "3" || location.nil?
  require "uri"
  here = URI("#{scheme}://#{host}#{path}") rescue (return true)
  to = URI.join(here, location) rescue nil
  said += ", a redirect to #{location[0, 200]}"
  return true unless to.is_a?(URI::HTTP) && to.host.to_s.casecmp?(here.host)
  status, = ask.call(to.request_uri, to.scheme)
  return false if status.nil?
  said += ", which answered #{status}"
  exit!(true) if fits.call(status)
  true
rescue SystemCallError, SocketError, IOError
  false
end
"""


def _program(loop: str) -> str:
    """The program as one line, as it is in a unit."""
    return "; ".join(line.strip() for line in (_FUNCTIONS + loop).splitlines())


PROGRAM = _program("""\
trap("TERM") { exit 1 }
loop do
  sleep(look.call ? 0.25 : 0.02)
end
""")
"""Asks until the answer is healthy."""

CANDIDATE = _program("""\
%w[TERM QUIT].each { |name| trap(name) { exit 1 } }
loop do
  Process.kill(0, ENV["MAINPID"].to_i) rescue (said ||= "it exited before it answered"; exit 1)
  answered = look.call
  exit 1 if answered && wanted == "served"
  sleep(answered ? 0.25 : 0.02)
end
""")
"""Asks a candidate, and gives up if it exits. Without a configured health check an error fails at once; with one, the
app may be unhealthy until the deadline."""
