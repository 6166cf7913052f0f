"""Check from every server that the databases and caches can be reached with the app's own credentials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from infra.fleet.ask import ask_servers, summaries
from infra.fleet.inventory import targets
from infra.manifest.backings import Service, Text
from infra.manifest.model import Manifest
from infra.manifest.references import resolve_environment, services
from infra.model import paths, trusted_program
from infra.model.redact import redactor
from infra.model.resource import Command
from infra.ops.service_checks import ASK
from infra.remote.session import Session
from infra.sensitive import reveal

TIMEOUT = 5
"""Timeout in seconds for each service."""

_LARGEST = 1 << 20
"""Bytes of a file of certificate authorities that are read."""


@dataclass(frozen=True)
class Answer:
    """The result of one server for one service (``database``, ``caches/sessions``)."""

    server: str
    service: str
    adapter: str
    ok: bool
    message: str
    checked: bool = True
    """Whether the service was asked: the first apply installs what asks."""


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
        environment = resolve_environment(manifest)
        self._redact = redactor([environment])
        questions = [
            _question(name, service) | {"authority": _authority(manifest, service, environment)}
            for name, service in self.services.items()
        ]
        text = json.dumps(questions).encode()
        argv = ("sh", "-c", _RUN, "ask", ruby, "-rjson", "-rsocket", "-e", ASK)
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


def _question(name: str, service: Service) -> dict[str, object]:
    return {
        "name": name,
        "adapter": service.adapter,
        "url": reveal(service.url),
        "hosts": reveal(service.host).split(","),
        "port": service.port,
        "database": reveal(service.name),
        "user": reveal(service.user),
        "password": reveal(service.password),
        "sslmode": service.options.get("sslmode", ""),
        "timeout": TIMEOUT,
    }


def _authority(manifest: Manifest, service: Service, environment: Mapping[str, Text]) -> Mapping[str, str]:
    """The file of certificate authorities that the app's client reads instead of the system's: its path on the server,
    or its text if it is in the app's source. {} without one."""
    path = service.options.get("sslrootcert", "") or (
        reveal(environment.get("SSL_CERT_FILE", "")) if service.adapter == "redis" else ""
    )
    if not path.startswith(f"{paths.APP_DIRECTORY}/"):
        return {"path": path} if path and path != "system" else {}
    source = manifest.app.source.resolve()
    try:
        file = (source / path.removeprefix(f"{paths.APP_DIRECTORY}/")).resolve()
        if file.is_relative_to(source) and file.is_file():
            with file.open("rb") as stream:
                return {"text": stream.read(_LARGEST).decode("latin-1")}
    except OSError:
        pass
    return {"path": path}  # a build may make it; the check says that it cannot be read


def _answers(server: str, services: Mapping[str, Service], status: int, output: str) -> list[Answer]:
    results: dict[str, tuple[bool, str]] = {}
    for line in output.splitlines():
        try:
            name, ok, text = json.loads(line)
            results[name] = (bool(ok), str(text))
        except (ValueError, TypeError):
            continue
    checked = status != 127
    missing = (
        f"check failed: {output.strip()[-300:]}"
        if checked
        else "not checked: Ruby is not installed yet; apply installs it"
    )
    return [
        Answer(server, name, service.adapter, *results.get(name, (False, missing)), checked or name in results)
        for name, service in services.items()
    ]
