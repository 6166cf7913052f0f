"""An OCI registry as a store: the slug is the layer of an artifact, as ORAS makes them.

The protocol is five requests (OCI Distribution Specification 1.1). oras-py, its client in Python, would bring the
Docker SDK, and logs in with what is in ~/.docker/config.json."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from infra.artifacts.challenge import Challenge, parse
from infra.artifacts.failures import cut_off, read_by_servers, refused
from infra.artifacts.recent_failure import RecentFailure
from infra.artifacts.source import ANYBODY, Access, Source, StoreError
from infra.artifacts.web import Answer, Web, origin
from infra.manifest.model import Artifacts
from infra.model.resource import Upload
from infra.sensitive import Sensitive

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT = "application/vnd.dynoctl.slug.v1"
LAYER = "application/vnd.dynoctl.slug.layer.v1.squashfs"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
"""The configuration of an artifact that has none (OCI Image Specification 1.1)."""

LIFETIME = 60
"""Seconds for which a token is good that does not say so (the registry's token specification)."""

LONGEST = 3600
"""Seconds after which a token is replaced at the latest."""

HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}
"""The registry of Docker Hub, which has another host than its name."""


def registry(artifacts: Artifacts) -> str:
    """The URL of the registry."""
    host = urlsplit(artifacts.url).netloc
    return f"{urlsplit(artifacts.url).scheme}://{HUB.get(host, host)}"


@dataclass(frozen=True)
class _Token:
    access: Access
    until: float


class OciStore:
    """``push`` and ``pull`` are the logins of this computer and of servers."""

    def __init__(self, artifacts: Artifacts, push: Access, pull: Access, app: str, web: Web) -> None:
        self._artifacts = artifacts
        self._push, self._pull = push, pull
        self._app = app
        self._web = web
        self._url = f"{registry(artifacts)}/v2/{artifacts.repository}"
        self._tokens: dict[str, _Token] = {}
        self._challenge: Challenge | None = None
        self._mutex = threading.Lock()
        self._failure = RecentFailure()

    @property
    def name(self) -> str:
        return self._artifacts.store

    def push(self, image: Upload) -> bool:
        layer = f"sha256:{image.sha256}"
        manifest = self._manifest(image)
        found = self._ask("HEAD", f"/blobs/{layer}")
        if found.status not in (200, 404):
            raise refused(self.name, "artifacts.oci", found)
        sent = found.status == 404
        if sent:
            self._blob(Path(image.local), layer)
        config = f"sha256:{hashlib.sha256(EMPTY).hexdigest()}"
        if self._ask("HEAD", f"/blobs/{config}").status != 200:
            self._blob(EMPTY, config)
        # Without it, the next garbage collection of the registry would remove the layer.
        path = f"/manifests/{image.sha256}"
        if sent or self._ask("HEAD", path, {"Accept": MANIFEST}).status != 200:
            answer = self._ask("PUT", path, {"Content-Type": MANIFEST}, body=manifest)
            if not answer.ok:
                raise refused(self.name, "artifacts.oci", answer)
        source = self.source(image)
        answer = self._web.ask("HEAD", str(source.url), source.access)
        if not answer.ok:
            raise read_by_servers(self.name, "artifacts.oci", answer, self._pull.is_login)
        if answer.size not in (None, image.size):
            raise cut_off(self.name, answer, image.size)
        return sent

    def source(self, image: Upload) -> Source:
        with self._mutex:
            access = self._failure.attempt(lambda: self._access("pull"))
        return Source(f"{self._url}/blobs/sha256:{image.sha256}", access, insecure=self._url.startswith("http:"))

    def check(self) -> str:
        answer = self._ask("HEAD", "/manifests/latest", {"Accept": MANIFEST})
        if answer.status not in (200, 404):
            raise refused(self.name, "artifacts.oci", answer)
        return f"{self.name} answers"

    def _manifest(self, image: Upload) -> bytes:
        title = f"{self._app}-{Path(image.path).name}"
        layer = {
            "mediaType": LAYER,
            "digest": f"sha256:{image.sha256}",
            "size": image.size,
            "annotations": {"org.opencontainers.image.title": title},
        }
        config = {
            "mediaType": EMPTY_TYPE,
            "digest": f"sha256:{hashlib.sha256(EMPTY).hexdigest()}",
            "size": len(EMPTY),
        }
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT,
            "config": config,
            "layers": [layer],
        }
        return json.dumps(document).encode()

    def _blob(self, data: bytes | Path, digest: str) -> None:
        begun = self._ask("POST", "/blobs/uploads/", body=b"")
        if begun.status != 202:
            raise refused(self.name, "artifacts.oci", begun)
        to = self._web.resolve(f"{self._url}/blobs/uploads/", begun.headers.get("location", ""))
        to += f"{'&' if '?' in to else '?'}{urlencode({'digest': digest})}"
        # An upload may be led to another host, which must not get the login.
        access = self._access("pull,push") if origin(to) == origin(self._url) else ANYBODY
        answer = self._web.ask("PUT", to, access, {"Content-Type": "application/octet-stream"}, body=data)
        if not answer.ok:
            raise refused(self.name, "artifacts.oci", answer)

    def _ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, *, body: bytes | None = None
    ) -> Answer:
        """A request of this computer, which learns from the first answer how to log in."""
        url = f"{self._url}{path}"
        answer = self._web.ask(method, url, self._access("pull,push"), headers, body=body)
        # Only the registry may say where to log in, and no host that it redirects to.
        own = origin(answer.url) == origin(url)
        challenge = parse(answer.headers.get("www-authenticate", "")) if own and answer.status == 401 else None
        if challenge is not None:
            self._challenge = challenge
            self._tokens.clear()
            answer = self._web.ask(method, url, self._access("pull,push"), headers, body=body)
        return answer

    def _access(self, actions: str) -> Access:
        """What logs in for ``pull`` or ``pull,push``. A registry that gives tokens gives one for these alone."""
        login = self._pull if actions == "pull" else self._push
        if self._challenge is None:
            return ANYBODY
        if login.token or not self._challenge.bearer:
            return login
        known = self._tokens.get(actions)
        if known is None or known.until < time.monotonic():
            # A token that can only pull, and not for long, is no harm on a server.
            known = self._tokens[actions] = self._token(self._challenge, actions, login if login.user else self._lent)
        return known.access

    @property
    def _lent(self) -> Access:
        """What asks for a token if servers have no login of their own."""
        return self._push if self._push.user else ANYBODY

    def _token(self, challenge: Challenge, actions: str, login: Access) -> _Token:
        realm = self._web.resolve(self._url, challenge.realm)
        query = {"scope": f"repository:{self._artifacts.repository}:{actions}"}
        if challenge.service:
            query["service"] = challenge.service
        answer = self._web.ask("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}", login)
        if not answer.ok:
            raise refused(self.name, "artifacts.oci", answer)
        try:
            values = json.loads(answer.data)
            text = values.get("token") or values["access_token"]
            lasts = min(LONGEST, float(values.get("expires_in") or LIFETIME))  # in this order, also for NaN
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise StoreError(f"{self.name} answers without a token", "check that it is a registry") from None
        if not isinstance(text, str) or not text.isascii() or not text.isprintable():
            raise StoreError(f"{self.name} answers with an invalid token")
        return _Token(Access(Sensitive(text)), time.monotonic() + lasts / 2)
