"""The demo's app, as dyno.yaml puts it together, under the Thin of this machine; without a lab's database."""

from __future__ import annotations

import re
import shutil
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from infra.manifest import read
from infra.manifest.model import Manifest
from tests.lab.local_ruby import get, serving

ROOT = Path(__file__).parents[2]
NOBODY = "127.0.0.1:1"
"""Where nothing listens."""


@pytest.fixture
def slug(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "stacks/starters/sinatra", tmp_path / "slug"))


@pytest.fixture
def shop(tmp_path: Path) -> Manifest:
    """The demo's manifest, but for the key of a lab that may not be up."""
    data = yaml.safe_load((ROOT / "dyno.yaml").read_text())
    del data["ssh"]
    data["app"]["source"] = str(ROOT / data["app"]["source"])
    (tmp_path / "dyno.yaml").write_text(yaml.safe_dump(data))
    return read(tmp_path / "dyno.yaml")


@pytest.fixture
def cache() -> Iterator[str]:
    """As much of Redis as a counter needs: every command but INCR is answered OK."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        hits = 0
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                while data := peer.recv(4096):
                    hits += b"incr" in data.lower()
                    peer.sendall(b":%d\r\n" % hits if b"incr" in data.lower() else b"+OK\r\n")

    threading.Thread(target=serve, daemon=True).start()
    yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_the_shop_and_its_admin_share_one_process(slug: Path, shop: Manifest) -> None:
    with serving(slug, shop, DYNO="web.1", GREETING="Good day") as (url, process):
        assert get(url + "/") == f"Good day: this is web.1, process {process.pid}.\n"
        assert get(url + "/up") == "up\n"
        assert f"dyno: web.1\npid: {process.pid}\n" in get(url + "/admin")


def test_ping_counts_in_the_cache(slug: Path, shop: Manifest, cache: str) -> None:
    with serving(slug, shop, REDIS_URL=cache) as (url, _):
        assert [get(url + "/ping") for _ in range(3)] == ["pong 1\n", "pong 2\n", "pong 3\n"]
        # The app below would say 404: the hot path never reaches it, and others do.
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(url + "/ping/other")


@pytest.mark.parametrize("environment", [{}, {"REDIS_URL": f"redis://{NOBODY}/0"}])
def test_ping_answers_without_a_cache(slug: Path, shop: Manifest, environment: dict[str, str]) -> None:
    with serving(slug, shop, **environment) as (url, _):
        assert [get(url + "/ping") for _ in range(3)] == ["pong (not counted)\n"] * 3


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({}, "DATABASE_URL is not set"),
        ({"DATABASE_URL": f"postgresql://shop:geheim@{NOBODY}/shop"}, "PG::ConnectionBad"),
    ],
)
def test_without_a_database_the_shop_says_so(slug: Path, shop: Manifest, environment: dict[str, str], why: str) -> None:
    with serving(slug, shop, **environment) as (url, _):
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(url + "/db")
        with caught.value as answer:
            assert answer.code == 503
            assert answer.read().decode() == f"The database is unavailable: {why}\n"
        assert get(url + "/up") == "up\n"


def test_work_is_bounded(slug: Path, shop: Manifest) -> None:
    with serving(slug, shop) as (url, _):
        assert re.fullmatch(r"50 ms of CPU took \d+ ms\.\n", get(url + "/work?ms=50"))
        assert get(url + "/work?ms=999999").startswith("2000 ms of CPU took ")
        assert get(url + "/work?ms=-1").startswith("0 ms of CPU took ")


def test_answers_are_deflated_for_who_asks(slug: Path, shop: Manifest) -> None:
    with serving(slug, shop) as (url, _):
        request = urllib.request.Request(url + "/", headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
