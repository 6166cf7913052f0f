"""Log in over a connection with public keys, asking before a person has to act, and tell why a server refuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from infra.remote import limits
from infra.remote.agent import Agent, AgentError
from infra.remote.host_certificate import SUFFIX
from infra.remote.host_keys import type_of
from infra.remote.identities import Identity, Unusable, identities
from infra.remote.known_hosts import rsa_bits
from infra.remote.ssh_settings import Settings

if TYPE_CHECKING:
    import paramiko

SERVICE_REQUEST, SERVICE_ACCEPT, AUTH_REQUEST, KEY_IS_FINE = 5, 6, 50, 60
"""Numbers of messages (RFC 4252 and 4253)."""

_SHOWN = 12
"""How many keys an error names."""


class LoginRefused(Exception):
    """A server did not accept any key. ``hint`` says what to do."""

    def __init__(self, summary: str, hint: str) -> None:
        super().__init__(summary)
        self.summary, self.hint = summary, hint


@cache
def transport() -> type[Any]:
    """The transport of a login. (paramiko takes long to import, and this module is imported by every command.)"""
    import paramiko
    from paramiko.auth_handler import AuthOnlyHandler

    class Handler(AuthOnlyHandler):
        """One request at a time. The answers are read in the transport's thread."""

        answered = threading.Event()
        answer = ""
        methods: tuple[str, ...] = ()

        def _parse_userauth_info_request(self, message: paramiko.Message) -> None:
            if self.auth_method != "publickey":  # the number means something else after other methods
                raise paramiko.SSHException("an unexpected question from the server")
            self._told("fine")

        def _parse_userauth_failure(self, message: paramiko.Message) -> None:
            self.methods = tuple(message.get_list())
            self._told("partial" if message.get_boolean() else "failed")

        def _parse_userauth_success(self, message: paramiko.Message) -> None:
            super()._parse_userauth_success(message)  # type: ignore[misc]
            self._told("success")

        def _told(self, answer: str) -> None:
            self.answer = answer
            self.answered.set()

        def abort(self) -> None:
            self.answered.set()

    class Transport(limits.transport()):  # type: ignore[misc]
        """Offers the host key algorithms that it is told to, keeps what the server sent as its key, and remembers why
        the server ended the connection or did not open a channel."""

        sent_key = sent_signature = b""
        ended = ""

        def __init__(self, sock: Any, offered: tuple[str, ...], **options: Any) -> None:
            super().__init__(sock, **options)
            self.offered = offered
            self.accepted = threading.Event()
            self.asked = threading.local()
            self.failures: dict[int, tuple[int, str]] = {}
            self._handler_table: dict[int, Any] = {**self._handler_table, SERVICE_ACCEPT: self._service_accepted}

        def _service_accepted(self, message: paramiko.Message) -> None:
            self.accepted.set()

        @property
        def preferred_keys(self) -> tuple[str, ...]:
            return self.offered

        @property
        def preferred_ciphers(self) -> tuple[str, ...]:
            """AES-GCM first: it needs no MAC, which paramiko checks byte by byte."""
            return tuple(sorted(super().preferred_ciphers, key=lambda name: "gcm" not in name))

        def _verify_key(self, host_key: bytes, sig: bytes) -> None:
            super()._verify_key(host_key, sig)
            if not self.sent_key:
                self.sent_key, self.sent_signature = host_key, sig

        def _parse_disconnect(self, message: paramiko.Message) -> None:
            message.get_int()
            self.ended = message.get_binary()[:200].decode(errors="replace")

        def _next_channel(self) -> int:
            self.asked.channel = number = super()._next_channel()
            return int(number)

        def _parse_channel_open_failure(self, message: paramiko.Message) -> None:
            number, reason = message.get_int(), message.get_int()
            if number in self.channel_events:
                self.failures[number] = reason, message.get_binary()[:200].decode(errors="replace")
            message.rewind()
            super()._parse_channel_open_failure(message)

        def open_failure(self) -> tuple[int, str] | None:
            """The reason, by its number and in words, for which the server did not open the last channel that this
            thread asked for. (That which paramiko keeps may be of another thread's channel.)"""
            return self.failures.pop(getattr(self.asked, "channel", -1), None)

        def begin_login(self, seconds: float) -> None:
            """Ask for the service that logs in."""
            request = paramiko.Message()
            request.add_byte(bytes([SERVICE_REQUEST]))
            request.add_string("ssh-userauth")
            self._send_message(request)
            self.wait(self.accepted, seconds)
            self.auth_handler = Handler(self)

        def ask(self, user: str, method: str, rest: Callable[[paramiko.Message], None], seconds: float) -> str:
            """Send a request to log in; return the answer: success, fine (the server takes the key), partial or
            failed."""
            handler = self.auth_handler
            handler.auth_method, handler.answered, handler.answer = method, threading.Event(), ""
            request = paramiko.Message()
            request.add_byte(bytes([AUTH_REQUEST]))
            for text in (user, "ssh-connection", method):
                request.add_string(text)
            rest(request)
            self._send_message(request)
            self.wait(handler.answered, seconds)
            return str(handler.answer)

        def wait(self, event: threading.Event, seconds: float) -> None:
            """Wait for an answer. Raises TimeoutError, and EOFError if the connection ends."""
            deadline = time.monotonic() + seconds
            while not event.wait(0.1):
                if not self.is_active():
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError(f"timed out after {seconds:.0f} s")
            if not self.is_active():
                raise self.get_exception() or EOFError("the server closed the connection")

    return Transport


class Login:
    """Logs in as the settings say. A paramiko ``auth_strategy``."""

    def __init__(self, settings: Settings, seconds: float) -> None:
        self._settings, self._seconds = settings, seconds
        self.offered: list[str] = []
        self._skipped: list[Unusable] = []

    def authenticate(self, transport: Any) -> None:
        """Log in, or raise LoginRefused."""
        try:
            transport.begin_login(self._seconds)
            with _optional_agent(self._settings, self._skipped) as agent:
                self._try_all(transport, agent)
        except (EOFError, ConnectionError):
            raise self._refused(transport, ended=True) from None

    def _try_all(self, transport: Any, agent: Agent | None) -> None:
        found: list[Identity] = []
        if self._settings.publickey:
            try:
                if agent is not None:
                    agent.bind(transport.sent_key, transport.session_id, transport.sent_signature)
                found, skipped = identities(self._settings, agent)
                self._skipped += skipped
            except AgentError as error:
                self._skipped.append(Unusable(str(error)))
        if not found and transport.ask(self._settings.user, "none", lambda message: None, self._seconds) == "success":
            return
        for identity in found:
            answer = self._try(transport, identity, agent)
            if answer == "success":
                return
            if answer in ("partial", "failed") and "publickey" not in transport.auth_handler.methods:
                break
        raise self._refused(transport)

    def _try(self, transport: Any, identity: Identity, agent: Agent | None) -> str:
        """Offer one key; return the server's answer, or "" if it was not offered."""
        try:
            if identity.blob is None:
                identity.open()
            blob = identity.blob or b""
            algorithm = self._algorithm(transport, type_of(blob))
            if not algorithm:
                raise Unusable(f"{identity}: PubkeyAcceptedAlgorithms or the server excludes {type_of(blob)}")
            if 0 < rsa_bits(identity.plain or b"") < self._settings.rsa_bits:
                raise Unusable(
                    f"{identity}: smaller than RequiredRSASize of ssh_config ({self._settings.rsa_bits} bits)"
                )
            self.offered.append(str(identity))

            def request(message: paramiko.Message, signature: bytes | None = None) -> None:
                message.add_boolean(signature is not None)
                message.add_string(algorithm)
                message.add_string(blob)
                if signature is not None:
                    message.add_string(signature)

            if identity.waits:
                answer = str(transport.ask(self._settings.user, "publickey", request, self._seconds))
                if answer != "fine":
                    return answer
            signature = identity.signature(
                _signed(transport.session_id, self._settings.user, algorithm, blob),
                algorithm.removesuffix(SUFFIX),
                agent,
            )
            return str(
                transport.ask(
                    self._settings.user, "publickey", lambda message: request(message, signature), self._seconds
                )
            )
        except (Unusable, AgentError) as why:
            self._skipped.append(why if isinstance(why, Unusable) else Unusable(f"{identity}: {why}"))
            return ""

    def _algorithm(self, transport: Any, kind: str) -> str:
        """The algorithm to sign with for a key of type ``kind``; "" if none is accepted."""
        allowed = self._settings.key_algorithms
        if kind not in ("ssh-rsa", f"ssh-rsa{SUFFIX}"):
            return kind if not allowed or kind in allowed else ""
        extension = transport.server_extensions.get("server-sig-algs", b"")
        by_server = extension.decode("latin-1").split(",") if extension else []
        suffix = SUFFIX if kind.endswith(SUFFIX) else ""
        for name in ("rsa-sha2-512", "rsa-sha2-256"):
            if (not by_server or name in by_server) and (not allowed or name + suffix in allowed):
                return name + suffix
        return ""

    def _refused(self, transport: Any, *, ended: bool = False) -> LoginRefused:
        methods = transport.auth_handler.methods if transport.auth_handler is not None else ()
        parts = [f"authentication failed for user {self._settings.user}"]
        if ended:
            parts.append(f"the server closed the connection{f': {transport.ended}' if transport.ended else ''}")
        if not self._settings.publickey:
            parts.append("ssh_config does not allow public keys (PubkeyAuthentication, PreferredAuthentications)")
        elif self.offered:
            more = f", and {len(self.offered) - _SHOWN} more" if len(self.offered) > _SHOWN else ""
            parts.append(f"offered: {', '.join(self.offered[:_SHOWN])}{more}")
        else:
            parts.append("no key available")
        parts += [f"not used: {why}" for why in self._skipped[:_SHOWN]]
        parts += [f"{name} of ssh_config is not used" for name in self._settings.not_used if "PKCS11" in name]
        if methods:
            parts.append(f"the server accepts {', '.join(methods)[:200]}")
        return LoginRefused("; ".join(parts), self._hint(methods, transport.ended))

    def _hint(self, methods: tuple[str, ...], ended: str) -> str:
        hints = [why.hint for why in self._skipped if why.hint]
        if "Too many authentication failures" in ended:
            return "name the one key of this server: ssh.key in dyno.yaml, or IdentitiesOnly yes in ssh_config"
        if hints:
            return hints[0]
        if not self.offered and any(str(why).startswith("the agent at") for why in self._skipped):
            return 'no agent runs there; start one: eval "$(ssh-agent)" && ssh-add; or set ssh.key in dyno.yaml'
        if not self.offered:
            return "set ssh.key in dyno.yaml, or load a key into the agent: ssh-add"
        if methods and "publickey" not in methods:
            return "let the server accept a public key alone (AuthenticationMethods publickey in its sshd_config)"
        return (
            "check ssh.user and ssh.key in dyno.yaml, and that one of these keys is in authorized_keys of "
            f"{self._settings.user} on the server"
        )


def _signed(session: bytes, user: str, algorithm: str, blob: bytes) -> bytes:
    """What the signature of a login covers (RFC 4252, 7)."""
    import paramiko

    message = paramiko.Message()
    message.add_string(session)
    message.add_byte(bytes([AUTH_REQUEST]))
    for text in (user, "ssh-connection", "publickey"):
        message.add_string(text)
    message.add_boolean(True)
    message.add_string(algorithm)
    message.add_string(blob)
    return message.asbytes()


@contextmanager
def _optional_agent(settings: Settings, skipped: list[Unusable]) -> Iterator[Agent | None]:
    """The agent of the settings, if there is one that can be reached."""
    agent = None
    if settings.agent and settings.publickey:
        try:
            agent = Agent(settings.agent)
        except AgentError as error:
            skipped.append(Unusable(str(error)))
    if agent is None:
        yield None
    else:
        with agent:
            yield agent
