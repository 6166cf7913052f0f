"""Asks from every server whether it reaches the databases and caches, with the login that the app would use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from infra.fleet.ask import ask_servers, summaries
from infra.fleet.inventory import targets
from infra.manifest.backings import Service, plain
from infra.manifest.model import Manifest
from infra.manifest.references import resolve_environment, services
from infra.model.redact import redactor
from infra.model.resource import Command
from infra.remote.session import Session

TIMEOUT = 5
"""Seconds that one service has to answer."""


@dataclass(frozen=True)
class Answer:
    """What one server found out about one service (``database``, ``caches/sessions``)."""

    server: str
    service: str
    adapter: str
    ok: bool
    says: str


class Question:
    """The question of a manifest's services, for one server after the other."""

    def __init__(self, manifest: Manifest, ruby: str) -> None:
        """``ruby`` is the program to ask with. Raises ManifestInvalid where a reference gives nothing."""
        self.services = services(manifest)
        self._redact = redactor([resolve_environment(manifest)])
        text = json.dumps([_question(name, one) for name, one in self.services.items()]).encode()
        self._command = Command((ruby, "-rjson", "-rsocket", "-e", _ASK), stdin=text, secret=True, timeout=60)

    def put(self, session: Session) -> list[Answer]:
        """What the server says of each service, in one exec; none where there is no service. Raises Unreachable."""
        if not self.services:
            return []
        status, output = session.execute(self._command)
        return _answers(session.name, self.services, status, self._redact(output))


def ask(manifest: Manifest, ruby: str) -> tuple[list[Answer], dict[str, str]]:
    """Every server's answers, and why some servers did not answer at all. ``ruby`` is the program to ask with.

    Raises ManifestInvalid where a reference gives nothing."""
    question = Question(manifest, ruby)
    answers, errors = ask_servers(targets(manifest) if question.services else [], question.put)
    return [answer for found in answers.values() for answer in found], summaries(errors)


def _question(name: str, service: Service) -> Mapping[str, object]:
    return {
        "name": name,
        "adapter": service.adapter,
        "url": plain(service.url),
        "hosts": plain(service.host).split(","),
        "port": service.port,
        "database": plain(service.name),
        "user": plain(service.user),
        "password": plain(service.password),
        "timeout": TIMEOUT,
    }


def _answers(server: str, services: Mapping[str, Service], status: int, output: str) -> list[Answer]:
    said: dict[str, tuple[bool, str]] = {}
    for line in output.splitlines():
        try:
            name, ok, text = json.loads(line)
            said[name] = (bool(ok), str(text))
        except (ValueError, TypeError):
            continue
    missing = "no Ruby to ask with yet: apply installs it" if status == 127 else f"it could not ask: {output[-300:]}"
    return [
        Answer(server, name, service.adapter, *said.get(name, (False, missing))) for name, service in services.items()
    ]


# One thread for each service. The login is tried with the app's own library where the server has it; without one,
# what the service says first tells at least that it is there. Nothing secret is printed, and nothing is written.
_ASK = r"""
$stdout.sync = true
reply = lambda do |name, ok, text|
  puts JSON.generate([name, ok, text.to_s.lines.map(&:strip).reject(&:empty?).uniq.join(" ")])
end
connect = lambda do |one, host = one["hosts"][0]|
  Socket.tcp(host, one["port"], connect_timeout: one["timeout"])
end
read = lambda do |socket, seconds, size = 256|
  raise Errno::ETIMEDOUT, "no answer" unless socket.wait_readable(seconds)
  socket.readpartial(size)
end
library = lambda do |name|
  require name
  true
rescue LoadError
  false
end
redis = lambda do |one|
  socket = connect.(one)
  if one["url"].start_with?("rediss:")
    require "openssl"
    socket = OpenSSL::SSL::SSLSocket.new(socket)
    socket.hostname = one["hosts"][0]
    socket.connect
  end
  login = [one["user"], one["password"]].reject(&:empty?)
  commands = [["PING"]]
  commands.unshift(["SELECT", one["database"]]) unless one["database"].empty?
  commands.unshift(["AUTH", *login]) unless login.empty?
  commands.each do |words|
    socket.write("*#{words.size}\r\n" + words.map { |word| "$#{word.bytesize}\r\n#{word}\r\n" }.join)
    answer = socket.is_a?(Socket) ? read.(socket, one["timeout"]) : socket.readpartial(256)
    raise answer if answer.start_with?("-")
  end
  "logged in and answers"
end
ask = {
  "postgresql" => lambda do |one|
    if library.("pg")
      PG.connect(one["url"], connect_timeout: one["timeout"]).exec("SELECT 1")
      next "logged in and answers"
    end
    socket = connect.(one)
    socket.write([8, 80_877_103].pack("NN"))
    raise "it is no PostgreSQL" unless %w[S N].include?(read.(socket, one["timeout"], 1))
    "is there; the login was not tried, as the server has no pg gem"
  end,
  "mysql" => lambda do |one|
    if library.("mysql2")
      Mysql2::Client.new(host: one["hosts"][0], port: one["port"], username: one["user"], password: one["password"],
                         database: one["database"], connect_timeout: one["timeout"]).query("SELECT 1")
      next "logged in and answers"
    end
    raise "it is no MySQL" unless read.(connect.(one), one["timeout"])[4] == "\n"
    "is there; the login was not tried, as the server has no mysql2 gem"
  end,
  "redis" => redis,
  "memcached" => lambda do |one|
    one["hosts"].each do |host|
      socket = connect.(one, host)
      socket.write("version\r\n")
      raise "#{host} is no memcached" unless read.(socket, one["timeout"]).start_with?("VERSION", "ERROR")
    end
    "answers"
  end,
}
ask["mariadb"] = ask["mysql"]
require "io/wait"
JSON.parse($stdin.read).map do |one|
  Thread.new do
    reply.(one["name"], true, ask.fetch(one["adapter"]).(one))
  rescue StandardError => error
    reply.(one["name"], false, error.message)
  end
end.each(&:join)
"""
