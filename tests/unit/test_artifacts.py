"""Stores of slugs: pushed to once, with every bad answer; and what a server gets to pull with."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.artifacts import pull, web
from infra.artifacts.challenge import parse
from infra.artifacts.oci_store import ARTIFACT, LAYER
from infra.artifacts.source import Access, Source, StoreError
from infra.artifacts.stores import store_of
from infra.artifacts.web import Web
from infra.manifest.artifacts import Artifacts, Login
from infra.manifest.references import resolve_artifacts
from infra.manifest.untrusted import NoResolver
from infra.manifest.values import Reference
from infra.model.resource import Upload
from infra.ops import artifact_checks
from infra.sensitive import Sensitive, reveal
from tests.simulation.harness import manifest
from tests.stores import Fault, Registry, Store, basic, certificate, serving

DATA = b"hsqs" + bytes(range(256)) * 2000


@pytest.fixture
def image(tmp_path: Path) -> Upload:
    (tmp_path / "image").write_bytes(DATA)
    path = f"/var/lib/dynoctl/shop/slugs/{'d' * 64}.squashfs"
    return Upload(str(tmp_path / "image"), path, hashlib.sha256(DATA).hexdigest(), len(DATA))


def make(store: Store, directory: Path = Path("/nowhere"), **keys: Any) -> Any:
    """What the manifest makes of a store. Waits take no time; they are in ``waited``."""
    waited: list[float] = []
    kind = "oci" if isinstance(store, Registry) else "http"
    logins = {name: Login(**keys.pop(name)) for name in ("push", "pull") if name in keys}
    where = {"url": store.url, "repository": "team/shop"} if kind == "oci" else {"url": f"{store.url}/dyno"}
    artifacts = Artifacts(**{"kind": kind, **where, **logins, **keys})
    model = replace(manifest(artifacts=artifacts, app="shop"), file=directory / "dyno.yaml")
    made = store_of(model, resolve_artifacts(model), waited.append)
    assert made is not None
    vars(made)["waited"] = waited
    return made


def key(image: Upload) -> str:
    return f"/dyno/shop/{image.sha256}.squashfs"


CI = {"user": "ci", "password": "hunter2"}
SERVERS = {"user": "servers", "password": "hunter3"}


def test_a_slug_is_put_once(image: Upload) -> None:
    with serving(Store(write=basic("ci", "hunter2"), read=basic("servers", "hunter3"))) as store:
        made = make(store, push=CI, pull=SERVERS)
        assert made.push(image) is True
        assert made.push(image) is False
        assert store.files == {key(image): DATA}
        assert store.methods.count("PUT") == 1
        assert sum(request.received for request in store.requests) == len(DATA)
        source = made.source(image)
    assert source.url == store.url + key(image)
    assert reveal(source.access.user) == "servers", "what may write does not reach servers"
    assert "hunter" not in repr(source)


def test_a_bearer_token(image: Upload) -> None:
    with serving(Store(write="Bearer hunter2")) as store:
        assert make(store, push={"token": "hunter2"}).push(image)
        assert make(store, push={"token": "hunter2"}).source(image).access == Access()


def test_another_size_is_put_again(image: Upload) -> None:
    with serving(Store(files={key(image): DATA[:1000]})) as store:
        assert make(store).push(image)
        assert store.files == {key(image): DATA}


def test_webdav_without_the_directory(image: Upload) -> None:
    with serving(Store(directories=False)) as store:
        assert make(store).push(image)
        assert [method for method in store.methods if method != "HEAD"] == ["PUT", "MKCOL", "PUT"]


@pytest.mark.parametrize(
    ("fault", "said", "hint"),
    [
        (Fault("PUT", 401), "answers 401: the login is refused", "check the credentials of artifacts.http"),
        (Fault("PUT", 403), "answers 403: the login may not write there", "permissions"),
        (Fault("PUT", 404, times=2), "answers 404: not found", "check the URL"),
        (Fault("PUT", 413), "answers 413: the slug is too large", "raise the limit"),
        (Fault("PUT", 429, times=9), "answers 429: too many requests", "try again later"),
        (Fault("PUT", 500, times=9), "answers 500", "read the log of the store"),
        (Fault("PUT", 507), "answers 507: no space left in the store", "remove old slugs"),
        (Fault("PUT", 302, headers={"Location": "http://127.0.0.1:1/"}), "answers 302", "read the log"),
        (Fault("PUT", -1, after=0), "cannot reach", "check its URL"),
        (Fault("PUT", 200), "answers 404 without a login, as servers would ask", "artifacts.http.read"),
    ],
)
def test_a_store_that_does_not_take_it(image: Upload, fault: Fault, said: str, hint: str) -> None:
    with serving(Store(faults=[fault])) as store, pytest.raises(StoreError) as caught:
        make(store, push=CI).push(image)
    assert said in caught.value.summary and hint in caught.value.hint
    assert "hunter" not in f"{caught.value.summary}{caught.value.hint}"


def test_a_busy_store_is_asked_again(image: Upload) -> None:
    faults = [Fault("PUT", 429, headers={"Retry-After": "7"}), Fault("PUT", 503), Fault("HEAD", 500)]
    with serving(Store(faults=faults)) as store:
        made = make(store)
        assert made.push(image)
    assert store.files[key(image)] == DATA
    assert made.waited[1] == 7 and len(made.waited) == 3 and max(made.waited) <= 30


def test_a_store_that_never_answers(image: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.artifacts.web.ANSWER", 0.3)
    with serving(Store(faults=[Fault("HEAD", -1, after=20)])) as store:
        with pytest.raises(StoreError, match=r"cannot reach 127.0.0.1:[0-9]+/dyno: timed out"):
            make(store).push(image)
        assert store.methods == ["HEAD"], "it is not asked again"


@pytest.mark.parametrize("head", ["HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_a_store_that_never_ends_its_answer(monkeypatch: pytest.MonkeyPatch, head: str) -> None:
    monkeypatch.setattr("infra.artifacts.web.WHOLE", 0.5)
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, contextlib.suppress(OSError):
            client.sendall(head.encode())
            for _ in range(400):
                if ended.wait(0.05):
                    break
                client.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        try:
            with pytest.raises(StoreError, match="cannot reach store: timed out"):
                Web("store", insecure=True).ask("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/", Access())
            assert not ended.is_set()
        finally:
            ended.set()
            thread.join()


def test_a_store_that_pauses_while_it_takes_the_slug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as while it writes to its disk. That may take longer than a connection."""
    monkeypatch.setattr("infra.artifacts.web.CONNECT", 0.2)
    (tmp_path / "large").write_bytes(bytes(16 << 20))

    class Pausing(Store):
        def fault(self, method: str) -> Fault | None:
            if method == "PUT":
                time.sleep(1)
            return None

    with serving(Pausing()) as store:
        web = Web("store", insecure=True)
        assert web.ask("PUT", f"{store.url}/x", Access(), body=tmp_path / "large").ok
    assert len(store.files["/x"]) == 16 << 20


def test_nobody_is_there(image: Upload) -> None:
    with serving(Store()) as store:
        made = make(store)
    with pytest.raises(StoreError, match=r"cannot reach .*: Connection refused"):
        made.push(image)


def test_servers_must_be_able_to_read(image: Upload) -> None:
    with serving(Store(write=basic("ci", "hunter2"), read=basic("x", "y"))) as store:
        with pytest.raises(StoreError) as caught:
            make(store, push=CI).push(image)
        assert "answers 401 without a login" in caught.value.summary
        with pytest.raises(StoreError, match="answers 401 to what servers log in with"):
            make(store, push=CI, pull=SERVERS).push(image)


def test_a_store_on_this_computer_is_asked_without_a_proxy(image: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have no TLS: the proxy, and the network on the way to it, would see the login."""
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(Store()) as proxy, serving(Store(write=basic("ci", "hunter2"))) as store:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert make(store, push=CI).push(image)
        assert proxy.requests == []
        assert make(replace(store, url="http://store.example"), push=CI, insecure=True).push(image)
        assert proxy.requests[0].path.startswith("http://store.example/dyno/")


@pytest.mark.parametrize("kind", ["http", "oci"])
def test_a_redirect_to_another_host_gets_no_login(image: Upload, kind: str) -> None:
    with serving(Store(files={"/elsewhere": DATA})) as other:
        to = {"Location": f"{other.url}/elsewhere"}
        own: Store = Store(write=basic("ci", "hunter2"), read=basic("ci", "hunter2"))
        if kind == "oci":
            own = Registry(tokens=False, write=own.write, read=own.read)
            own.faults = [Fault("HEAD", 401, headers={"WWW-Authenticate": "Basic realm=x"})]
        own.files = {key(image): DATA, f"/v2/team/shop/blobs/sha256:{image.sha256}": DATA}
        own.faults.append(Fault("HEAD", 307, headers=to))
        with serving(own) as store:
            assert make(store, push=CI, pull=CI).push(image) is False
            assert store.requests[-1].headers["authorization"] == basic("ci", "hunter2")
    assert len(other.requests) == 1
    assert all("authorization" not in request.headers for request in other.requests)


def test_a_redirect_from_https_to_http_is_refused() -> None:
    web = Web("store", insecure=False)
    assert web.resolve("https://a/b/c", "../d") == "https://a/d"
    assert web.resolve("https://a/b", "https://s3.example.org/d?x=1") == "https://s3.example.org/d?x=1"
    for location in (
        "http://a/b",
        "",
        "file:///etc/passwd",
        "ftp://a/b",
        "https://[x/",
        "https://a:99999/",
        "https://a:x/",
    ):
        with pytest.raises(StoreError, match="leads to an address that is not https"):
            web.resolve("https://a/b", location)


@pytest.mark.parametrize(
    "headers",
    [
        {"Location": "http://[x/"},
        {"Location": "http://a:99999/"},
        {"Content-Range": f"bytes 0-0/{'9' * 5000}"},
        {"Content-Range": "bytes 0-0/x"},
        {"Content-Length": "x"},
    ],
)
def test_headers_that_mean_nothing(image: Upload, headers: dict[str, str]) -> None:
    status = 307 if "Location" in headers else 200
    with serving(Store(faults=[Fault("HEAD", status, times=9, headers=headers)])) as store:
        try:
            assert make(store).push(image)
        except StoreError as error:
            assert error.summary


@pytest.mark.parametrize("wait", ["nan", "-5", "1e9", "9" * 5000, "tomorrow"])
def test_a_time_to_wait_that_means_nothing(image: Upload, wait: str) -> None:
    with serving(Store(faults=[Fault("HEAD", 503, headers={"Retry-After": wait})])) as store:
        made = make(store)
        assert made.push(image)
    assert len(made.waited) == 1 and 1 <= made.waited[0] <= 2


def test_an_untrusted_certificate(image: Upload, tmp_path: Path) -> None:
    with serving(Store(), tls=certificate(tmp_path)) as store:
        with pytest.raises(StoreError, match=r"cannot reach .*: TLS: .*self.signed certificate"):
            make(store).push(image)
        assert store.requests == []


# Presigned URLs.


def presign(directory: Path, store: Store, line: str = 'echo "$URL/$2?for=$1"') -> tuple[str, ...]:
    script = directory / "presign"
    script.write_text(f'#!/bin/sh\necho "$*" >> {directory}/asked\nURL={store.url}\n{line}\n')
    script.chmod(0o700)
    return (str(script),)


def test_presigned_urls(image: Upload, tmp_path: Path) -> None:
    with serving(Store()) as store:
        made = make(store, tmp_path, url="", presign=presign(tmp_path, store), insecure=True)
        with pytest.raises(StoreError) as caught:
            made.push(image)  # the store keeps the query as a part of the name, and so has no file for GET
        assert "answers 404 to the URL for GET" in caught.value.summary and "presign" in caught.value.hint
        assert [method for method in store.methods if method != "GET"] == ["PUT"]
        store.files = {f"/shop/{image.sha256}.squashfs?for=GET": DATA}
        assert made.push(image) is False
        source = made.source(image)
        made.source(image)
    assert reveal(source.url).endswith("?for=GET") and isinstance(source.url, Sensitive)
    assert not source.access.is_login
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [f"GET shop/{image.sha256}.squashfs", f"PUT shop/{image.sha256}.squashfs"], "each is made once"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("exit 3", "presign failed with exit status 3"),
        ("echo ftp://x/", "prints no https URL"),
        ("echo http://x/", "prints no https URL"),
        ("echo https://x:99999/?sig=hunter2", "prints no https URL"),
        ("echo 'https://[x/?sig=hunter2'", "prints no https URL"),
        ("echo https://; echo hunter2", "prints no https URL"),
        ("echo https://x/a; echo 'output = /etc/hunter2'", "prints no https URL"),
        ("printf 'https://x/\\001hunter2'", "prints no https URL"),
    ],
)
def test_a_command_that_prints_no_url(image: Upload, tmp_path: Path, line: str, said: str) -> None:
    with serving(Store()) as store, pytest.raises(StoreError, match=said) as caught:
        make(store, tmp_path, url="", presign=presign(tmp_path, store, line)).push(image)
    assert "hunter2" not in f"{caught.value.summary}{caught.value.hint}"


def test_a_command_that_fails_is_not_run_for_each_server(image: Upload, tmp_path: Path) -> None:
    with serving(Store()) as store:
        made = make(store, tmp_path, url="", presign=presign(tmp_path, store, "exit 3"), insecure=True)
        for _ in range(4):  # as servers do one after the other
            with pytest.raises(StoreError, match="presign failed with exit status 3"):
                made.source(image)
    assert len((tmp_path / "asked").read_text().splitlines()) == 1


def test_no_error_shows_a_url() -> None:
    """A redirect, too, may be to a presigned URL."""
    for url in ("https://x:99999/?sig=hunter2", "https://hunter2 x/", "https://[x/?sig=hunter2"):
        with pytest.raises(StoreError) as caught:
            Web("store", insecure=False).ask("GET", url, Access())
        assert "hunter2" not in caught.value.summary


# OCI registries.


def test_an_artifact_is_pushed(image: Upload) -> None:
    with serving(Registry()) as store:
        made = make(store, push=CI)
        assert made.push(image) is True
        assert made.push(image) is False
        path = f"/v2/team/shop/blobs/sha256:{image.sha256}"
        assert store.files[path] == DATA
        document = json.loads(store.files[f"/v2/team/shop/manifests/{image.sha256}"])
        assert document["artifactType"] == ARTIFACT
        (layer,) = document["layers"]
        assert (layer["mediaType"], layer["digest"], layer["size"]) == (LAYER, f"sha256:{image.sha256}", len(DATA))
        assert sum(request.received == len(DATA) for request in store.requests) == 1
        source = made.source(image)
    assert source.url == store.url + path
    assert reveal(source.access.token) == "T-pull", "a server gets a token that can only pull"
    assert "repository:team/shop:pull ci" in store.scopes


def test_servers_with_a_login_of_their_own(image: Upload) -> None:
    with serving(Registry()) as store:
        made = make(store, push=CI, pull=SERVERS)
        made.push(image)
    assert f"repository:team/shop:pull {basic('servers', 'hunter3')}" in store.scopes


def test_a_registry_with_basic_authentication(image: Upload) -> None:
    with serving(Registry(tokens=False, write=basic("ci", "hunter2"), read=basic("servers", "hunter3"))) as store:
        made = make(store, push=CI, pull=SERVERS)
        assert made.push(image)
        assert reveal(made.source(image).access.user) == "servers"
        with pytest.raises(StoreError) as caught:
            make(store, push=CI).push(image)
    assert "answers 401 without a login" in caught.value.summary and "artifacts.oci.read" in caught.value.hint


def test_an_open_registry(image: Upload) -> None:
    with serving(Registry(tokens=False)) as store:
        assert make(store, push=CI).push(image)
        assert all("authorization" not in request.headers for request in store.requests)


def test_a_registry_with_something_else_under_that_digest(image: Upload) -> None:
    """Such as the page of a portal, which answers everything."""
    said = f"has 6 of the {image.size} bytes of the slug"
    files = {f"/v2/team/shop/blobs/sha256:{image.sha256}": b"<html>"}
    with serving(Registry(files=files)) as store, pytest.raises(StoreError, match=said):
        make(store, push=CI).push(image)


def test_an_upload_that_is_led_elsewhere(image: Upload) -> None:
    with serving(Registry(tokens=False)) as other, serving(Registry(elsewhere=other.url)) as store:
        with pytest.raises(StoreError):  # the store never gets the blob
            make(store, push=CI).push(image)
        assert other.files and all("authorization" not in request.headers for request in other.requests)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("POST", 401, times=2), "answers 401: the login is refused"),
        (Fault("POST", 404), "answers 404"),
        (Fault("POST", 202), "leads to an address that is not http"),
        (Fault("POST", 500, times=9), "answers 500"),
        (Fault("GET", 401), "answers 401: the login is refused"),
        (Fault("GET", 200), "answers without a token"),
    ],
)
def test_a_registry_that_does_not_take_it(image: Upload, fault: Fault, said: str) -> None:
    with serving(Registry(faults=[fault])) as store, pytest.raises(StoreError, match=said):
        make(store, push=CI).push(image)


def test_a_host_that_a_registry_redirects_to_gets_no_login(image: Upload) -> None:
    """It may not say that one logs in there."""
    with serving(Store()) as other:
        challenge = {"WWW-Authenticate": f'Bearer realm="{other.url}/token"'}
        other.faults = [Fault("HEAD", 401, times=9, headers=challenge)]
        faults = [Fault("HEAD", 307, times=9, headers={"Location": f"{other.url}/blob"})]
        with serving(Registry(tokens=False, faults=faults)) as store, pytest.raises(StoreError, match="answers 401"):
            make(store, push=CI).push(image)
    assert other.requests and all("authorization" not in request.headers for request in other.requests)


@pytest.mark.parametrize(
    "text",
    [b'{"token": "x", "expires_in": %s}' % (b"9" * 400), b"[" * 100_000, b"[]", b"\xff", b'{"token": 5}', b"<html>"],
)
def test_a_token_that_means_nothing(image: Upload, text: bytes) -> None:
    class Odd(Registry):
        def answer(self, web: Any, request: Any, body: bytes) -> None:
            if request.path.startswith("/token"):
                web.say(200, text)
            else:
                super().answer(web, request, body)

    with serving(Odd()) as store, pytest.raises(StoreError, match="token"):
        make(store, push=CI).push(image)


@pytest.mark.parametrize("lasts", ["NaN", "Infinity", "1e300"])
def test_no_token_lasts_for_ever(image: Upload, lasts: str) -> None:
    class Odd(Registry):
        def answer(self, web: Any, request: Any, body: bytes) -> None:
            if request.path.startswith("/token"):
                web.say(200, b'{"token": "T-pull,push", "expires_in": %s}' % lasts.encode())
            else:
                super().answer(web, request, body)

    with serving(Odd()) as store:
        made = make(store, push=CI)
        made.push(image)
    assert all(token.until < time.monotonic() + 7200 for token in made._tokens.values()) and made._tokens


def test_a_registry_that_gives_no_more_tokens_is_not_asked_for_each_server(image: Upload) -> None:
    """One that is silent would take two minutes for each, one server after the other."""
    with serving(Registry()) as store:
        made = make(store, push=CI)
        made.push(image)
        made._tokens.clear()  # they lived for a minute
        store.requests.clear()
        store.faults = [Fault("GET", 503, times=99)]
        for _ in range(4):
            with pytest.raises(StoreError, match="answers 503") as error:
                made.source(image)
            assert error.value.hint
        assert len(store.requests) == web.TRIES
        store.faults.clear()
        made._failure._until = 0.0
        assert reveal(made.source(image).access.token) == "T-pull", "it is asked again later"


def test_challenges() -> None:
    header = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull"'
    found = parse(header)
    assert found is not None and found.bearer
    assert (found.realm, found.service) == ("https://auth.docker.io/token", "registry.docker.io")
    assert parse('bearer  service=x , realm="a\\"b"').realm == 'a"b'  # type: ignore[union-attr]
    assert parse("Basic realm=x") is not None and not parse("Basic realm=x").bearer  # type: ignore[union-attr]
    for other in ("", "Negotiate", "Bearer", "Bearer realm=", 'Bearer service="x"', 'Bearer realm="' + "x" * 9999):
        assert parse(other) is None


# What a server gets.


def settings(source: Source, image: Upload, bandwidth: int = 0) -> str:
    command = pull.command(image, source, "shop", bandwidth)
    assert command.secret and command.stdin is not None
    assert "hunter2" not in " ".join(command.argv) and "hunter2" not in repr(command)
    return command.stdin.decode()


def test_secrets_go_through_stdin(image: Upload) -> None:
    text = settings(Source("https://x/", Access(token=Sensitive("hunter2"))), image)
    assert 'header = "Authorization: Bearer hunter2"\n' in text
    assert 'proto = "=https"\n' in text and "insecure\n" not in text and "location\n" in text
    text = settings(Source(Sensitive("http://x/?sig=hunter2"), insecure=True), image, 1 << 20)
    assert 'proto = "=http,https"\n' in text and 'limit-rate = "1048576"\n' in text
    text = settings(Source("https://x/", Access(user="a", password=Sensitive('hunter2"\\'))), image)
    assert 'user = "a:hunter2\\"\\\\"\n' in text


def test_no_setting_is_smuggled_in(image: Upload) -> None:
    with pytest.raises(ValueError, match="control character"):
        settings(Source('https://x/"\noutput = "/etc/passwd'), image)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("curl: (22) The requested URL returned error: 404\n\nhttp 404\n", "the store answers 404 (not found)"),
        ("curl: (7) Failed to connect to x port 1\nhttp 000", "Failed to connect to x port 1"),
        ("curl is not installed\n", "curl is not installed"),
        ("", "the server gives no reason"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_reasons(output: str, why: str) -> None:
    assert pull.reason(output) == why


def test_no_login_of_a_stranger_is_read() -> None:
    login = Login(token=Reference("from_command", ("false",)))
    model = manifest(artifacts=Artifacts("http", "https://x", push=login))
    assert all(reveal(value) == "" for value in resolve_artifacts(model, NoResolver()).values())


# What doctor says.


@pytest.mark.parametrize(
    ("output", "result", "says"),
    [
        ("curl 7.88.1\nhttp 401\n", "ok", "curl 7.88.1, registry.example.org/team/shop answers"),
        ("none\n", "failed", "curl is not installed"),
        ("", "failed", "curl is not installed"),
        (
            "refused it can be changed by others: /usr has mode 777\n",
            "failed",
            "curl can be changed by others: /usr has",
        ),
        (
            "curl 7.88.1\ncurl: (6) Could not resolve host: registry.example.org\nhttp 000\n",
            "failed",
            "registry.example.org/team/shop cannot be reached: Could not resolve host: registry.example.org",
        ),
        ("curl 7.88.1\n", "failed", "registry.example.org/team/shop cannot be reached: no answer"),
    ],
)
def test_doctor_says_whether_a_server_can_pull(output: str, result: str, says: str) -> None:
    artifacts = Artifacts("oci", "https://registry.example.org", "team/shop", fallback=False)
    found = artifact_checks.finding("grid-1", artifacts, output)
    assert found.result == result and found.message.startswith(says)
    with_ssh = artifact_checks.finding("grid-1", replace(artifacts, fallback=True), output)
    assert with_ssh.result == ("ok" if result == "ok" else "warning")
    assert with_ssh.message.endswith("; slugs are sent over SSH") is (result != "ok")


def test_doctor_asks_the_store() -> None:
    with serving(Store(write=basic("ci", "hunter2"), read=basic("x", "y"))) as store:
        artifacts = Artifacts("http", f"{store.url}/dyno", push=Login(**CI))  # type: ignore[arg-type]
        model = manifest(artifacts=artifacts)
        (found,) = artifact_checks.local(model, resolve_artifacts(model))
        assert (found.server, found.result) == ("here", "ok") and found.message.endswith("/dyno answers")
        (found,) = artifact_checks.local(model, {})
    assert found.result == "warning" and "answers 401: the login is refused" in found.message
    assert artifact_checks.local(manifest(), {}) == []


def test_what_a_server_is_asked_has_no_login() -> None:
    assert artifact_checks.fragment(Artifacts()) is None
    for artifacts, url in (
        (Artifacts("oci", "https://docker.io", "team/shop"), "https://registry-1.docker.io/v2/"),
        (Artifacts("http", "https://x/dyno"), "https://x/dyno/"),
        (Artifacts("http", presign=("presign",)), ""),
        (Artifacts(relay=True), ""),
    ):
        asked = artifact_checks.fragment(artifacts)
        assert asked is not None and asked.variables["url"] == url
