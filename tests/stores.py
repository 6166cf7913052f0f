"""Stores of slugs on loopback, for tests: WebDAV with logins, an OCI registry with tokens, and both with faults."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit


def basic(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


@dataclass
class Request:
    """A request that a store got."""

    method: str
    path: str
    headers: dict[str, str]
    received: int = 0


@dataclass
class Fault:
    """What happens to the next ``times`` requests of a method. ``status`` 0: the connection ends after ``after`` bytes
    of the answer; -1: there is no answer for ``after`` seconds."""

    method: str
    status: int
    times: int = 1
    after: int = 0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Store:
    """A WebDAV store. ``write`` and ``read`` are the values of Authorization that it takes; None: anybody."""

    write: str | None = None
    read: str | None = None
    directories: bool = True
    """Whether PUT creates directories."""
    ranges: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    url: str = ""

    def fault(self, method: str) -> Fault | None:
        for fault in self.faults:
            if fault.method == method and fault.times:
                fault.times -= 1
                return fault
        return None

    def answer(self, web: Any, request: Request, body: bytes) -> None:
        """Answer a request that no fault struck."""
        own = request.headers.get("authorization")
        reads = request.method in ("GET", "HEAD")
        allowed = (self.write, self.read) if reads else (self.write,)
        if None not in allowed and own not in allowed:
            web.say(401, headers={"WWW-Authenticate": 'Basic realm="store"'})
            return
        path = request.path
        if request.method == "MKCOL":
            self.made.add(path)
            web.say(201)
            return
        if request.method == "PUT":
            if not self.directories and f"{path.rpartition('/')[0]}/" not in self.made:
                web.say(409)
                return
            self.files[path] = body
            web.say(201)
            return
        if path not in self.files:
            web.say(404)
            return
        web.give(self.files[path], request, ranges=self.ranges)
        return

    @property
    def methods(self) -> list[str]:
        return [request.method for request in self.requests]


@dataclass
class Registry(Store):
    """An OCI registry. ``tokens``: it gives tokens to the user ``ci``; otherwise ``write`` and ``read`` hold."""

    tokens: bool = True
    realm: str = ""
    elsewhere: str = ""
    """Another origin, to which uploads are led."""
    scopes: list[str] = field(default_factory=list)

    def answer(self, web: Any, request: Request, body: bytes) -> None:
        parts = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        own = request.headers.get("authorization")
        if parts.path == "/token":
            scope = query.get("scope", "")
            self.scopes.append(f"{scope} {'ci' if own == basic('ci', 'hunter2') else own}")
            if own != basic("ci", "hunter2") and "push" in scope:
                web.say(401)
                return
            web.say(200, json.dumps({"token": f"T-{scope.rpartition(':')[2]}", "expires_in": 300}).encode())
            return
        if self.tokens and own not in ("Bearer T-pull,push", "Bearer T-pull"):
            realm = self.realm or f"{self.url}/token"
            web.say(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="test"'})
            return
        if self.tokens and own == "Bearer T-pull" and request.method not in ("GET", "HEAD"):
            web.say(403)
            return
        allowed = (self.write, self.read) if request.method in ("GET", "HEAD") else (self.write,)
        if not self.tokens and None not in allowed and own not in allowed:
            web.say(401, headers={"WWW-Authenticate": 'Basic realm="registry"'})
            return
        if request.method == "POST":
            web.say(202, headers={"Location": f"{self.elsewhere}{parts.path}one?state=x"})
            return
        if request.method == "PUT" and "digest" in query:
            if f"sha256:{hashlib.sha256(body).hexdigest()}" != query["digest"]:
                web.say(400)
                return
            self.files[f"{re.sub('/uploads/.*', '', parts.path)}/{query['digest']}"] = body
            web.say(201)
            return
        if request.method == "PUT":
            self.files[parts.path] = body
            web.say(201)
            return
        if parts.path not in self.files:
            web.say(404)
            return
        web.give(self.files[parts.path], request, ranges=self.ranges)
        return


S = TypeVar("S", bound=Store)


@contextmanager
def serving(store: S, tls: tuple[Path, Path] | None = None) -> Iterator[S]:
    """Serve a store on a free port of loopback, with the certificate and key of ``tls``; ``store.url`` says where."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            return

        def handle_any(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers)
            store.requests.append(request)
            fault = store.fault(self.command)
            self.close_connection = True
            if fault is not None and fault.status == -1:
                ended.wait(fault.after)
                return
            if fault is not None and fault.status > 0:
                self.say(fault.status, headers=fault.headers)
                return
            body = self.rfile.read(int(headers.get("content-length", 0)))
            request.received = len(body)
            self.cut = None if fault is None else fault.after
            store.answer(self, request, body)

        def say(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), "Connection": "close", **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def give(self, data: bytes, request: Request, *, ranges: bool) -> None:
            found = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", request.headers.get("range", "")) if ranges else None
            first, last = (int(found[1]), int(found[2] or len(data) - 1)) if found else (0, len(data) - 1)
            if found and first >= len(data):
                self.say(416)
                return
            piece = data[first : last + 1]
            self.send_response(206 if found else 200)
            self.send_header("Content-Length", str(len(piece)))
            self.send_header("Connection", "close")
            if found:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(piece if self.cut is None else piece[: self.cut])

        do_GET = do_HEAD = do_PUT = do_POST = do_MKCOL = handle_any  # noqa: N815  # names of http.server

    ended = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    store.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of no authority for 127.0.0.1, and its key."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*argv, "-out", certificate, "-keyout", key], check=True, capture_output=True, timeout=60)
    return certificate, key
