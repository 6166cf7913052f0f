"""doctor checks the certificates of databases and caches as redis-rb and libpq do: both accept and refuse the same."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.ops.service_checks import ASK
from tests.agreement.tools import run_tool

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)

WITHOUT_GEMS = ASK.replace("  require name\n  true\n", "  false\n")
"""The check of a server that has no gem of a database."""

READERS = r"""
require "json"
require "redis"
require "pg"
puts JSON.generate(JSON.parse($stdin.read).map { |one|
  begin
    file = one["authority"]["path"]
    if one["adapter"] == "redis"
      Redis.new(url: one["url"], timeout: 5, reconnect_attempts: 0, ssl_params: file ? { ca_file: file } : {}).ping
    else
      PG.connect(one["url"], connect_timeout: 5, **(file ? { sslrootcert: file } : {})).exec("SELECT 1")
    end
    true
  rescue StandardError
    false
  end
})
"""


@dataclass(frozen=True)
class Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certify(subject: str, names: list[x509.GeneralName], by: Authority | None, days: int = 30) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = by or Authority(key, None)  # type: ignore[arg-type]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(issuer.certificate.subject if by else name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 60 * DAY)
        .not_valid_after(NOW + days * DAY)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Authority(key, builder.sign(issuer.key, hashes.SHA256()))


def pem(one: Authority) -> bytes:
    return one.certificate.public_bytes(serialization.Encoding.PEM)


class Service:
    """Speaks enough of Redis and PostgreSQL for a login, over TLS with the certificate in ``file`` (None: without)."""

    def __init__(self, file: Path | None) -> None:
        self.context = None
        if file is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(file)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            first = client.recv(8, socket.MSG_PEEK)
            request = first == struct.pack("!II", 8, 80_877_103)
            if request:
                client.recv(8)
                client.sendall(b"S" if self.context else b"N")
            plain = self.context is None or (not request and first.startswith(b"\0"))
            stream = client if plain else self.context.wrap_socket(client, server_side=True)
            with stream:
                if request or first.startswith(b"\0"):
                    self._postgres(stream)
                else:
                    self._redis(stream)

    def _redis(self, stream: socket.socket) -> None:
        while text := stream.recv(4096):
            stream.sendall(b"+PONG\r\n" * text.count(b"*"))

    def _postgres(self, stream: socket.socket) -> None:
        ready = b"Z" + struct.pack("!I", 5) + b"I"
        if not stream.recv(4096):
            return
        stream.sendall(b"R" + struct.pack("!II", 8, 0) + ready)
        while stream.recv(4096).startswith(b"Q"):
            stream.sendall(b"C" + struct.pack("!I", 13) + b"SELECT 1\0" + ready)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs = certify("Our authority", [], None), certify("Another authority", [], None)
    dns, address = x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = {
        "good": certify("localhost", [dns], ours),
        "address": certify("localhost", [dns, address], ours),
        "other name": certify("elsewhere", [x509.DNSName("elsewhere.example")], ours),
        "expired": certify("localhost", [dns], ours, days=-1),
        "other authority": certify("localhost", [dns], theirs),
        "self-signed": certify("localhost", [dns], None),
    }
    found: dict[str, Any] = {"authority": folder / "authority.pem"}
    (folder / "authority.pem").write_bytes(pem(ours))
    for place, (label, one) in enumerate(made.items()):
        key = one.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{place}.pem").write_bytes(key + pem(one))
        found[label] = Service(folder / f"{place}.pem")
    found["plain"] = Service(None)
    yield found
    for service in found.values():
        if isinstance(service, Service):
            service.listener.close()


def questions(services: dict[str, Any]) -> list[dict[str, Any]]:
    asked = []
    for label, service in services.items():
        if label == "authority":
            continue
        for host in ("localhost", "127.0.0.1"):
            for known in (True, False):
                authority = {"path": str(services["authority"])} if known else {}
                common = {"hosts": [host], "port": service.port, "user": "", "password": "", "timeout": 5}
                common |= {"database": "", "authority": authority}
                at = f"{host}:{service.port}"
                url = f"rediss://{at}"
                asked.append(
                    {**common, "name": f"{label} {url} {known}", "adapter": "redis", "url": url, "sslmode": ""}
                )
                modes = ("require", "verify-ca", "verify-full")
                for mode in modes if label not in ("good", "plain") else ("disable", "prefer", *modes):
                    url = f"postgresql://u@{at}/d?sslmode={mode}"
                    text = f"{label} {url} {known}"
                    asked.append({**common, "name": text, "adapter": "postgresql", "url": url, "sslmode": mode})
    return asked


@pytest.mark.parametrize("script", [ASK, WITHOUT_GEMS], ids=["with the gems", "without"])
def test_certificates_are_checked_as_by_the_clients(services: dict[str, Any], script: str) -> None:
    asked = questions(services)
    given = json.dumps(asked).encode()
    theirs = json.loads(run_tool("ruby", "ruby ruby-redis ruby-pg", "-e", READERS, given=given, HOME="/nonexistent"))
    output = run_tool("ruby", "ruby", "-rjson", "-rsocket", "-e", script, given=given, HOME="/nonexistent").decode()
    ours = {name: (ok, text) for name, ok, text in map(json.loads, output.splitlines())}
    assert len(ours) == len(asked) > 120
    wrong = [
        f"{one['name']}: {expected}, and ours {ours[one['name']]}"
        for one, expected in zip(asked, theirs, strict=True)
        if ours[one["name"]][0] != expected
    ]
    assert not wrong, "\n".join(wrong)
    assert 30 < sum(theirs) < len(asked) - 30, theirs


def test_what_is_wrong_with_a_certificate_is_said(services: dict[str, Any]) -> None:
    asked = questions(services)
    output = run_tool(
        "ruby", "ruby", "-rjson", "-rsocket", "-e", WITHOUT_GEMS, given=json.dumps(asked).encode()
    ).decode()
    said = {name: text for name, _, text in map(json.loads, output.splitlines())}

    def of(label: str, url: str, known: bool) -> str:
        return next(
            text for name, text in said.items() if name.startswith(f"{label} {url}") and name.endswith(f"{known}")
        )

    assert "certificate has expired" in of("expired", "rediss://localhost", True)
    assert "does not match" in of("other name", "rediss://localhost", True)
    assert "certificate verify failed" in of("good", "rediss://localhost", False)
    assert of("good", "rediss://localhost", True) == "login succeeded, certificate verified"
    port = services["plain"].port
    plain = said[f"plain postgresql://u@localhost:{port}/d?sslmode=verify-full True"]
    assert plain == "the server does not support TLS, and sslmode is verify-full"


def test_the_authorities_of_the_source_are_sent(services: dict[str, Any]) -> None:
    port = services["good"].port
    text = services["authority"].read_text()
    question = {"name": "cache", "adapter": "redis", "url": f"rediss://localhost:{port}", "hosts": ["localhost"]}
    question |= {"port": port, "user": "", "password": "", "database": "", "timeout": 5, "authority": {"text": text}}
    given = json.dumps([question, {**question, "name": "other", "authority": {"path": "/app/no.pem"}}]).encode()
    lines = run_tool("ruby", "ruby", "-rjson", "-rsocket", "-e", ASK, given=given).decode().splitlines()
    answers = {name: (ok, said) for name, ok, said in map(json.loads, lines)}
    assert answers["cache"] == (True, "login succeeded, certificate verified")
    assert answers["other"][0] is False and "/app/no.pem cannot be read" in answers["other"][1]
