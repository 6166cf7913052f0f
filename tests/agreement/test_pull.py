"""How a server pulls a slug, with the real curl and real HTTP: continued, bounded, checked, and without leaks; and how
Ruby gives a slug to another server."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.artifacts import pull, relay
from infra.artifacts.source import Access, Source
from infra.model.resource import Upload
from infra.sensitive import Sensitive
from tests.stores import Fault, Store, certificate, serving

DATA = os.urandom(300_000)
NAME = "/dyno/slug"

# It does what systemd-run does with a command and --pipe. The sandbox is tested on the servers of the lab.
SYSTEMD_RUN = """\
#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in -p) case $2 in LimitFSIZE=*) ulimit -f $((${2#*=} / 512 + 1));; esac; shift 2;; -*) shift;; *) break;; esac
done
echo "$*" >> "${0%/*}/ran"
exec "$@"
"""


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """What a server has: a PATH with stand-ins for systemd, and where slugs are."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemd-run").write_text(SYSTEMD_RUN)
    for name in ("systemctl", "sleep"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "${{0%/*}}/ran"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    return tmp_path


def image(server: Path, data: bytes = DATA) -> Upload:
    return Upload("", str(server / "slugs/one.squashfs"), hashlib.sha256(data).hexdigest(), len(data))


def run(server: Path, source: Source, wanted: Upload, path: str | None = None) -> tuple[int, str]:
    """Run the command as a server would: its status, and what it prints."""
    command = pull.command(wanted, source, "shop")
    assert command.stdin is not None
    done = subprocess.run(
        command.argv,
        input=command.stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": path or f"{server / 'bin'}:{os.environ['PATH']}", "LC_ALL": "C"},
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout.decode()


def left(server: Path) -> list[str]:
    return sorted(path.name for path in (server / "slugs").iterdir())


@pytest.fixture
def store() -> Iterator[Store]:
    with serving(Store(files={NAME: DATA}, write="Bearer hunter2", read="Bearer hunter2")) as made:
        yield made


def source(store: Store) -> Source:
    return Source(store.url + NAME, Access(token=Sensitive("hunter2")), insecure=True)


def test_it_is_pulled(server: Path, store: Store) -> None:
    assert run(server, source(store), image(server)) == (0, "")
    assert Path(image(server).path).read_bytes() == DATA
    assert left(server) == ["one.squashfs"]
    (request,) = store.requests
    assert request.headers["authorization"] == "Bearer hunter2"
    assert "hunter2" not in (server / "bin/ran").read_text()


def test_a_url_with_brackets_is_one_url(server: Path) -> None:
    name = "/dyno/{a,b}?x=[1-3]"
    with serving(Store(files={name: DATA})) as store:
        assert run(server, Source(store.url + name, insecure=True), image(server)) == (0, "")
    assert [request.path for request in store.requests] == [name]


def test_it_goes_on_where_it_ended(server: Path, store: Store) -> None:
    store.faults = [Fault("GET", 0, times=2, after=100_000)]
    assert run(server, source(store), image(server)) == (0, "")
    assert Path(image(server).path).read_bytes() == DATA
    assert [request.headers.get("range") for request in store.requests] == [None, "bytes=100000-", "bytes=200000-"]


def test_a_later_attempt_goes_on(server: Path, store: Store) -> None:
    store.faults = [Fault("GET", 0, after=100_000), Fault("GET", 404)]
    status, output = run(server, source(store), image(server))
    assert status == 1 and pull.reason(output) == "the store answers 404 (not found)"
    assert left(server) == [f"one.squashfs.{image(server).sha256}.new"]
    assert run(server, source(store), image(server)) == (0, "")
    assert store.requests[-1].headers["range"] == "bytes=100000-"


def test_what_is_left_of_another_image_is_removed(server: Path, store: Store) -> None:
    (server / "slugs").mkdir()
    for name in ("one.squashfs.other.new", "two.squashfs.4711.new"):
        (server / "slugs" / name).write_bytes(b"x")
    (server / "slugs/two.squashfs").write_bytes(b"x")
    assert run(server, source(store), image(server))[0] == 0
    assert left(server) == ["one.squashfs", "two.squashfs"]


def test_what_is_left_is_wrong(server: Path, store: Store) -> None:
    (server / "slugs").mkdir()
    (server / f"slugs/one.squashfs.{image(server).sha256}.new").write_bytes(b"x" * 1000)
    assert run(server, source(store), image(server)) == (0, "")
    assert Path(image(server).path).read_bytes() == DATA


def test_a_store_that_cannot_continue(server: Path, store: Store) -> None:
    store.ranges = False
    store.faults = [Fault("GET", 0, after=100_000)]
    assert run(server, source(store), image(server)) == (0, "")
    assert Path(image(server).path).read_bytes() == DATA


def test_a_busy_store_is_asked_again(server: Path, store: Store) -> None:
    store.faults = [Fault("GET", 429), Fault("GET", 500)]
    assert run(server, source(store), image(server)) == (0, "")
    assert len(store.requests) == 3


@pytest.mark.parametrize(
    ("fault", "requests", "why"),
    [
        (Fault("GET", 401), 1, "the store answers 401 (login refused)"),
        (Fault("GET", 404), 1, "the store answers 404 (not found)"),
        (Fault("GET", 429, times=9), 3, "the store answers 429 (too many requests)"),
        (Fault("GET", 500, times=9), 3, "the store answers 500"),
        (Fault("GET", 0, times=9, after=0), 3, "transfer closed with 300000 bytes remaining to read"),
        (Fault("GET", -1, times=9), 3, "Empty reply from server"),
    ],
)
def test_a_store_that_does_not_give_it(server: Path, store: Store, fault: Fault, requests: int, why: str) -> None:
    store.faults = [fault]
    status, output = run(server, source(store), image(server))
    assert (status, pull.reason(output)) == (1, why)
    assert len(store.requests) == requests
    assert "hunter2" not in output and not Path(image(server).path).exists()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (DATA[:-1] + b"x", "the file has another sha256 than the slug"),
        (DATA[:1000], "the file ends after 1000 of 300000 bytes"),
        (DATA + b"x", "Maximum file size exceeded"),
        (b"", "the file ends after 0 of 300000 bytes"),
    ],
)
def test_a_store_with_another_file(server: Path, store: Store, data: bytes, why: str) -> None:
    store.files = {NAME: data}
    status, output = run(server, source(store), image(server))
    assert status == 1 and pull.reason(output).startswith(why)
    assert not Path(image(server).path).exists()
    assert len(store.requests) == 1


def test_a_store_that_goes_silent(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "PATIENCE", 1)
    faults = [Fault("GET", -1, times=9, after=60)]
    with serving(Store(files={NAME: DATA}, faults=faults)) as store:
        status, output = run(server, replace(source(store)), image(server))
    assert status == 1 and "Operation too slow" in pull.reason(output)


def test_a_server_without_curl(server: Path, store: Store) -> None:
    for name in ("cat", "mkdir", "rm", "wc", "sh"):
        (server / "bin" / name).symlink_to(f"/usr/bin/{name}")
    status, output = run(server, source(store), image(server), path=str(server / "bin"))
    assert (status, pull.reason(output)) == (1, "curl is not installed")


@pytest.mark.parametrize("access", [Access(token=Sensitive("hunter2")), Access("", "ci", Sensitive("hunter2"))])
def test_a_redirect_gets_no_login(server: Path, access: Access) -> None:
    with serving(Store(files={NAME: DATA})) as other:
        faults = [Fault("GET", 307, headers={"Location": f"{other.url.replace('127.0.0.1', 'localhost')}{NAME}"})]
        with serving(Store(faults=faults)) as store:
            assert run(server, replace(source(store), access=access), image(server)) == (0, "")
        (request,) = store.requests
        assert "authorization" in request.headers
        (request,) = other.requests
        assert "authorization" not in request.headers


def test_no_plain_http_without_permission(server: Path, store: Store) -> None:
    status, output = run(server, replace(source(store), insecure=False), image(server))
    assert status == 1 and 'Protocol "http"' in pull.reason(output)
    assert store.requests == []


def test_an_untrusted_certificate(server: Path, tmp_path: Path) -> None:
    with serving(Store(files={NAME: DATA}), tls=certificate(tmp_path)) as store:
        status, output = run(server, Source(store.url + NAME), image(server))
        assert status == 1 and "certificate" in pull.reason(output)
        assert store.requests == []


# One server gives the slug to another.


@pytest.fixture
def giver(tmp_path: Path) -> Iterator[tuple[Source, Sensitive]]:
    """A server that gives DATA: where, and the token."""
    (tmp_path / "image").write_bytes(DATA)
    key = relay.token()
    digest = hashlib.sha256(key.reveal().encode()).hexdigest()
    with (tmp_path / "image").open("rb") as file:
        process = subprocess.Popen(
            ["ruby", "-rsocket", "-ropenssl", "-rtimeout", "-e", relay._SERVE, "127.0.0.1", digest],
            stdin=file,
            stdout=subprocess.PIPE,
        )
    assert process.stdout is not None
    try:
        yield relay.given(process.stdout.readline().decode(), "127.0.0.1", key), key
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()


def test_it_is_handed_on(server: Path, giver: tuple[Source, Sensitive]) -> None:
    assert run(server, giver[0], image(server)) == (0, "")
    assert Path(image(server).path).read_bytes() == DATA


def test_the_rest_of_it_is_handed_on(server: Path, giver: tuple[Source, Sensitive]) -> None:
    (server / "slugs").mkdir()
    (server / f"slugs/one.squashfs.{image(server).sha256}.new").write_bytes(DATA[:200_000])
    assert run(server, giver[0], image(server)) == (0, "")
    assert Path(image(server).path).read_bytes() == DATA


@pytest.mark.parametrize("token", ["", "0" * 64, "0" * 63, "x"])
def test_only_with_the_token(server: Path, giver: tuple[Source, Sensitive], token: str) -> None:
    status, output = run(server, replace(giver[0], access=Access(token)), image(server))
    assert (status, pull.reason(output)) == (1, "the store answers 401 (login refused)")


def test_only_from_the_server_with_the_key(server: Path, giver: tuple[Source, Sensitive]) -> None:
    pin = giver[0].pin[:-5] + ("AAAA=" if giver[0].pin[-5:] != "AAAA=" else "BBBB=")
    status, output = run(server, replace(giver[0], pin=pin), image(server))
    assert status == 1 and "public key" in pull.reason(output)


def test_it_speaks_tls_only_and_goes_on(server: Path, giver: tuple[Source, Sensitive]) -> None:
    plain = replace(giver[0], url=str(giver[0].url).replace("https", "http"), insecure=True)
    assert run(server, plain, image(server))[0] == 1
    assert run(server, giver[0], image(server)) == (0, "")
