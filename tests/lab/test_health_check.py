"""The health check against an HTTP server of this machine: which answers are healthy, and what is said of the others."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.manifest.model import Health, Rollout, Router
from providers import health
from providers.health import Check
from tests.lab.local_ruby import RUBY
from tests.simulation.harness import manifest

ANYWHERE = "127.0.0.1"


@dataclass
class App:
    """Answers by path and by whether the request came over HTTPS; others get 404."""

    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    port: int = 0


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    found = App()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}})
            secure = self.headers.get("X-Forwarded-Proto") == "https"
            key = f"https {self.path}" if secure else self.path
            status, location = found.answers.get(key) or found.answers.get(self.path) or (404, "")
            self.send_response(status)
            if location:
                self.send_header("location", location)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((ANYWHERE, 0), Handler)
    found.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


HERE = "http://shop.example.org"


@pytest.mark.parametrize(
    ("answers", "check", "default", "said"),
    [
        ({"/": (200, "")}, Check(), "served", ""),
        ({"/": (404, "")}, Check(), "served", ""),
        ({"/": (500, "")}, Check(), "served", "GET / answered 500"),
        ({"/": (500, "")}, Check(), "any", ""),
        ({"/": (302, "/login"), "/login": (200, "")}, Check(), "served", ""),
        (
            {"/": (302, "/login"), "/login": (500, "")},
            Check(),
            "served",
            "GET / answered 302, a redirect to /login, which answered 500",
        ),
        (
            {"/": (302, "login"), "/login": (302, "/")},
            Check(),
            "served",
            "GET / answered 302, a redirect to login, which answered 302",
        ),
        (
            {"/": (301, "https://www.example.org/")},
            Check(host="shop.example.org"),
            "served",
            "GET / answered 301, a redirect to https://www.example.org/",
        ),
        ({"/": (301, "https://www.example.org/")}, Check(wanted="301"), "served", ""),
        ({"/": (301, "https://www.example.org/")}, Check(), "any", ""),
        # A redirect to HTTPS no longer hides what is behind it.
        (
            {"/": (301, "https://shop.example.org/"), "https /": (500, "")},
            Check(host="shop.example.org"),
            "served",
            "GET / answered 301, a redirect to https://shop.example.org/, which answered 500",
        ),
        ({"/": (301, f"{HERE}:443/x"), "/x": (204, "")}, Check(host="shop.example.org"), "served", ""),
        ({"/": (301, HERE), "https /": (200, "")}, Check(host="shop.example.org", secure=True), "served", ""),
        ({"/up": (204, "")}, Check("/up", "ok"), "served", ""),
        ({"/up": (302, "/x"), "/x": (200, "")}, Check("/up", "200"), "served", ""),
        ({"/a|b": (302, "/x")}, Check("/a|b"), "served", "GET /a|b answered 302"),
        ({"/": (302, "http://[")}, Check(), "served", "GET / answered 302, a redirect to http://["),
    ],
)
def test_what_is_healthy(app: App, answers: dict[str, tuple[int, str]], check: Check, default: str, said: str) -> None:
    app.answers = answers
    argv = health.command(RUBY, health.PROGRAM, check.arguments(ANYWHERE, app.port, default))
    if said:  # the candidate's first answer decides
        argv[argv.index(health.PROGRAM)] = health.CANDIDATE
    parent = {"MAINPID": "1", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    done = subprocess.run(argv, env=parent, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == ((1, f"health check: {said}\n") if said else (0, ""))


def test_what_is_sent(app: App) -> None:
    app.answers, app.asked = {"/up": (200, "")}, []
    router = Router("nginx", ("grid-1",), ("shop.example.org", "www.example.org"))
    assert health.check_of(replace(manifest(), router=router)).secure is False
    wildcard = replace(router, hosts=("*.example.org", "example.org"))
    assert health.check_of(replace(manifest(), router=wildcard)).host == "www.example.org"
    by_router = replace(
        manifest(rollout=Rollout(health=Health(path="/up", headers={"X-Health": 'a "b" %c $d'}))),
        router=Router("caddy", ("grid-1",), ("shop.example.org",), acme="me@example.org"),
    )
    own = manifest(rollout=Rollout(health=Health(path="/up", host="other.example.org", scheme="http")))
    own = replace(own, router=replace(by_router.router or router, acme="me@example.org"))
    for asked in (by_router, own, manifest(rollout=Rollout(health=Health(path="/up")))):
        argv = health.command(RUBY, health.PROGRAM, health.check_of(asked).arguments(ANYWHERE, app.port, "any"))
        assert subprocess.run(argv, timeout=60, check=False).returncode == 0
    sent = [(one["host"], one.get("x-forwarded-proto"), one.get("x-health")) for one in app.asked]
    assert sent == [
        ("shop.example.org", "https", 'a "b" %c $d'),
        ("other.example.org", None, None),
        (ANYWHERE, None, None),
    ]


def test_an_app_that_never_answers() -> None:
    """It is asked until systemd ends the check at its deadline."""
    import socket

    with socket.create_server((ANYWHERE, 0)) as server:
        check = Check(timeout=1)
        argv = health.command(RUBY, health.PROGRAM, check.arguments(ANYWHERE, server.getsockname()[1], "any"))
        process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        for _ in range(2):  # it gives up on the first, and asks again
            connection, _ = server.accept()
            connection.close()
        process.terminate()
        assert process.communicate(timeout=60)[1] == "health check: no answer to GET /\n"
        assert process.returncode == 1
