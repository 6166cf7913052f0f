"""The record that all servers have: one sends it, and the others say that they have the same."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from infra.fleet import known_records
from infra.fleet.facts import records_fragment
from infra.fleet.observe import FACTS, Observer
from infra.model import paths, routing
from infra.model.answer import InvalidAnswer
from infra.model.provider import Fragment, Scope
from infra.model.shell import Sections


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    known_records._remembered.clear()
    yield
    known_records._remembered.clear()


def record(servers: int, serial: int = 1) -> str:
    names = {f"machine{number}": {"name": f"n{number}", "host": "10.0.0.1"} for number in range(servers)}
    return json.dumps({"version": 1, "serial": serial, "dynos": {}, "servers": names})


LONG, SHORT = record(500), record(2)


def digest(text: str) -> str:
    return hashlib.sha256(f"{text}\n".encode()).hexdigest()


@pytest.mark.parametrize(
    ("content", "known", "said"),
    [
        (f"{LONG}\n", "", LONG),
        (f"{LONG}\n", digest(LONG), f"={digest(LONG)}"),
        (f"{LONG}\n", f"{digest(SHORT)} {digest(LONG)}", f"={digest(LONG)}"),
        (f"{LONG}\n", digest(SHORT), LONG),
        (f"{LONG}\n", "-", LONG),
        (LONG, digest(LONG), LONG),  # damaged: without its end
        (None, digest(LONG), ""),
        (None, "", ""),
        (None, "-", ""),
    ],
)
def test_a_server_sends_its_record_or_that_it_is_a_known_one(
    content: str | None, known: str, said: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop/meta.json").write_text(content)
    script = known_records.SCRIPT.replace(paths.STATE, str(tmp_path))
    done = subprocess.run(
        ["sh", "-c", f"app=shop known='{known}'\n{script}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.removesuffix("\n") == f"meta {said}" and not done.stderr


class Server:
    """A server with a record, or one that claims a digest."""

    def __init__(self, name: str, meta: str, claims: str = "") -> None:
        self.name, self._meta, self._claims = name, meta, claims
        self.told = ""
        self.sent = 0

    def observe(self, fragments: Mapping[str, Fragment], timeout: float = 60) -> Sections:
        self.told = fragments[FACTS].variables["known"]
        same = self._claims or (digest(self._meta) if digest(self._meta) in self.told.split() else "")
        text = f"={same}" if same else self._meta
        self.sent = len(text)
        return {FACTS: (0, f"machine_id {self.name}\ncores 4\nmeta {text}\n"), routing.SECTION: (0, "")}


def observer() -> Observer:
    return Observer((), Scope("shop", "salt"), "/usr/bin/ruby", ())


def test_the_others_send_the_digest_only() -> None:
    servers = [Server(f"n{number}", LONG) for number in range(4)]
    found = [observer().look(server).facts.meta for server in servers]
    assert [server.sent for server in servers] == [len(LONG), 65, 65, 65]
    assert found[0]["serial"] == 1 and all(meta is found[0] for meta in found)


def test_a_server_with_another_record_sends_it() -> None:
    older = record(500, serial=0)
    first, second, third = Server("n0", LONG), Server("n1", older), Server("n2", older)
    assert [observer().look(server).facts.meta["serial"] for server in (first, second, third)] == [1, 0, 0]
    assert (second.sent, third.sent) == (len(older), 65)


def test_short_records_are_always_sent() -> None:
    servers = [Server("n0", SHORT), Server("n1", SHORT)]
    assert [observer().look(server).facts.meta["serial"] for server in servers] == [1, 1]
    assert [(server.told, server.sent) for server in servers] == [("", len(SHORT))] * 2


def test_a_record_that_nobody_sent_cannot_be_claimed() -> None:
    observer().look(Server("n0", LONG))
    with pytest.raises(InvalidAnswer, match="n1: its answer is invalid: an unknown record: =0123"):
        observer().look(Server("n1", LONG, claims="0123"))


def test_only_some_records_are_remembered() -> None:
    for serial in range(20):
        observer().look(Server("n0", record(500, serial)))
    assert len(known_records.known("shop")) == known_records.MOST
    assert known_records.known("other") == {}


def test_other_questions_get_the_whole_record() -> None:
    assert records_fragment("shop").variables["known"] == ""
    observer().look(Server("n0", LONG))
    assert observer().fragments[FACTS].variables["known"] == "", "the program of sudoers is the same on all computers"
