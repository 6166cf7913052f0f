"""Check from every server that the databases and caches can be reached with the app's own credentials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from infra.fleet.ask import ask_servers, summaries
from infra.fleet.inventory import targets
from infra.manifest.backings import Service
from infra.manifest.model import Manifest
from infra.manifest.references import resolve_environment, services
from infra.model import trusted_program
from infra.model.redact import redactor
from infra.model.resource import Command
from infra.remote.session import Session
from infra.sensitive import reveal

TIMEOUT = 5
"""Timeout in seconds for each service."""


@dataclass(frozen=True)
class Answer:
    """The result of one server for one service (``database``, ``caches/sessions``)."""

    server: str
    service: str
    adapter: str
    ok: bool
    message: str


_RUN = f"""{trusted_program.check(60)}
[ -e "$1" ] || exit 127
program=$(trusted_program "$1") || {{ echo "$1 is not run, as it $program" >&2; exit 1; }}
shift; as_nobody "$program" "$@"
"""


class Question:
    """The check of a manifest's services, to be run on any number of servers."""

    def __init__(self, manifest: Manifest, ruby: str) -> None:
        """``ruby`` is the program that runs the check. Raises ManifestInvalid if a reference has no value."""
        self.services = services(manifest)
        self._redact = redactor([resolve_environment(manifest)])
        text = json.dumps([_question(name, service) for name, service in self.services.items()]).encode()
        argv = ("sh", "-c", _RUN, "ask", ruby, "-rjson", "-rsocket", "-e", _ASK)
        self.command = Command(argv, stdin=text, secret=True, timeout=60) if self.services else None
        """What is run on a server; None without services."""

    def put(self, session: Session) -> list[Answer]:
        """The server's result for each service, in one round trip; empty without services. Raises Unreachable."""
        return [] if self.command is None else self.read(session.name, *session.execute(self.command))

    def read(self, server: str, status: int, output: str) -> list[Answer]:
        """The result of a server, from the exit status and the output of the command."""
        return _answers(server, self.services, status, self._redact(output))


def ask(manifest: Manifest, ruby: str) -> tuple[list[Answer], dict[str, str]]:
    """The results of every server, and why some servers are unreachable. ``ruby`` is the program that runs the check.

    Raises ManifestInvalid if a reference has no value."""
    question = Question(manifest, ruby)
    answers, errors = ask_servers(targets(manifest) if question.services else [], question.put)
    return [answer for found in answers.values() for answer in found], summaries(errors)


def _question(name: str, service: Service) -> Mapping[str, object]:
    return {
        "name": name,
        "adapter": service.adapter,
        "url": reveal(service.url),
        "hosts": reveal(service.host).split(","),
        "port": service.port,
        "database": reveal(service.name),
        "user": reveal(service.user),
        "password": reveal(service.password),
        "timeout": TIMEOUT,
    }


def _answers(server: str, services: Mapping[str, Service], status: int, output: str) -> list[Answer]:
    results: dict[str, tuple[bool, str]] = {}
    for line in output.splitlines():
        try:
            name, ok, text = json.loads(line)
            results[name] = (bool(ok), str(text))
        except (ValueError, TypeError):
            continue
    missing = (
        "not checked: Ruby is not installed yet; apply installs it"
        if status == 127
        else f"check failed: {output.strip()[-300:]}"
    )
    return [
        Answer(server, name, service.adapter, *results.get(name, (False, missing)))
        for name, service in services.items()
    ]


# One thread for each service. The login is tried with the app's own library if the server has it. Without it, the first
# bytes of the service show at least that it is running. No secret is printed, and nothing is written.
_ASK = r"""
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
redis = lambda do |service|
  socket = connect.(service)
  if service["url"].start_with?("rediss:")
    require "openssl"
    socket = OpenSSL::SSL::SSLSocket.new(socket)
    socket.hostname = service["hosts"][0]
    socket.connect
  end
  login = [service["user"], service["password"]].reject(&:empty?)
  commands = [["PING"]]
  commands.unshift(["SELECT", service["database"]]) unless service["database"].empty?
  commands.unshift(["AUTH", *login]) unless login.empty?
  commands.each do |words|
    socket.write("*#{words.size}\r\n" + words.map { |word| "$#{word.bytesize}\r\n#{word}\r\n" }.join)
    answer = socket.is_a?(Socket) ? read.(socket, service["timeout"]) : socket.readpartial(256)
    raise answer if answer.start_with?("-")
  end
  "login succeeded"
end
ask = {
  "postgresql" => lambda do |service|
    if library.("pg")
      PG.connect(service["url"], connect_timeout: service["timeout"]).exec("SELECT 1")
      next "login succeeded"
    end
    socket = connect.(service)
    socket.write([8, 80_877_103].pack("NN"))
    raise "not a PostgreSQL server" unless %w[S N].include?(read.(socket, service["timeout"], 1))
    "reachable; the login was not tried: the server has no pg gem"
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
    reply.(service["name"], true, ask.fetch(service["adapter"]).(service))
  rescue StandardError => error
    reply.(service["name"], false, error.message)
  end
end.each(&:join)
"""
