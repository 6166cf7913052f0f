"""Keys to log in with: their files, their order, and why one is left out."""

from __future__ import annotations

import base64
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
import pytest

from infra.remote import identities as keys
from infra.remote.agent import Agent, AgentError
from infra.remote.identities import Identity, Unusable, identities
from infra.remote.login import Login, LoginRefused
from infra.remote.private_keys import Encrypted, NotAKey, load, sign
from infra.remote.ssh_settings import Settings

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen makes the keys")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def keygen(name: str, *options: str, phrase: str = "") -> Path:
        file = tmp_path / name
        kind = () if "-t" in options else ("-t", "ed25519")
        subprocess.run(
            ["ssh-keygen", "-q", *kind, *options, "-N", phrase, "-C", name, "-f", str(file)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return file

    return keygen


def settings(*files: Path, **more: Any) -> Settings:
    return Settings("a", "a.example", 22, "root", identity_files=files, **more)


def found(*files: Path) -> tuple[list[Identity], list[str]]:
    usable, skipped = identities(settings(*files), None)
    return usable, [f"{why} / {why.hint}" for why in skipped]


@pytest.mark.parametrize("options", [("-t", "rsa", "-b", "2048"), ("-t", "ecdsa"), ("-t", "ecdsa", "-b", "521"), ()])
@pytest.mark.parametrize("form", [(), ("-m", "PEM"), ("-m", "PKCS8")])
@pytest.mark.parametrize("phrase", ["", "secret"])
def test_every_form_of_a_private_key(
    options: tuple[str, ...], form: tuple[str, ...], phrase: str, make: Callable[..., Path]
) -> None:
    file = make("key", *options, *form, phrase=phrase)
    data = file.read_bytes()
    if phrase:
        for wrong in (None, b"wrong"):
            with pytest.raises(Encrypted):
                load(data, wrong)
    private = load(data, phrase.encode() or None)
    kind, blob = file.with_name("key.pub").read_text().split()[:2]
    public = paramiko.PKey.from_type_string(kind, base64.b64decode(blob))
    algorithm = "rsa-sha2-512" if kind == "ssh-rsa" else kind
    assert public.verify_ssh_sig(b"data", paramiko.Message(sign(private, b"data", algorithm)))
    assert keys._public(private) == public.asbytes()


def test_files_that_are_no_private_keys(tmp_path: Path, make: Callable[..., Path]) -> None:
    for number, data in enumerate((b"", b"hello", b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"\0" * 100)):
        with pytest.raises(NotAKey):
            load(data, None)
        file = tmp_path / f"odd{number}"
        file.write_bytes(data)
        file.chmod(0o600)
        usable, skipped = found(file)
        assert not usable and len(skipped) == 1 and str(file) in skipped[0]
    usable, skipped = found(tmp_path / "missing", tmp_path)
    assert not usable and not skipped


@pytest.mark.parametrize(
    ("text", "what", "cure"),
    [
        ("", "the file is empty", "copy the private key into it"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\n", "a key in the format of PuTTY", "puttygen"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "a public key", "-----BEGIN OPENSSH PRIVATE KEY-----"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "a public key", "-----BEGIN OPENSSH"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "a certificate", "-----BEGIN OPENSSH"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "a private key that is damaged", "copy it again"),
        ("hello", "not a private key", "-----BEGIN OPENSSH"),
    ],
)
def test_what_is_no_private_key_is_named_with_its_cure(text: str, what: str, cure: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    file.chmod(0o600)
    assert re.fullmatch(rf"{re.escape(str(file))}: {what}.* / .*{cure}.*", found(file)[1][0])


def test_a_public_key_in_place_of_the_private_one(make: Callable[..., Path]) -> None:
    file = make("both")
    _, skipped = found(Path(f"{file}.pub"))
    assert skipped[0].endswith(f" / {file}.pub is the public key; the private one is {file}")
    shutil.copy(f"{file}.pub", file)
    _, skipped = found(file)
    assert skipped[0].endswith(f" / {file} is the public key; ssh.key and IdentityFile take the private one")


def test_keys_that_are_left_out_say_why(make: Callable[..., Path], tmp_path: Path) -> None:
    shared, half, mixed, other = make("shared"), make("half"), make("mixed"), make("other")
    shared.chmod(0o644)
    half.unlink()
    shutil.copy(f"{other}.pub", f"{mixed}.pub")
    usable, skipped = found(shared, half, Path(f"{half}.pub"), mixed, other)
    assert [identity.name for identity in usable] == [str(other)]
    texts = "\n".join(skipped)
    assert f"{shared}: others may read this private key (mode 0644), so it is not used / chmod 600 {shared}" in texts
    assert f"{half}.pub: only the public half of the key is there, and the agent does not hold it" in texts
    assert f"{mixed}: {mixed}.pub is not its public half" in texts


def test_an_encrypted_key_is_asked_for_once(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file = make("key", phrase="secret")
    asked: list[str] = []
    answers = ["wrong", "secret"]

    def getpass(prompt: str) -> str:
        asked.append(prompt)
        return answers.pop(0)

    monkeypatch.setattr(keys, "_passphrases", {})
    monkeypatch.setattr(keys.prompt, "ask", getpass)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for _ in range(2):
        (identity,), _ = found(file)
        assert identity.waits and identity.blob and not asked[2:]
        assert identity.signature(b"data", "ssh-ed25519", None)
    assert asked == [f"Passphrase of {file}: ", f"The passphrase is wrong. Passphrase of {file}: "]
    answers += ["wrong"] * keys.TRIES
    keys._passphrases.clear()
    with pytest.raises(Unusable, match="the passphrase is wrong"):
        found(file)[0][0].open()
    monkeypatch.setattr(keys.prompt, "ask", lambda prompt: b"secret\xff".decode())  # of a terminal with Latin-1
    with pytest.raises(Unusable, match="the passphrase is not valid text"):
        found(file)[0][0].open()


def test_without_a_terminal_an_encrypted_key_names_its_cure(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make("key", "-t", "rsa", "-m", "PEM", phrase="secret")
    file.with_name("key.pub").unlink()  # so that only the private key would tell which key it is
    monkeypatch.setattr(keys, "_passphrases", {})
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    (identity,), _ = found(file)
    with pytest.raises(Unusable, match="the key is encrypted") as caught:
        identity.open()
    assert caught.value.hint == f"load it into the agent: ssh-add {file}"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\0\0\0\1\5",
        b"\0\0\0\5\x0c\0\0\0\1",
        b"\0\0\0\x09\x0c\0\0\0\1\0\0\xff\xff",
        b"\0\0\0\5\x0c\xff\xff\xff\xff",
    ],
)
def test_an_agent_that_talks_nonsense(answer: bytes, tmp_path: Path) -> None:
    path = tmp_path / "agent"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        with Agent(str(path)) as agent, pytest.raises(AgentError):
            agent.keys()
    with pytest.raises(AgentError):
        Agent(str(tmp_path / "missing"))


class Agents:
    """An agent with a security key."""

    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (b"sk-ssh-ed25519@openssh.com", b"x" * 32, b"ssh:"))

    def bind(self, *_: bytes) -> None:
        pass

    def keys(self) -> list[tuple[bytes, str]]:
        return [(self.blob, "a security key")]

    def sign(self, blob: bytes, data: bytes, algorithm: str) -> bytes:
        assert blob == self.blob and b"session" in data
        return b"signature"


class Server:
    """The transport of a server that answers logins from a list."""

    auth_handler: Any = None
    server_extensions = {"server-sig-algs": b"rsa-sha2-256"}  # noqa: RUF012
    session_id = b"session"
    ended = ""
    sent_key = sent_signature = b""

    def __init__(self, *answers: str, methods: tuple[str, ...] = ("publickey",)) -> None:
        self.answers, self.asked = list(answers), list[str]()
        self.methods = methods

    def begin_login(self, seconds: float) -> None:
        self.auth_handler = type("Handler", (), {"methods": self.methods})()

    def ask(self, user: str, method: str, rest: Callable[[Any], None], seconds: float) -> str:
        message = paramiko.Message()
        rest(message)
        message.rewind()
        signed = method == "publickey" and message.get_boolean()
        self.asked.append(
            method + (f" {message.get_text()}{' signed' if signed else ''}" if method == "publickey" else "")
        )
        answer = self.answers.pop(0)
        if answer == "end":
            raise EOFError
        return answer


def refused(server: Server, *files: Path, **more: Any) -> LoginRefused:
    with pytest.raises(LoginRefused) as caught:
        Login(settings(*files, **more), 5).authenticate(server)
    return caught.value


def test_a_refused_login_says_what_was_offered_and_what_is_accepted(make: Callable[..., Path], tmp_path: Path) -> None:
    first, second, rsa = make("first"), make("second"), make("rsa", "-t", "rsa", "-b", "2048")
    server = Server("failed", "failed", "failed", methods=("publickey", "password"))
    error = refused(server, first, second, rsa, agent=str(tmp_path / "gone"))
    assert server.asked == ["publickey ssh-ed25519 signed"] * 2 + ["publickey rsa-sha2-256 signed"]
    for part in (
        f"offered: {first} (SHA256:",
        f"{rsa} (SHA256:",
        "the server accepts publickey, password",
        "gone: no such file",
    ):
        assert part in error.summary
    assert "authorized_keys of root" in error.hint


def test_a_server_that_wants_more_than_a_key(make: Callable[..., Path]) -> None:
    error = refused(Server("partial", methods=("keyboard-interactive",)), make("key"))
    assert "the server accepts keyboard-interactive" in error.summary and "public key alone" in error.hint


def test_a_server_that_ends_the_connection(make: Callable[..., Path]) -> None:
    server = Server("failed", "end")
    server.ended = "Too many authentication failures"
    error = refused(server, make("first"), make("second"))
    assert "the server closed the connection: Too many authentication failures" in error.summary
    assert "IdentitiesOnly" in error.hint


def test_a_server_that_needs_two_keys(make: Callable[..., Path]) -> None:
    server = Server("partial", "success")
    Login(settings(make("first"), make("second")), 5).authenticate(server)
    assert len(server.asked) == 2


def test_a_server_is_asked_before_a_person_is(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "passphrase", lambda file, attempt: pytest.fail("asked for a key that is not wanted"))
    locked, plain = make("locked", phrase="secret"), make("plain")
    server = Server("failed", "success")
    Login(settings(locked, plain), 5).authenticate(server)
    assert server.asked == ["publickey ssh-ed25519", "publickey ssh-ed25519 signed"]


def test_without_a_key_the_server_is_asked_what_it_accepts() -> None:
    server = Server("failed", methods=("password",))
    error = refused(server)
    assert "no key available; the server accepts password" in error.summary and "ssh-add" in error.hint
    Login(settings(), 5).authenticate(Server("success"))  # a server that asks for nothing
    assert (
        "PKCS11Provider /x.so of ssh_config is not used"
        in refused(Server("failed"), not_used=("PKCS11Provider /x.so",)).summary
    )


def test_a_security_key_of_the_agent_is_touched_only_for_a_server_that_takes_it() -> None:
    for answers, asked in ((["failed"], 1), (["fine", "success"], 2)):
        server = Server(*answers)
        try:
            login = Login(settings(), 5)
            server.begin_login(5)
            login._try_all(server, Agents())  # type: ignore[arg-type]
        except LoginRefused as error:
            assert "a security key (SHA256:" in error.summary
        kind = "publickey sk-ssh-ed25519@openssh.com"
        assert server.asked == [kind, f"{kind} signed"][:asked]
