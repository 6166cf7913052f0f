"""How the engine brings the slug to servers: by a store, from server to server, and over SSH where that fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.artifacts import pull
from infra.artifacts import relay as relay_commands
from infra.artifacts.source import Source, StoreError
from infra.engine import delivery
from infra.engine.context import Context
from infra.engine.groups import Group
from infra.engine.ledger import Ledger
from infra.errors import DynoctlError, Unreachable
from infra.manifest.artifacts import Artifacts
from infra.model.clock import SystemClock
from infra.model.events import Event, Report
from infra.model.provider import Scope
from infra.model.resource import Action, Change, Command, Found, Resource, Upload
from infra.plan.delivery import words
from infra.remote import parallel
from infra.views import report_json, report_text
from infra.views.style import Style
from tests.simulation.harness import manifest

IMAGE = Upload("/local", "/var/lib/dynoctl/shop/slugs/d.squashfs", "a" * 64, 3 << 20)
KEY = "slug.shop@d"


class Session:
    """A server. ``cannot`` is what it fails at: ``give``, ``pull``, ``upload`` or ``anything``."""

    def __init__(self, name: str, log: list[str], cannot: str = "") -> None:
        self.name, self.log, self.cannot = name, log, cannot

    def execute(self, command: Command) -> tuple[int, str]:
        what = {"pull the slug": "pull", "relay the slug": "give"}.get(command.label, "close")
        self.log.append(f"{self.name} {what}")
        if self.cannot == "anything":
            raise Unreachable(f"{self.name}: connection lost")
        if what == "give":
            ready = f"relay 4711 sha256//{'A' * 43}=\n"
            return (1, "no ruby") if self.cannot == "give" else (0, ready)
        if what == "pull" and "reach the store" in self.cannot:
            return 1, "\nhttp 000\ncurl: (28) Failed to connect to slugs.example.org port 443: Timeout was reached"
        if what == "pull" and "run curl" in self.cannot:
            return 1, "curl is not installed"
        if what == "pull" and "pull" in self.cannot:
            return 1, "curl: (22) The requested URL returned error: 404 hunter2"
        return 0, ""

    def upload(self, local: Path, path: str, sha256: str) -> None:
        self.log.append(f"{self.name} upload")
        if "upload" in self.cannot or self.cannot == "anything":
            raise DynoctlError(f"{self.name}: cannot send {path}")


class FakeStore:
    name = "slugs.example.org"

    def __init__(self, error: StoreError | None = None) -> None:
        self.error = error
        self.pushed = 0

    def push(self, image: Upload) -> bool:
        if self.error is not None:
            raise self.error
        self.pushed += 1
        return True

    def source(self, image: Upload) -> Source:
        return Source("https://slugs.example.org/x")


class World:
    """Servers that need the slug, and what happened."""

    def __init__(self, artifacts: Artifacts, addresses: dict[str, str], **cannot: str) -> None:
        self.log: list[str] = []
        self.events: list[Event] = []
        self.having: set[str] = set()
        sessions = {name: Session(name, self.log, cannot.get(name, "")) for name in addresses}
        self.manifest = manifest(*addresses, app="shop", artifacts=artifacts)
        self.addresses, self.sessions = addresses, sessions
        self.stop = threading.Event()

    def change(self, server: str) -> Change:
        resource = Resource(server, "slug", "shop@d", {"digest": "d"}, local=lambda: IMAGE)
        return Change(resource, Action.CREATE, None, {"digest": "d"})

    def context(self) -> Context:
        def found(name: str) -> Any:
            resources = {KEY: Found({"digest": "d"})} if name in self.having else {}
            return SimpleNamespace(facts=SimpleNamespace(address=self.addresses[name]), resources=resources)

        needing = [name for name in self.addresses if name not in self.having]
        prepared: Any = SimpleNamespace(
            manifest=self.manifest,
            fleet=SimpleNamespace(sessions=self.sessions, found={name: found(name) for name in self.addresses}),
            plan=SimpleNamespace(app="shop"),
            slug=SimpleNamespace(digest="d"),
            stack=SimpleNamespace(program="/usr/bin/ruby"),
            registry=SimpleNamespace(slug_keys=lambda app, slugs: frozenset({KEY})),
        )
        recorder: Any = None
        return Context(
            prepared=prepared,
            scope=Scope("shop", "salt"),
            shells=dict.fromkeys(self.addresses, recorder),
            ledger=Ledger(self.events.append, lambda text: text.replace("hunter2", "(sensitive)")),
            recorder=recorder,
            listener=self.events.append,
            explain=recorder,
            stop=self.stop,
            clock=SystemClock(),
            groups=tuple(Group(name, None, (self.change(name),)) for name in needing),
            providers={},
            image=IMAGE,
        )

    def run(self) -> Report:
        """Deliver, then bring the slug to every server as the apply does; its failures are in ``failed``."""
        context = delivery.deliver(self.context())
        self.failed: dict[str, DynoctlError] = {}
        for group in context.groups:
            if not context.ledger.usable(group.server):
                continue
            try:
                delivery.send(context, group.changes[0])
            except DynoctlError as error:
                self.failed[group.server] = error
        return context.ledger.report

    def times(self, what: str) -> int:
        return sum(line.endswith(f" {what}") for line in self.log)


@contextmanager
def store(monkeypatch: pytest.MonkeyPatch, error: StoreError | None = None) -> Iterator[FakeStore]:
    made = FakeStore(error)
    monkeypatch.setattr(delivery, "store_of", lambda *_: made)
    yield made


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = parallel._limit
    parallel.limit(1)
    yield
    parallel.limit(before)


HTTP = Artifacts("http", "https://slugs.example.org")
THREE = {name: f"10.0.0.{number}" for number, name in enumerate(("s1", "s2", "s3"), 1)}


def test_by_default_it_is_sent_to_each_server() -> None:
    world = World(Artifacts(), THREE)
    assert world.run().by_ssh == {}
    assert world.log == ["s1 upload", "s2 upload", "s3 upload"]
    assert [event.kind for event in world.events] == ["upload"] * 3


def test_it_is_pushed_once_and_pulled(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(HTTP, THREE)
    with store(monkeypatch) as made:
        report = world.run()
    assert made.pushed == 1 and report.by_ssh == {}
    assert world.log == ["s1 pull", "s2 pull", "s3 pull"]


def test_a_server_that_cannot_pull_gets_it_over_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(HTTP, THREE, s2="pull")
    with store(monkeypatch):
        report = world.run()
    assert world.log == ["s1 pull", "s2 pull", "s2 upload", "s3 pull"]
    why = "it cannot be pulled from slugs.example.org: the store answers 404 (not found)"
    assert report.by_ssh == {"s2": why} and world.failed == {}
    assert f"The slug was sent over SSH to s2: {why}" in report_text.render(report, 1, "apply", Style(color=False))
    assert report_json.document(report)["sent_over_ssh"] == {"s2": why}


SILENT = dict.fromkeys(("s1", "s2", "s3", "s4", "s5"), "reach the store")


def test_a_store_that_two_servers_cannot_reach_is_not_waited_for_by_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for its own curl: a hundred servers would, a few at the same time. Others of another network are asked."""
    addresses = {**THREE, "s4": "10.0.0.4", "s5": "10.0.7.5"}
    world = World(HTTP, addresses, **SILENT)
    with store(monkeypatch):
        report = world.run()
    assert [line for line in world.log if line.endswith("pull")] == ["s1 pull", "s2 pull", "s5 pull"]
    assert world.times("upload") == 5 and world.failed == {}
    why = "Failed to connect to slugs.example.org port 443: Timeout was reached"
    assert report.by_ssh["s1"] == f"it cannot be pulled from slugs.example.org: {why}"
    assert report.by_ssh["s3"] == report.by_ssh["s4"]
    assert report.by_ssh["s3"] == f"it cannot be pulled from slugs.example.org: not tried, as s1, s2 could not: {why}"


@pytest.mark.parametrize("case", ["one answers", "refused", "no fallback"])
def test_when_the_others_are_asked_all_the_same(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    cannot = {**SILENT, "s1": ""} if case == "one answers" else SILENT
    cannot = dict.fromkeys(SILENT, "pull") if case == "refused" else cannot  # that is said at once
    artifacts = replace(HTTP, fallback=case != "no fallback")
    world = World(artifacts, {name: f"10.0.0.{number}" for number, name in enumerate(SILENT, 1)}, **cannot)
    with store(monkeypatch):
        world.run()
    assert world.times("pull") == 5


def test_a_server_that_does_not_ask_the_store_says_nothing_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no curl. The others waited for the store, one after the other."""
    cannot = {**SILENT, "s1": "run curl"}
    world = World(HTTP, {name: f"10.0.0.{number}" for number, name in enumerate(SILENT, 1)}, **cannot)
    with store(monkeypatch):
        world.run()
    assert [line for line in world.log if line.endswith("pull")] == ["s1 pull", "s2 pull", "s3 pull"]
    assert world.times("upload") == 5


def test_what_is_silence() -> None:
    for output in ("curl: (6) Could not resolve host: x", "\nhttp 000\ncurl: (7) Failed", "curl: (28) timed out"):
        assert pull.silent(output)
    assert pull.silent("http 503\ncurl: (22) The requested URL returned error: 503")
    for output in ("curl is not installed", "curl: (22) The requested URL returned error: 404", "curl: (23) no space"):
        assert not pull.silent(output)


def test_what_could_not_be_sent_over_ssh_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(HTTP, THREE, s2="pull and upload")
    with store(monkeypatch):
        report = world.run()
    assert report.by_ssh == {} and list(world.failed) == ["s2"]
    world = World(RELAY, THREE, s2="pull and upload")
    report = world.run()
    assert report.by_ssh.keys() == {"s3"} and list(world.failed) == ["s2"]


def test_without_fallback_that_server_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(replace(HTTP, fallback=False), THREE, s2="pull")
    with store(monkeypatch):
        report = world.run()
    assert world.times("upload") == 0 and report.by_ssh == {}
    assert list(world.failed) == ["s2"]
    assert world.failed["s2"].summary.startswith("s2: the slug is missing: it cannot be pulled from")


def test_a_connection_that_is_lost_is_no_reason_to_send_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(HTTP, THREE, s2="anything")
    with store(monkeypatch):
        world.run()
    assert isinstance(world.failed["s2"], Unreachable) and world.times("upload") == 0


def test_a_push_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(HTTP, THREE)
    with store(monkeypatch, StoreError("slugs.example.org answers 500 to hunter2", "read its log")):
        report = world.run()
    assert report.by_ssh == {"here": "slugs.example.org answers 500 to (sensitive) (read its log)"}
    assert world.times("upload") == 3
    text = report_text.render(report, 1, "apply", Style(color=False))
    assert text == "The slug was sent over SSH: slugs.example.org answers 500 to (sensitive) (read its log)"


def test_a_push_that_fails_without_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(replace(HTTP, fallback=False), THREE)
    with store(monkeypatch, StoreError("slugs.example.org answers 500", "read its log")):
        report = world.run()
    (failure,) = report.failures
    assert (failure.server, failure.summary) == ("here", "cannot push the slug: slugs.example.org answers 500")
    assert failure.detail == "read its log" and world.log == []


RELAY = Artifacts(relay=True)


def fleet(number: int, network: str = "10.0.0") -> dict[str, str]:
    return {f"s{index}": f"{network}.{index}" for index in range(1, number + 1)}


def test_servers_hand_it_on_in_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(RELAY, fleet(8))
    assert world.run().by_ssh == {}
    assert (world.times("upload"), world.times("give"), world.times("pull"), world.times("close")) == (1, 7, 7, 7)
    givers = [line.split()[0] for line in world.log if line.endswith("give")]
    assert givers == ["s1", "s1", "s2", "s1", "s2", "s3", "s4"], "1, 2, 4 at the same time"


def test_each_network_gets_it_once() -> None:
    there = {f"t{index}": f"10.0.9.{index}" for index in range(3)} | {"v1": "fd00::1", "v2": "fd00::2"}
    world = World(RELAY, {**fleet(3), **there})
    assert world.run().by_ssh == {}
    assert [line for line in world.log if line.endswith("upload")] == ["s1 upload", "t0 upload", "v1 upload"]


def test_who_has_it_gives_it() -> None:
    world = World(RELAY, fleet(3))
    world.having = {"s2"}
    assert world.run().by_ssh == {}
    assert world.times("upload") == 0 and world.log[0] == "s2 give"


def test_a_server_that_cannot_give_is_not_asked_again() -> None:
    world = World(RELAY, fleet(3), s1="give")
    report = world.run()
    assert report.by_ssh == {}
    assert [line for line in world.log if not line.endswith("close")] == [
        "s1 upload",
        "s1 give",
        "s3 upload",
        "s3 give",
        "s2 pull",
    ]


def test_nobody_can_give() -> None:
    world = World(RELAY, fleet(3), s1="give", s2="give", s3="give")
    report = world.run()
    assert world.times("upload") == 3 and world.failed == {}
    assert all(why.endswith("it cannot relay the slug: no ruby") for why in report.by_ssh.values()) and report.by_ssh


def test_not_all_are_asked_if_nobody_can_give() -> None:
    """The others get it over SSH at the same time, and not one after the other."""
    world = World(RELAY, fleet(8), **dict.fromkeys(fleet(8), "give"))
    report = world.run()
    assert (world.times("give"), world.times("upload")) == (2, 8) and world.failed == {}
    assert len(report.by_ssh) == 6, "all but the two that were to give it"


def test_a_server_that_cannot_take_it_gets_it_over_ssh() -> None:
    world = World(RELAY, fleet(4), s3="pull")
    report = world.run()
    assert report.by_ssh == {"s3": "it cannot be relayed from s1: the store answers 404 (not found)"}
    assert [line for line in world.log if line.endswith("upload")] == ["s1 upload", "s3 upload"]


def test_servers_that_do_not_reach_each_other() -> None:
    world = World(RELAY, fleet(4), s2="pull")
    report = world.run()
    assert report.by_ssh.keys() == {"s2", "s3", "s4"}, "if the first one cannot, the others are not tried"
    assert world.times("give") == 1 and world.times("upload") == 4 and world.failed == {}


def test_a_seed_that_fails() -> None:
    world = World(RELAY, fleet(3), s1="upload")
    report = world.run()
    assert report.by_ssh == {} and list(world.failed) == ["s1"]
    assert world.times("pull") == 1


def test_a_server_that_is_lost_meanwhile() -> None:
    world = World(RELAY, fleet(3), s1="anything", s2="anything")
    world.having = {"s1"}
    report = world.run()
    assert list(world.failed) == ["s2"]
    assert report.by_ssh == {}, "nothing was sent"


@pytest.mark.parametrize("address", ["", "UNKNOWN"])
def test_a_server_without_an_address_is_not_asked_to_give(address: str) -> None:
    """It would listen on all of its addresses, and nobody knows which to ask."""
    world = World(RELAY, dict.fromkeys(("s1", "s2", "s3"), address))
    assert world.run().by_ssh == {} and world.failed == {}
    assert world.times("upload") == 3 and world.times("give") == 0


def test_no_round_begins_after_ctrl_c() -> None:
    world = World(RELAY, fleet(3))
    world.stop.set()
    world.run()
    assert world.times("give") == 0


def test_a_relay_that_says_something_else() -> None:
    token = relay_commands.token()
    for text in ("", "relay 99999 sha256//x", f"relay 0 sha256//{'A' * 43}=", "relay 1 md5//x"):
        with pytest.raises(StoreError, match="it cannot relay the slug"):
            relay_commands.given(text, "10.0.0.1", token)
    found = relay_commands.given(f"noise\nrelay 4711 sha256//{'A' * 43}=\n", "fd00::1", token)
    assert found.url == "https://[fd00::1]:4711/" and found.access.token == token


def test_the_token_is_not_on_the_command_line() -> None:
    token = relay_commands.token()
    command = relay_commands.give(IMAGE, "shop", "10.0.0.1", token, "/usr/bin/ruby", bandwidth=0)
    assert token.reveal() not in " ".join(command.argv)


@pytest.mark.parametrize("bandwidth", [0, 1 << 10, 8 << 10, 20 << 20])
def test_a_server_gives_it_as_long_as_another_may_take_it(bandwidth: int) -> None:
    large = replace(IMAGE, size=2 << 30)
    give = relay_commands.give(large, "shop", "10.0.0.1", relay_commands.token(), "/usr/bin/ruby", bandwidth=bandwidth)
    ends = int(give.argv[give.argv.index("dynoctl-relay-shop.service") + 1])
    assert ends >= pull.longest(large, bandwidth) >= (2 << 30) // (bandwidth or 1 << 14)
    assert give.timeout >= 512, "it reads the whole image before"


def test_the_words_of_a_plan() -> None:
    world = World(HTTP, THREE)
    changes = [world.change(name) for name in THREE]
    said = "pushed once to slugs.example.org, pulled by 3 servers"
    assert words(world.manifest, changes) == f"{said}, or sent over SSH to servers that cannot pull it"
    assert words(World(replace(HTTP, fallback=False), THREE).manifest, changes) == said
    assert words(World(Artifacts(), THREE).manifest, changes) == ""
    assert words(World(HTTP, THREE).manifest, []) == ""
    assert words(World(RELAY, THREE).manifest, changes) == "sent once to each network, handed on between 3 servers"
    assert words(World(RELAY, THREE).manifest, changes[:1]) == ""
