"""A store that takes a slug by PUT and gives it by GET: WebDAV, or an S3-compatible one with presigned URLs."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

from infra.artifacts.failures import cut_off, read_by_servers, refused
from infra.artifacts.recent_failure import RecentFailure
from infra.artifacts.source import ANYBODY, Access, Source, StoreError
from infra.artifacts.web import Answer, Web, origin
from infra.manifest.model import Artifacts, Reference
from infra.manifest.reference_values import Unresolved, resolve
from infra.model.resource import Upload
from infra.sensitive import Sensitive, reveal

REUSED = 20
"""Seconds for which servers get the same presigned URL, so that the command does not run for each of them."""


class HttpStore:
    """``push`` and ``pull`` are the logins of this computer and of servers; ``base`` is the directory of the
    manifest."""

    def __init__(self, artifacts: Artifacts, push: Access, pull: Access, app: str, base: Path, web: Web) -> None:
        self._artifacts = artifacts
        self._push, self._pull = push, pull
        self._app = app
        self._base = base
        self._web = web
        self._urls: dict[str, tuple[str, float]] = {}
        self._mutex = threading.Lock()
        self._failure = RecentFailure()

    @property
    def name(self) -> str:
        return self._artifacts.store

    def push(self, image: Upload) -> bool:
        if self._has(image, self._url("GET", image), self._push):
            self._readable(image)
            return False
        url = self._url("PUT", image)
        answer = self._web.ask("PUT", url, self._push, body=Path(image.local))
        if answer.status in (404, 409) and not self._artifacts.presign:  # WebDAV: the directory does not exist
            self._web.ask("MKCOL", f"{url.rpartition('/')[0]}/", self._push)
            answer = self._web.ask("PUT", url, self._push, body=Path(image.local))
        if not answer.ok:
            raise refused(self.name, "artifacts.http", answer)
        self._readable(image)
        return True

    def source(self, image: Upload) -> Source:
        url = self._url("GET", image)
        secret = Sensitive(url) if self._artifacts.presign else url
        return Source(secret, self._pull, insecure=url.startswith("http:"))

    def check(self) -> str:
        if self._artifacts.presign:
            return "not asked: presigned URLs are made for a slug"
        answer = self._web.ask("HEAD", f"{self._artifacts.url}/{self._app}/", self._push)
        if answer.status == 401 or (answer.status == 403 and not self._push.is_login) or answer.status >= 500:
            raise refused(self.name, "artifacts.http", answer)
        return f"{self.name} answers"

    def _url(self, method: str, image: Upload) -> str:
        """The URL of an image. Its name is its digest, so what is there is never replaced by something else."""
        key = f"{self._app}/{image.sha256}.squashfs"
        if not self._artifacts.presign:
            return f"{self._artifacts.url}/{key}"
        with self._mutex:
            url, until = self._urls.get(method, ("", 0.0))
            if time.monotonic() > until:
                url = self._failure.attempt(lambda: self._presigned((*self._artifacts.presign, method, key)))
                self._urls[method] = url, time.monotonic() + REUSED
        return url

    def _presigned(self, words: tuple[str, ...]) -> str:
        try:
            url = reveal(resolve(Reference("from_command", words), self._base, lambda _: None)).strip()
        except Unresolved as error:
            raise StoreError(
                f"artifacts.http.presign: {error.summary.removeprefix('from_command: ')}", error.hint
            ) from None
        allowed = ("http", "https") if self._artifacts.insecure else ("https",)
        try:
            scheme, host, _ = origin(url)
        except ValueError:
            scheme = host = ""
        # Any other output, such as a warning before the URL, would be a part of the request, or of curl's settings.
        if not re.fullmatch(r"[!-~]+", url) or scheme not in allowed or not host:
            raise StoreError("artifacts.http.presign: the command prints no https URL", "run it to see its output")
        return url

    def _readable(self, image: Upload) -> None:
        """Raise StoreError if servers could not read what this computer pushed, or if it is not whole."""
        source = self.source(image)
        answer = self._asked(reveal(source.url), source.access)
        if not answer.ok and self._artifacts.presign:
            summary = f"{self.name} answers {answer.status} to the URL for GET, which servers would get"
            raise StoreError(summary, "check what artifacts.http.presign prints for GET")
        if not answer.ok:
            raise read_by_servers(self.name, "artifacts.http", answer, source.access.is_login)
        if answer.size not in (None, image.size):
            raise cut_off(self.name, answer, image.size)

    def _has(self, image: Upload, url: str, access: Access) -> bool:
        answer = self._asked(url, access)
        if answer.status in (401, 403) and access.is_login and not self._artifacts.presign:
            raise refused(self.name, "artifacts.http", answer)
        return answer.ok and answer.size == image.size

    def _asked(self, url: str, access: Access) -> Answer:
        # A presigned URL is signed for its method. The first byte tells the size as well.
        if self._artifacts.presign:
            return self._web.ask("GET", url, ANYBODY, {"Range": "bytes=0-0"})
        return self._web.ask("HEAD", url, access)
