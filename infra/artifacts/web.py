"""Requests to a store: streamed, with deadlines, without following anybody elsewhere with a login.

urllib3 does the HTTP: it is what requests and most registries' clients are built on, knows proxies and the system's
certificates, and leaves redirects and retries to its caller. urllib of the standard library sends the Authorization
header to whatever host a redirect names."""

from __future__ import annotations

import random
import re
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from infra.artifacts.source import Access, StoreError
from infra.manifest.host_names import is_loopback
from infra.sensitive import reveal

CONNECT, ANSWER = 10, 60
"""Seconds to wait for a connection, and for any part of an answer."""

WHOLE = 120
"""Seconds for a request with its answer, however slowly the store sends it, and in addition to the time that the
slowest upload takes."""

SLOWEST = 16 << 10
"""Bytes in a second, on average, below which an upload counts as stuck."""

LARGEST = 1 << 20
"""Bytes of an answer that are read. They are JSON and messages."""

TRIES, LONGEST_WAIT = 3, 30
"""How often a store is asked that is busy, and the longest wait in seconds that it may ask for."""

BUSY = (429, 500, 502, 503, 504)

PIECE = 1 << 16


@dataclass(frozen=True)
class Answer:
    """An answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    url: str

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def size(self) -> int | None:
        """The size of a file from an answer to HEAD, or to GET of its first byte; None if the store does not say."""
        text = self.headers.get("content-range", "").rpartition("/")[2] or self.headers.get("content-length", "")
        if self.status == 200 and "content-encoding" in self.headers:
            return None
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def authorization(access: Access) -> dict[str, str]:
    """The header that logs in; {} without a login."""
    if access.token:
        return {"Authorization": f"Bearer {reveal(access.token)}"}
    if access.user:
        login = f"{reveal(access.user)}:{reveal(access.password)}"
        return {"Authorization": f"Basic {b64encode(login.encode()).decode()}"}
    return {}


def origin(url: str) -> tuple[str, str, int | None]:
    """What must be the same for a login to be sent to another URL, too. Raises ValueError for an invalid URL."""
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or default


class Web:
    """Asks one store. ``name`` is how messages call it. Not thread-safe."""

    def __init__(self, name: str, *, insecure: bool, sleep: Callable[[float], object] = time.sleep) -> None:
        """``insecure``: plain HTTP is allowed."""
        self.name = name
        self._insecure = insecure
        self._sleep = sleep
        self._pools: dict[str, Any] = {}

    def ask(
        self,
        method: str,
        url: str,
        access: Access,
        headers: Mapping[str, str] | None = None,
        *,
        body: bytes | Path | None = None,
        moves: int = 3,
    ) -> Answer:
        """One request, again if the store is busy. ``access`` is sent to the origin of ``url`` only; at most ``moves``
        redirects of a HEAD or GET are followed. Raises StoreError if there is no answer."""
        sent = {**(headers or {}), **authorization(access)}
        for number in range(1, TRIES + 1):
            answer = self._once(method, url, sent, body)
            if answer.status not in BUSY or number == TRIES:
                break
            self._sleep(_wait(answer, number))
        if answer.status in (301, 302, 303, 307, 308) and method in ("GET", "HEAD") and moves:
            to = self.resolve(url, answer.headers.get("location", ""))
            own = access if origin(to) == origin(url) else Access()
            return self.ask(method, to, own, headers, moves=moves - 1)
        return answer

    def resolve(self, url: str, location: str) -> str:
        """Where a store leads to from ``url``. Raises StoreError if it is nowhere, or to plain HTTP."""
        allowed = ("http", "https") if self._insecure or urlsplit(url).scheme == "http" else ("https",)
        try:
            to = urljoin(url, location)
            scheme, host, _ = origin(to)
        except ValueError:  # a port or an IPv6 address that is none
            scheme = host = to = ""
        # Before a backslash, urllib3 ends the host, and urlsplit does not.
        if not location or "\\" in to or scheme not in allowed or not host:
            raise StoreError(f"{self.name} leads to an address that is not {' or '.join(allowed)}")
        return to

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: bytes | Path | None) -> Answer:
        from urllib3.exceptions import (
            ConnectTimeoutError,
            HTTPError,
            LocationParseError,
            NewConnectionError,
            ReadTimeoutError,
            SSLError,
        )

        try:
            if not isinstance(body, Path):
                return _within(WHOLE, lambda: self._send(method, url, headers, body))
            return _within(WHOLE + body.stat().st_size / SLOWEST, lambda: self._upload(method, url, headers, body))
        except SSLError as error:
            why = f"TLS: {_last(error)}"
        except NewConnectionError as error:  # it is also a ConnectTimeoutError
            why = _last(error)
        except (ConnectTimeoutError, ReadTimeoutError, TimeoutError):
            why = "timed out"
        except LocationParseError:  # its message has the whole URL, which may be a secret
            why = "invalid URL"
        except (HTTPError, OSError, ValueError) as error:
            why = f"connection lost: {_last(error)}"
        raise StoreError(f"cannot reach {self.name}: {why}", "check its URL, and the network from this computer to it")

    def _upload(self, method: str, url: str, headers: Mapping[str, str], path: Path) -> Answer:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
            return self._send(method, url, {**length, **headers}, _Body(file, size))

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Any) -> Answer:
        from urllib3 import Timeout

        response = self._pool(url).request(
            method,
            url,
            body=body,
            headers={"User-Agent": "dynoctl", **headers},
            redirect=False,
            retries=False,
            preload_content=False,
            # urllib3 waits as long for each piece that it sends as for the connection.
            timeout=Timeout(connect=ANSWER if isinstance(body, _Body) else CONNECT, read=ANSWER),
        )
        try:
            data = b"" if method == "HEAD" else response.read(LARGEST, decode_content=False)
            found = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, found, data, url)
        finally:
            response.close()

    def _pool(self, url: str) -> Any:
        """The pool of connections for a URL: through the proxy that the environment names, if it names one. This
        computer is asked directly: it may have no TLS, and what is sent to it must not pass the network."""
        from urllib3 import PoolManager, ProxyManager, make_headers
        from urllib3.util import parse_url

        parts = urlsplit(url)
        direct = is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc)
        proxy = None if direct else getproxies().get(parts.scheme)
        key = proxy or ""
        if key not in self._pools:
            if proxy:
                own = make_headers(proxy_basic_auth=parse_url(proxy).auth) if parse_url(proxy).auth else None
                self._pools[key] = ProxyManager(proxy, proxy_headers=own, blocksize=PIECE)
            else:
                self._pools[key] = PoolManager(blocksize=PIECE)
        return self._pools[key]


class _Body:
    """A file that is sent, which must not take longer than the slowest line."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._deadline = time.monotonic() + ANSWER + size / SLOWEST

    def read(self, size: int = -1) -> bytes:
        if time.monotonic() > self._deadline:
            raise TimeoutError
        return self._file.read(size)


def _within(seconds: float, work: Callable[[], Answer]) -> Answer:
    """What ``work`` returns or raises. Raises TimeoutError if that takes longer: then its thread is left to itself, as
    the timeouts of a socket begin again with each byte, and looking up a name has none."""
    found = Future[Answer]()

    def attempt() -> None:
        try:
            found.set_result(work())
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=attempt, daemon=True).start()
    return found.result(seconds)


def _wait(answer: Answer, number: int) -> float:
    """Seconds to wait before the next request: what the store asks for, or twice as long each time."""
    asked = answer.headers.get("retry-after", "")  # a date is not read
    seconds = float(asked) if re.fullmatch(r"[0-9]{1,9}", asked) else 0.0
    return float(min(max(seconds, 2.0 ** (number - 1) + random.random()), LONGEST_WAIT))  # noqa: S311  # only spread


def _last(error: BaseException) -> str:
    """The innermost cause, without the objects that urllib3 names in its messages."""
    while (inner := error.__cause__ or error.__context__) is not None and inner is not error:
        error = inner
    text = (
        getattr(error, "verify_message", None)
        or getattr(error, "strerror", None)
        or getattr(error, "reason", None)
        or str(error)
        or type(error).__name__
    )
    return str(text)[:200]
