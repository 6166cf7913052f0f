"""The lab's book-keeping: names, numbers, subnets and the state file, without a single server."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from infra.errors import DynoctlError
from infra.lab import state
from infra.lab.state import LabState, ServerState


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "STATE", tmp_path / "labs")


def lab(name: str = "shop", subnet: int = 3, servers: int = 2) -> LabState:
    names = ["data", *(f"grid-{number}" for number in range(1, servers + 1))]
    return LabState(name, subnet, "word", servers={one: ServerState(one, state.number_of(one), "id") for one in names})


def test_a_state_comes_back_as_it_was_written() -> None:
    one = lab()
    one.servers["grid-1"].pid, one.servers["grid-1"].started, one.servers["grid-1"].boot = 7, 8, "b"
    one.save()
    assert state.load("shop") == one
    assert [path.name for path in one.path.iterdir()] == ["state.json"]
    assert one.path.stat().st_mode & 0o777 == 0o700


def test_no_lab_is_none_and_no_names() -> None:
    assert state.load("shop") is None
    assert state.names() == []


def test_a_state_of_another_version_still_loads() -> None:
    one = lab()
    one.save()
    document = json.loads((one.path / "state.json").read_text())
    document["later"] = 1
    for server in document["servers"].values():
        server["later"] = 1
        del server["boot"], server["root"]
    del document["prepared"]
    (one.path / "state.json").write_text(json.dumps(document))
    assert state.load("shop") == one


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"servers": 1}', '{"servers": {}}', '{"servers": {"a": {}}}'])
def test_a_damaged_state_is_said_and_never_taken_for_none(text: str) -> None:
    one = lab()
    one.save()
    (one.path / "state.json").write_text(text)
    with pytest.raises(DynoctlError, match="damaged"):
        state.load("shop")


def test_many_threads_may_save_at_once() -> None:
    one = lab()
    failed: list[BaseException] = []

    def save() -> None:
        try:
            for _ in range(20):
                one.save()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=save) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert state.load("shop") == one


def test_addresses_and_numbers() -> None:
    one = lab(servers=32)
    assert one.address("data") == "10.77.3.2"
    assert one.address("grid-1") == "10.77.3.11"
    assert one.address("grid-32") == "10.77.3.42"
    assert one.gateway == "10.77.3.1"
    assert len({one.address(name) for name in one.servers}) == 33
    assert one.grid == [f"grid-{number}" for number in range(1, 33)]


def test_interfaces_have_names_that_linux_takes() -> None:
    assert len(lab(subnet=255).bridge) <= 15


@pytest.mark.parametrize("name", ["demo", "a", "a1", "lab-2", "a--b", "a" * 32])
def test_good_names(name: str) -> None:
    assert state.check_name(name) == name


@pytest.mark.parametrize("name", ["", "Demo", "1a", "-a", "a-", "a_b", "a b", "a/b", "..", "é", "a\n", "a" * 33])
def test_bad_names(name: str) -> None:
    with pytest.raises(DynoctlError, match="invalid lab name"):
        state.check_name(name)
    with pytest.raises(DynoctlError):
        state.load(name)


def test_demo_has_the_first_subnet_and_nobody_else_has_it() -> None:
    assert state.free_subnet("demo") == 0
    assert state.free_subnet("other") == 1


def test_subnets_are_the_lowest_that_is_free() -> None:
    lab("one", 1).save()
    lab("three", 3).save()
    assert state.free_subnet("two") == 2
    assert state.free_subnet("two", in_use=[2, 4]) == 5
    with pytest.raises(DynoctlError, match="255 subnets"):
        state.free_subnet("two", in_use=range(1, 256))


def test_names_are_the_directories() -> None:
    lab("one", 1).save()
    (state.STATE / "half").mkdir()
    (state.STATE / ".one.lock").touch()
    assert state.names() == ["half", "one"]
