"""Workers of a Dask cluster: which clusters are refused, and what becomes of a worker whose controller or coordinator is
gone. Dask itself is a fake here that runs actors in this process; ``tests/lab/test_workers.py`` has the real one."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from infra import __version__
from infra.cli.workers import ProcessOptions
from infra.errors import DynoctlError, Unreachable
from infra.model.target import Target
from infra.remote import controllers as module
from infra.remote.controllers import controllers
from infra.remote.relay import Relay

HERE = "tcp://127.0.0.1:8786"


class Answer:
    """The future of a call of an actor: a coroutine that runs in a thread."""

    def __init__(self, coroutine: Any) -> None:
        self.value: Any = None
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self.run, args=(coroutine,), daemon=True)
        self.thread.start()

    def run(self, coroutine: Any) -> None:
        try:
            self.value = asyncio.run(coroutine)
        except Exception as error:
            self.error = error

    def done(self) -> bool:
        return not self.thread.is_alive()

    def result(self, timeout: float) -> Any:
        self.thread.join(timeout)
        if not self.done():
            raise TimeoutError
        if self.error is not None:
            raise self.error
        return self.value


class Actor:
    _address = "tcp://127.0.0.1:4711"

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.reachable = True
        self.calls = 0

    def __getattr__(self, name: str) -> Callable[..., Answer]:
        async def call(*values: Any) -> Any:
            if not self.reachable:
                raise OSError("unable to contact")
            self.calls += 1
            answer = await getattr(self.relay, name)(*values)
            if self.calls % 2:
                raise OSError("the answer was lost on its way")
            return answer

        return lambda *values: Answer(call(*values))


class Client:
    """A client of a cluster whose workers are ``versions`` by address."""

    def __init__(self, versions: dict[str, Any]) -> None:
        self.versions = versions
        self.status = "running"
        self.actors: list[Actor] = []
        self.closed = False
        self.place = Actor._address

    def run(self, function: Callable[[], str], on_error: str) -> dict[str, Any]:
        assert function() == __version__
        return self.versions

    def submit(self, kind: type[Relay], actor: bool, pure: bool) -> Any:
        def result(timeout: float) -> Actor:
            if self.status != "running":
                raise TimeoutError
            self.actors.append(Actor(kind()))
            self.actors[-1]._address = self.place
            return self.actors[-1]

        return SimpleNamespace(result=result, status="finished", release=lambda: None)

    def close(self, timeout: float) -> None:
        self.closed = True


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(module, "AGAIN", 1)
    monkeypatch.setattr(module, "HOLD", 0.5)
    monkeypatch.setattr("infra.remote.relay.HOLD", 0.5)
    client = Client({"tcp://127.0.0.1:1": __version__, "tcp://127.0.0.1:2": __version__})
    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=lambda address, timeout: client))
    yield client
    for actor in client.actors:
        actor.relay._link.end()


@pytest.mark.parametrize(
    "address", ["tcp://192.0.2.1:8786", "192.0.2.1:8786", "ws://127.0.0.1:1", "tcp://localhost.example.org:1"]
)
def test_secrets_do_not_travel_in_plain_text(address: str, cluster: Client) -> None:
    with pytest.raises(DynoctlError, match=r"the scheduler .* is not reached by TLS"):
        controllers(address)
    assert not cluster.closed, "nobody was asked"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "localhost", "tcp://", "tls://a.example", "127.0.0.1:x", "127.0.0.1:99999", "tls://:1", "a b:1"],
)
def test_an_address_that_is_none_is_named(address: str, cluster: Client) -> None:
    with pytest.raises(DynoctlError, match="invalid address of a scheduler: .*" + re.escape(address)) as error:
        controllers(address)
    assert error.value.hint.startswith("tls://HOST:PORT") and not cluster.closed


@pytest.mark.parametrize(
    "address", [HERE, "tls://[fe80::1%eth0]:8786", "tls://sch\u00e9d.example:8786", "ucx://h:8786"]
)
def test_an_address_of_a_scheduler(address: str) -> None:
    from infra.remote.controllers import _refuse_invalid

    _refuse_invalid(address)


def test_no_address_is_not_the_same_as_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DynoctlError, match="--controllers is empty"):
        ProcessOptions.of(None, "")
    monkeypatch.setenv("DYNOCTL_CONTROLLERS", "")
    assert ProcessOptions.of(None, None).or_environment() == ProcessOptions(), "as any variable that is empty"


def test_nor_between_the_scheduler_and_its_workers(cluster: Client) -> None:
    cluster.versions["tcp://192.0.2.7:4711"] = __version__
    with pytest.raises(DynoctlError, match=r"the controller tcp://192\.0\.2\.7:4711 is not reached by TLS"):
        controllers(HERE)
    assert cluster.closed


def test_nor_to_a_worker_that_joined_later(cluster: Client) -> None:
    workers = controllers(HERE)
    workers._again = True
    cluster.actors[0].relay._link.process.kill()
    cluster.place = "tcp://192.0.2.7:4711"
    with pytest.raises(Unreachable, match=r"the controller tcp://192\.0\.2\.7:4711 is not reached by TLS"):
        workers.connect(Target("grid-1", "127.0.0.1", port=1, user="nobody"))
    refused = cluster.actors[-1].relay
    refused._link.process.wait(30)
    workers.close()


def test_a_controller_that_does_not_answer_is_an_error(cluster: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLACE", 0.2)
    monkeypatch.setattr(cluster, "run", lambda function, on_error: time.sleep(5))
    with pytest.raises(DynoctlError, match="cannot be used: not all of its workers answered within 0 s"):
        controllers(HERE)
    assert cluster.closed


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({}, "has no workers"),
        ({"tls://a:1": ""}, "1 controller without dynoctl: tls://a:1"),
        (
            {"tls://a:1": TypeError("code() argument 13 must be str, not int"), "tls://b:1": __version__},
            "1 controller cannot be asked for its version of dynoctl: tls://a:1: code.. argument 13 must be str",
        ),
        (
            {"tls://a:1": "0.1.0", "tls://b:1": __version__},
            rf"this is dynoctl {__version__}, .*: tls://a:1 has 0\.1\.0$",
        ),
    ],
)
def test_a_cluster_that_cannot_do_it_is_refused(versions: dict[str, Any], said: str, cluster: Client) -> None:
    cluster.versions = versions
    with pytest.raises(DynoctlError, match=said):
        controllers("tls://scheduler:8786")
    assert cluster.closed and not cluster.actors


def test_without_dask_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DynoctlError, match="requires Dask") as error:
        controllers(HERE)
    assert error.value.hint == "pip install 'dynoctl[dask]'"


def test_a_scheduler_that_is_away_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str, timeout: float) -> None:
        raise OSError("Timed out trying to connect")

    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=refuse))
    with pytest.raises(DynoctlError, match=rf"cannot connect to the scheduler {HERE}: timed out") as error:
        controllers("127.0.0.1:8786")
    assert error.value.hint.startswith("start one: dask scheduler")


def test_an_actor_is_a_worker_like_any_other(cluster: Client) -> None:
    workers = controllers(HERE)
    target = Target("grid-1", "127.0.0.1", port=1, user="nobody")
    with pytest.raises(Unreachable, match="connection refused"):
        workers.connect(target)
    first, second = cluster.actors
    first.relay._link.process.kill()  # what it observes is observed again beside another controller
    with pytest.raises(Unreachable, match="connection refused"):
        workers.connect(target)
    assert len(cluster.actors) == 3
    second.reachable = False
    with pytest.raises(Unreachable, match="connection refused"):
        workers.connect(Target("grid-2", "127.0.0.1", port=1))
    assert len(cluster.actors) == 4
    cluster.status = "connecting"
    began = time.monotonic()
    with pytest.raises(Unreachable, match="is gone, and cannot start a worker on the cluster: the scheduler is gone"):
        for actor in cluster.actors:
            actor.reachable = False
        workers.connect(target)
    assert time.monotonic() - began < module.PLACE
    workers.close()
    assert cluster.closed


def test_a_worker_whose_coordinator_is_silent_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.remote.relay.PATIENCE", 0.5)
    relay = Relay()
    relay._link.process.wait(30)
    assert relay._link.process.returncode == 0
    assert asyncio.run(relay.collect(0)) == ([], "its worker process ended (exit status 0)")
