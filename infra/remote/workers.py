"""The workers of one command: which of them has which server, and what becomes of the servers of one that is gone."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from infra.errors import DynoctlError, Unreachable
from infra.model.shell import ConnectElsewhere
from infra.model.target import Target
from infra.model.text import enumeration, quantity
from infra.remote import identities
from infra.remote.processes import GRACE, Link, several
from infra.remote.values import HERE, Packer, Reply, Request, Unpacker

ASK_AFTER = 15.0
"""Seconds that a reply may take before the worker is asked whether it is there."""

SILENT = 4
"""So many times it may not answer that. Not seconds: this process may have been stopped meanwhile (Ctrl-Z)."""


class Gone(Exception):
    """A worker is gone, with all its sessions and locks. Says why."""


class Member:
    """One worker, as the coordinator sees it. Its methods may be called by many threads."""

    def __init__(self, link: Link) -> None:
        self.servers: list[str] = []
        self.near = link.near
        self._link = link
        self._packer = Packer()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, SimpleQueue[Reply | None]] = {}
        self._questions: dict[Any, int] = {}
        self._files: dict[str, int] = {}
        self._copying = threading.Lock()
        self._sending = threading.Lock()
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._heard = 0
        self._lost = ""
        self._reader = threading.Thread(target=self._read, daemon=True, name="worker")
        self._reader.start()
        # A thread of its own: a pipe may stay full, and Ctrl-C must not end a message half-way.
        threading.Thread(target=self._write, daemon=True, name="to worker").start()

    def call(
        self,
        verb: str,
        on: int = HERE,
        *arguments: Any,
        event: Callable[[Any], None] = lambda _: None,
        counts: Callable[[tuple[int, int]], None] = lambda _: None,
    ) -> Any:
        """The value of a request. ``event`` gets what happens meanwhile, in order; ``counts`` the connections and execs
        of the session. Raises Gone, and what the request raised there."""
        replies: SimpleQueue[Reply | None] = SimpleQueue()
        number = self._post(verb, on, arguments, replies)
        try:
            while True:
                reply = self._next(replies)
                if reply is None:
                    raise Gone(self._lost)
                if reply.counts is not None:
                    counts(reply.counts)
                if reply.kind == "event":
                    event(reply.value)
                elif reply.kind == "error":
                    raise reply.value
                else:
                    return reply.value
        finally:
            self._waiting.pop(number, None)

    def tell(self, verb: str, on: int = HERE, *arguments: Any) -> None:
        """Send a request whose reply does not matter."""
        with suppress(Gone):
            self._post(verb, on, arguments, None)

    def number(self) -> int:
        """A number for a session, a shell or a file."""
        return next(self._numbers)

    def question(self, question: Callable[[Any], Any]) -> int:
        """The number of a question, which is sent only once."""
        with self._sending:
            known = self._questions.get(question)
            if known is None:
                known = self._questions[question] = next(self._numbers)
                self._send(Request(known, "question", HERE, (known, question)))
            return known

    def kept(self, digest: str, send: Callable[[], int]) -> int:
        """The number of a file with this digest, which is sent to the worker only once."""
        with self._copying:
            if digest not in self._files:
                self._files[digest] = send()
            return self._files[digest]

    @property
    def lost(self) -> str:
        """Why the worker is gone; "" if it is not."""
        return self._lost

    def end(self) -> None:
        """Let the worker go."""
        self._link.end()

    def _post(self, verb: str, on: int, arguments: tuple[Any, ...], replies: SimpleQueue[Reply | None] | None) -> int:
        number = next(self._numbers)
        if replies is not None:
            self._waiting[number] = replies
        try:
            with self._sending:
                self._send(Request(number, verb, on, arguments))
        except BaseException:
            self._waiting.pop(number, None)
            raise
        return number

    def _send(self, request: Request) -> None:
        if self._lost:
            raise Gone(self._lost)
        self._outbox.put(self._packer.pack(request))

    def _write(self) -> None:
        try:
            while (message := self._outbox.get()) is not None:
                self._link.send(message)
        except (OSError, EOFError):
            self._reader.join(2 * GRACE)  # it knows why
            self._give_up(self._lost or self._link.why())

    def _next(self, replies: SimpleQueue[Reply | None]) -> Reply | None:
        silent, heard = 0, self._heard
        while True:
            try:
                return replies.get(timeout=ASK_AFTER)
            except Empty:
                silent, heard = silent + 1 if self._heard == heard else 0, self._heard
                if silent > SILENT:
                    self._give_up(f"its worker has not answered for {SILENT * ASK_AFTER:.0f} s")
                    self._link.end()
                else:
                    self.tell("ping")

    def _read(self) -> None:
        unpacker, why = Unpacker(), ""
        try:
            while True:
                reply = unpacker.unpack(self._link.receive())
                self._heard += 1
                if reply.kind == "question":
                    threading.Thread(target=self._answer, args=(reply,), daemon=True).start()
                elif (waiting := self._waiting.get(reply.number)) is not None:
                    waiting.put(reply)
        except (OSError, EOFError):
            why = self._link.why()
        except Exception as error:
            why = f"the answer of its worker cannot be read: {type(error).__name__}: {error}"
            self._give_up(why)
            self._link.end()  # or its locks would live as long as the command
        self._give_up(why)

    def _give_up(self, why: str) -> None:
        self._lost = self._lost or why
        self._outbox.put(None)
        for waiting in list(self._waiting.values()):
            waiting.put(None)

    def _answer(self, reply: Reply) -> None:
        file, attempt, wrong = reply.value
        identities.forget_passphrase(file, wrong)
        answer: Any
        try:
            answer = identities.passphrase(file, attempt)
        except identities.Unusable as why:
            answer = why
        except Exception as error:  # the worker waits for an answer; the words may have a part of the passphrase
            answer = identities.Unusable(f"{file}: asking for the passphrase failed: {type(error).__name__}")
        self.tell("answer", reply.number, answer)


class Workers:
    """The workers of one command. ``start`` starts another one; with ``again``, also in place of one that is gone, and
    then what only observes is repeated there. ``after`` is called when all have ended."""

    def __init__(
        self,
        number: int,
        start: Callable[[], Link],
        *,
        again: bool = False,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Raises DynoctlError."""
        self._start = start
        self._after = after
        self._again = again
        self._mutex = threading.Lock()
        self._next = itertools.count()
        self._place: dict[str, int] = {}
        self._failed: dict[Member, DynoctlError] = {}
        self._members: list[Member] = []
        try:
            for _ in range(number):
                self._members.append(Member(start()))
        except BaseException:
            self.close()
            raise

    def connect(self, target: Target, read_only: str = "") -> Any:
        """A session with a server, which a worker has. Raises Unreachable."""
        from infra.remote.distant import DistantSession

        return DistantSession(self, target, read_only)

    def connector(self, read_only: str = "") -> ConnectElsewhere:
        """What opens sessions; with the name of an app, sessions that may only observe it."""
        from infra.remote.distant import Connector

        return Connector(self, read_only)

    def member(self, server: str) -> Member:
        """The worker that has a server."""
        with self._mutex:
            place = self._place.get(server)
            if place is None:
                place = self._place[server] = next(self._next) % len(self._members)
                self._members[place].servers.append(server)
            return self._members[place]

    def instead(self, server: str, gone: Member) -> Member | None:
        """A worker in place of one that is gone; None if there is none. Raises DynoctlError: the same one for each of
        its servers, as another attempt would take as long for each."""
        if not self._again:
            return None
        with self._mutex:
            place = self._place[server]
            if gone in self._failed:
                raise self._failed[gone]
            if self._members[place] is gone:
                try:
                    made = Member(self._start())
                except DynoctlError as error:
                    self._failed[gone] = error
                    raise
                made.servers = gone.servers
                gone.end()
                self._members[place] = made
            return self._members[place]

    def skipped(self) -> list[tuple[str, str]]:
        """The lines of known_hosts that the workers could not read, and why."""
        found: list[tuple[str, str]] = []
        for member in self._members:
            with suppress(Gone, DynoctlError):
                found += member.call("skipped")
        return found

    def close(self) -> None:
        """End the workers, and with them all sessions."""
        ending = [threading.Thread(target=member.end) for member in self._members]
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join()
        self._after()


def lost(server: str, member: Member) -> Unreachable:
    """The error for a server whose worker is gone."""
    names = member.servers
    return Unreachable(
        f"{server}: connection lost: {member.lost}",
        f"it had {quantity(len(names), 'server')} ({enumeration(names)}), and the locks free themselves; run the "
        "command again, and it continues from the current state",
    )


def processes(number: int, modules: Sequence[str] = ()) -> Workers:
    """Worker processes on this machine. ``modules`` are what they need for their questions. Raises DynoctlError."""
    try:
        links = iter(several(number, modules))
    except OSError as error:
        raise DynoctlError(
            f"cannot start a worker process: {(error.strerror or str(error)).lower()}",
            "work in one process: --workers 0",
        ) from None
    return Workers(number, links.__next__)
