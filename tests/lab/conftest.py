"""The lab as a fixture: real servers for the whole session, taken down at its end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DynoctlError
from infra.lab import fleet as labs
from infra.lab import needs, server
from infra.lab.state import LabState

pytest.register_assert_rewrite("tests.lab.support", "tests.lab.terminal")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the long sweeps in full")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: too long for every day; make soak runs it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long ones to the long run."""
    if not config.getoption("--soak"):
        long = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--soak"))


def lab_name() -> str:
    """Where tests run side by side, each process of them has a lab of its own."""
    name, worker = os.environ.get("DYNOCTL_LAB", "test"), os.environ.get("PYTEST_XDIST_WORKER")
    return f"{name}-{worker}" if worker else name


class Fleet:
    """A running lab. Server names are ``grid-1`` and so on; ``data`` carries the services."""

    def __init__(self, name: str, servers: int, releases: Sequence[str] = ()) -> None:
        self._name = name
        self._usual = servers
        self.path = labs.up(name, servers, lambda _: None, releases=releases).path
        self.key = self.path / "id_ed25519"
        self.known_hosts = self.path / "known_hosts"

    @property
    def _lab(self) -> LabState:
        """What the lab is now: a test may have booted or rebooted a server by itself."""
        return labs.get(self._name)

    @property
    def names(self) -> list[str]:
        """The grid's servers, without ``data``; of those that a test needed more, the usual ones."""
        return self._lab.grid[: self._usual]

    def address(self, name: str) -> str:
        return self._lab.address(name)

    def inventory(self, *names: str) -> dict[str, Any]:
        """What a dyno.yaml says of these servers (none named: the usual ones)."""
        return {
            "servers": [{"name": name, "host": self.address(name)} for name in names or self.names],
            "ssh": {"user": "root", "key": str(self.key), "known_hosts": str(self.known_hosts)},
        }

    def url(self, kind: str) -> str:
        """``database_url``, ``cache_url`` or ``memcached``."""
        return (self.path / kind).read_text().strip()

    def exec(
        self, name: str, *argv: str, input: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as root inside a server, without ssh."""
        done = server.execute(self._lab, name, list(argv), stdin=input)
        assert not check or done.returncode == 0, f"{name}: {argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def need(self, servers: int) -> list[str]:
        """Have this many servers; their names."""
        if len(self._lab.grid) < servers:
            labs.up(self._name, servers, lambda _: None)
        return self._lab.grid[:servers]

    def need_bare(self, servers: int) -> list[str]:
        """Have this many servers without Ruby; their names."""
        if len(self._lab.bare) < servers:
            labs.up(self._name, len(self._lab.grid), lambda _: None, bare=servers)
        return self._lab.bare[:servers]

    def stop(self, name: str) -> None:
        """Shut down in order."""
        labs.stop(self._lab, name)

    def kill(self, name: str) -> None:
        """A power cut."""
        labs.kill(self._lab, name)

    def start(self, name: str) -> None:
        labs.start(self._lab, name)

    def reboot(self, name: str) -> None:
        """``systemctl reboot`` inside, until it is back."""
        labs.reboot(self._lab, name)

    def cut(self, name: str) -> None:
        """Pull the network cable."""
        labs.cut(self._lab, name)

    def restore(self, name: str) -> None:
        labs.restore(self._lab, name)


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """Three servers and ``data``. A lab that cannot start fails the tests; it never skips them."""
    name = lab_name()
    try:
        needs.check(install=False)
        yield Fleet(name, 3)
    except DynoctlError as error:
        pytest.fail(f"the lab cannot start: {error.summary}: {error.hint}")
    finally:
        if os.environ.get("DYNOCTL_LAB_KEEP") != "1":
            with suppress(DynoctlError):
                labs.down(name, lambda _: None)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).parents[2]
