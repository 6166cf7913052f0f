"""Workers on the machines of a Dask cluster. Dask places them, knows whether they live, and shows them.

Each is reached through an actor of Dask, see ``infra.remote.relay``."""

from __future__ import annotations

import ipaddress
import itertools
import logging
import os
import re
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from infra import __version__
from infra.errors import DynoctlError
from infra.model.text import enumeration, quantity
from infra.remote.processes import Link
from infra.remote.relay import HOLD, Numbered, Relay
from infra.remote.workers import Workers

CONNECT = 10
"""Seconds within which the scheduler must answer."""

PLACE = 30
"""Seconds within which a worker must be placed and have started."""

SLACK = 30.0
"""Seconds that an answer may take on its way."""

AGAIN = 20.0
"""Seconds for which a call that fails is repeated, while Dask has the worker for alive."""

RUNNING = "running"
"""The status of a client that has its scheduler."""

_ADDRESS = re.compile(r"[a-z]+://(?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+):([0-9]{1,5})")
"""Scheme, host and port."""

_HOW = "start one: dask scheduler, and on each controller: dask worker ADDRESS"


class RelayLink:
    """A worker on the cluster, as the coordinator sees it."""

    near = False

    def __init__(self, client: Any) -> None:
        """Have a worker placed and started. Raises DynoctlError."""
        self._client = client
        self._messages: deque[bytes] = deque()
        self._known = 0
        self._numbers = itertools.count(1)
        self._out: deque[tuple[int, bytes]] = deque()
        self._posted = threading.Condition()
        self._why = ""
        try:
            self._future = client.submit(Relay, actor=True, pure=False)
            self._actor = _placed(client, self._future)
        except Exception as error:
            why = _words(error) if client.status == RUNNING else "the scheduler is gone"
            raise DynoctlError(f"cannot start a worker on the cluster: {why}", _HOW) from None
        self._address = str(getattr(self._actor, "_address", ""))
        try:
            _refuse_plain("the controller", [self._address])  # it may have joined since the others were checked
        except DynoctlError:
            self.end()
            raise
        threading.Thread(target=self._post, daemon=True, name="post").start()

    def send(self, message: bytes) -> None:
        with self._posted:
            if self._why:
                raise EOFError(self._why)
            self._out.append((next(self._numbers), message))
            self._posted.notify()

    def receive(self) -> bytes:
        while not self._messages:
            found, why = self._answer(lambda: self._actor.collect(self._known))
            for self._known, message in found:
                self._messages.append(message)
            if why and not found:
                raise self._gone(why)
        return self._messages.popleft()

    def end(self) -> None:
        self._gone("its worker was ended")
        with suppress(Exception):  # the worker notices that nobody asks
            self._actor.end().result(timeout=2)
        with suppress(Exception):
            self._future.release()

    def why(self) -> str:
        return self._why or f"its controller {self._address} is gone"

    def _gone(self, why: str) -> EOFError:
        with self._posted:
            self._why = self._why or why
            self._posted.notify()
        return EOFError(self._why)

    def _post(self) -> None:
        with suppress(EOFError):
            while True:
                with self._posted:
                    self._posted.wait_for(lambda: self._out or self._why)
                    if self._why:
                        return
                    messages = list(self._out)
                    self._out.clear()
                self._answer(partial(self._told, messages))

    def _told(self, messages: Numbered) -> Any:
        return self._actor.post(messages)

    def _answer(self, call: Callable[[], Any]) -> Any:
        """The result of a method of the actor. Raises EOFError if it is gone, or the scheduler is."""
        failing: float | None = None
        while True:
            try:
                return self._result(call())
            except EOFError:
                raise
            except Exception as error:  # whatever a library raises: it was not reached, this time
                began = failing = failing or time.monotonic()
                self._refuse_lost(f": {_words(error)}")
                if time.monotonic() - began > AGAIN:
                    raise self._gone(f"its controller {self._address} is gone: {_words(error)}") from None
                time.sleep(0.2)

    def _result(self, answer: Any) -> Any:
        deadline = time.monotonic() + HOLD + SLACK
        while True:
            try:
                return answer.result(timeout=1)
            except TimeoutError:
                if answer.done():
                    raise
            self._refuse_lost()
            if time.monotonic() > deadline:
                raise self._gone(f"its controller {self._address} does not answer")

    def _refuse_lost(self, cause: str = "") -> None:
        if self._client.status != RUNNING:
            raise self._gone("the scheduler of its controller is gone")
        if self._why or self._future.status not in ("finished", "pending"):
            raise self._gone(f"its controller {self._address} is gone{cause}")


def controllers(address: str) -> Workers:
    """The workers of a cluster, one for each Dask worker. ``address`` is that of the scheduler.

    Raises DynoctlError if there is none, if it has no workers or those of another version, or if secrets would travel
    without TLS."""
    address = address if "://" in address else f"tcp://{address}"
    _refuse_invalid(address)
    _refuse_plain("the scheduler", [address])
    client = _client(address)
    try:
        versions: Mapping[str, Any] = _within(PLACE, lambda: client.run(_question(), on_error="return"))
        _refuse_plain("the controller", versions)
        _refuse_others(address, versions)
        return Workers(len(versions), lambda: _started(client), again=True, after=lambda: _close(client))
    except DynoctlError:
        _close(client)
        raise
    except Exception as error:
        _close(client)
        raise DynoctlError(f"the scheduler {address} cannot be used: {_words(error)}", _HOW) from None


def _within(seconds: float, work: Callable[[], Any]) -> Any:
    """The result of ``work``, for which Dask has no time-out: a controller that is stopped would never answer. Raises
    TimeoutError, and what ``work`` raises."""
    results: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            results.put((work(), None))
        except Exception as error:
            results.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = results.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"not all of its workers answered within {seconds:.0f} s") from None
    if error is not None:
        raise error
    return value


def _placed(client: Any, future: Any) -> Any:
    """The actor, once it has started. Raises TimeoutError, and what Dask raises."""
    deadline = time.monotonic() + PLACE
    while True:
        try:
            return future.result(timeout=1)
        except TimeoutError:
            if client.status != RUNNING or time.monotonic() > deadline:
                raise TimeoutError(f"timed out after {PLACE} s") from None


def _started(client: Any) -> Link:
    return RelayLink(client)


def _client(address: str) -> Any:
    try:
        import distributed
    except ImportError:
        raise DynoctlError("--controllers requires Dask", "pip install 'dynoctl[dask]'") from None
    if not os.environ.get("DYNOCTL_DEBUG"):
        for name in ("distributed", "distributed.client", "tornado", "tornado.application", "asyncio"):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other versions of libraries, on stderr
            return distributed.Client(address, timeout=CONNECT)  # the default one: actors look for it
    except Exception as error:  # whatever the library and TLS raise
        hint = "check distributed.comm.tls in the configuration of Dask" if address.startswith("tls") else _HOW
        raise DynoctlError(f"cannot connect to the scheduler {address}: {_words(error)}", hint) from None


def _close(client: Any) -> None:
    """Close the client, which waits for a scheduler that is gone."""
    thread = threading.Thread(target=lambda: client.close(timeout=2), daemon=True)
    thread.start()
    thread.join(4)


def _question() -> Callable[[], str]:
    """A function that tells the version of dynoctl. It is sent as code: a machine without dynoctl can run it."""

    def version() -> str:
        try:
            from infra import __version__
        except ImportError:
            return ""
        return str(__version__)

    return version


def _refuse_invalid(address: str) -> None:
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found[1]) < 65536:
        raise DynoctlError(
            f"invalid address of a scheduler: {address[:80]!r}",
            "tls://HOST:PORT, or on this machine 127.0.0.1:8786; the scheduler prints it when it starts",
        )


def _refuse_plain(what: str, addresses: Any) -> None:
    for address in addresses:
        scheme, _, place = str(address).partition("://")
        if scheme != "tls" and not (scheme == "tcp" and _is_loopback(place)):
            raise DynoctlError(
                f"{what} {address} is not reached by TLS, and secrets would travel in plain text",
                "use tls://HOST:PORT, with the certificates of the cluster in the configuration of Dask",
            )


def _is_loopback(place: str) -> bool:
    host = place.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_others(address: str, versions: Mapping[str, Any]) -> None:
    if not versions:
        raise DynoctlError(f"the scheduler {address} has no workers", f"dask worker {address}")
    failed = {worker: version for worker, version in versions.items() if not isinstance(version, str)}
    if failed:  # what is sent is code, which another version of Python or of Dask cannot read
        words = enumeration([f"{worker}: {_words(error)}" for worker, error in failed.items()])
        raise DynoctlError(
            f"{quantity(len(failed), 'controller')} cannot be asked for its version of dynoctl: {words}",
            "install the same versions of Python, Dask and dynoctl on all controllers",
        )
    without = [worker for worker, version in versions.items() if not version]
    if without:
        raise DynoctlError(
            f"{quantity(len(without), 'controller')} without dynoctl: {enumeration(without)}",
            f"install dynoctl {__version__} in the environment of dask worker",
        )
    others = {worker: version for worker, version in versions.items() if version != __version__}
    if others:
        words = enumeration([f"{worker} has {version}" for worker, version in others.items()])
        raise DynoctlError(
            f"this is dynoctl {__version__}, and controllers have others: {words}",
            "install the same version on all controllers",
        )


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300] or type(error).__name__
    if "ssl_context" in text:  # as Dask says it
        return "it needs a certificate, and none is configured on this machine"
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
