"""The state of a lab: names, addresses, subnets and the state file, without servers."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from infra.errors import DynoctlError
from infra.lab import state
from infra.lab.state import LabState, ServerState


@pytest.fixture(autouse=True)
def _state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "STATE", tmp_path / "labs")


def lab(name: str = "shop", subnet: int = 3, servers: int = 2) -> LabState:
    names = ["data", *(f"grid-{number}" for number in range(1, servers + 1))]
    return LabState(
        name, subnet, "word", servers={server: ServerState(server, state.number_of(server), "id") for server in names}
    )


def test_a_saved_state_is_loaded_unchanged() -> None:
    saved = lab()
    saved.servers["grid-1"].pid, saved.servers["grid-1"].started, saved.servers["grid-1"].boot = 7, 8, "b"
    saved.save()
    assert state.load("shop") == saved
    assert [path.name for path in saved.path.iterdir()] == ["state.json"]
    assert saved.path.stat().st_mode & 0o777 == 0o700


def test_without_labs_there_is_no_state_and_no_name() -> None:
    assert state.load("shop") is None
    assert state.names() == []


def test_a_state_of_another_version_still_loads() -> None:
    saved = lab()
    saved.save()
    document = json.loads((saved.path / "state.json").read_text())
    document["later"] = 1
    for server in document["servers"].values():
        server["later"] = 1
        del server["boot"], server["root"]
    del document["prepared"]
    (saved.path / "state.json").write_text(json.dumps(document))
    assert state.load("shop") == saved


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"servers": 1}', '{"servers": {}}', '{"servers": {"a": {}}}'])
def test_a_damaged_state_is_an_error(text: str) -> None:
    saved = lab()
    saved.save()
    (saved.path / "state.json").write_text(text)
    with pytest.raises(DynoctlError, match="damaged"):
        state.load("shop")


def test_threads_can_save_concurrently() -> None:
    saved = lab()
    failed: list[BaseException] = []

    def save() -> None:
        try:
            for _ in range(20):
                saved.save()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=save) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert state.load("shop") == saved


def test_addresses_and_numbers() -> None:
    saved = lab(servers=32)
    assert saved.address("data") == "10.77.3.2"
    assert saved.address("grid-1") == "10.77.3.11"
    assert saved.address("grid-32") == "10.77.3.42"
    assert saved.gateway == "10.77.3.1"
    assert len({saved.address(name) for name in saved.servers}) == 33
    assert saved.grid == [f"grid-{number}" for number in range(1, 33)]


def test_servers_get_their_releases_in_turn() -> None:
    saved = lab()
    saved.releases = ("bookworm", "trixie")
    assert [saved.release_of(name) for name in ("grid-1", "grid-2", "grid-3", "bare-1", "bare-2")] == [
        *("bookworm", "trixie", "bookworm"),
        *("bookworm", "trixie"),
    ]


def test_interface_names_are_valid_on_linux() -> None:
    assert len(lab(subnet=255).bridge) <= 15


@pytest.mark.parametrize("name", ["demo", "a", "a1", "lab-2", "a--b", "a" * 32])
def test_valid_names(name: str) -> None:
    assert state.check_name(name) == name


@pytest.mark.parametrize("name", ["", "Demo", "1a", "-a", "a-", "a_b", "a b", "a/b", "..", "é", "a\n", "a" * 33])
def test_invalid_names(name: str) -> None:
    with pytest.raises(DynoctlError, match="invalid lab name"):
        state.check_name(name)
    with pytest.raises(DynoctlError):
        state.load(name)


def test_only_demo_gets_the_first_subnet() -> None:
    assert state.free_subnet("demo") == 0
    assert state.free_subnet("other") == 1


def test_the_lowest_free_subnet_is_used() -> None:
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
