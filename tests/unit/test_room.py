"""Whether a server can take a release: free ports, space and memory; the scripts run in a real shell."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from infra.fleet import room
from infra.model import paths
from infra.model.provider import Scope
from infra.model.resource import Action, Change, Resource
from providers.socket import Socket, desired

SCOPE = Scope("shop", "salt")


def free(listen: str, port: int, path: str, units: str = paths.UNITS) -> subprocess.CompletedProcess[str]:
    """The check of a port, where no unit of the dyno is active."""
    after = desired("shop", "web.1", listen, port)
    command = Socket().free(
        SCOPE, Change(Resource("s1", "socket", "shop-web.1", after, "web.1"), Action.CREATE, None, after)
    )
    assert command is not None
    argv = [word.replace(paths.UNITS, units) for word in command.argv]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": path})


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with a systemctl that knows no unit."""
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "systemctl").chmod(0o755)
    return f"{tmp_path}:/usr/bin:/bin"


@pytest.mark.parametrize(
    ("bound", "listen", "taken"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "0.0.0.0", True),  # noqa: S104
        ("0.0.0.0", "127.0.0.1", True),  # noqa: S104
        ("::", "127.0.0.1", True),
        ("::1", "::1", True),
        ("::1", "127.0.0.1", False),
        ("::1", "0.0.0.0", False),  # noqa: S104
        ("::1", "::", True),
    ],
)
def test_a_port_is_taken_by_a_listener_on_its_address_or_on_all(
    bound: str, listen: str, taken: bool, path: str
) -> None:
    with socket.create_server((bound, 0), family=socket.AF_INET6 if ":" in bound else socket.AF_INET) as server:
        done = free(listen, server.getsockname()[1], path)
    assert done.returncode == int(taken), done
    assert not taken or "is already in use" in done.stdout


def test_a_port_is_the_dynos_own_while_its_socket_listens_on_it(path: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        systemctl = f'case "$*" in *.service) exit 3;; *show*) echo "127.0.0.1:{port} (Stream)";; esac\n'
        (tmp_path / "systemctl").write_text(f"#!/bin/sh\n{systemctl}")
        assert free("127.0.0.1", port, path).returncode == 0
        with socket.create_server(("127.0.0.1", 0)) as other:
            assert free("127.0.0.1", other.getsockname()[1], path).returncode == 1, "it is to listen on another port"


def test_the_room_of_this_machine() -> None:
    done = subprocess.run(room.look("shop").argv, capture_output=True, text=True, check=True)
    found = room.parse(done.stdout)
    assert list(found.disks) == ["/var/lib/dynoctl/shop", "/etc/systemd/system", "/run", "/srv/dyno/shop"]
    assert all(free > 0 for free, _ in found.disks.values())
    assert found.memory is not None and found.memory > 2**20
    assert "free, 1048576.2 MiB needed" in next(found.lacks("shop", 2**40, 0))


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("disk 1000 4096 9 100 /run\nmemory 100000", []),
        ("disk 0 4096 9 100 /run\nmemory 100000", ["/run: no space left on device: 0.0 MiB free, 0.2 MiB needed"]),
        ("disk 1000 4096 0 100 /run\nmemory 100000", ["/run: no space left on device: no free inodes"]),
        ("disk 1000 4096 0 0 /run\nmemory 100000", []),  # a file system without a number of inodes
        (
            "memory 10240\nmemory 1024",
            ["11.0 MiB of memory available, 64.0 MiB needed to boot 2 dynos"],
        ),
        ("disk what 4096\nnonsense", []),
    ],
)
def test_what_is_missing(output: str, says: list[str]) -> None:
    assert list(room.parse(output).lacks("shop", 0, 2)) == says


def test_a_file_system_that_does_not_know_its_size_lacks_nothing(tmp_path: Path) -> None:
    """Such as one of FUSE that does not say, or a tmpfs without a limit: all its numbers are 0."""
    (tmp_path / "stat").write_text("#!/bin/sh\ncase $4 in /run) echo 0 0 4096 0 0;; *) echo 9 0 4096 0 0;; esac\n")
    (tmp_path / "stat").chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(room.look("shop").argv, capture_output=True, text=True, check=True, env=path)
    lacking = [text.partition(":")[0] for text in room.parse(done.stdout).lacks("shop", 1, 0)]
    assert lacking == ["/var/lib/dynoctl/shop", "/etc/systemd/system", "/srv/dyno/shop"]


@pytest.mark.parametrize(("slug", "short"), [(0, False), (1 << 20, True)])
@pytest.mark.parametrize("disk", ["0 4096 9 100", "1000 4096 0 100"])
def test_a_new_slug_has_to_be_mounted(slug: int, short: bool, disk: str) -> None:
    """A full /srv was found after others had changed. Without a new slug, nothing is made there."""
    (*missing,) = room.parse(f"disk {disk} /srv/dyno/shop").lacks("shop", slug, 1)
    assert [text.partition(" left")[0] for text in missing] == ["/srv/dyno/shop: no space"] * short
    assert all("inodes" in text or text.endswith(": 0.0 MiB free, 16 KiB needed") for text in missing)
    assert "/srv/dyno/shop" in room.look("shop").argv


@pytest.mark.parametrize(
    ("unit", "own"),
    [("[Unit]\nX-Dynoctl-Port=PORT\n", True), ("[Unit]\nX-Dynoctl-Port=1\n", False), ("", True)],
    ids=["its port", "another port", "an empty unit"],
)
def test_the_port_of_a_dyno_that_runs_is_its_own_only_if_it_has_it(tmp_path: Path, unit: str, own: bool) -> None:
    """If its port changed in the manifest, one that somebody else has was taken for free, and the dyno did not start."""
    (tmp_path / "systemctl").write_text('#!/bin/sh\n[ "$*" = "is-active -q dyno-shop-web-1.service" ]\n')
    (tmp_path / "systemctl").chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (tmp_path / "dyno-shop-web-1.service").write_text(unit.replace("PORT", str(port)))
        done = free("127.0.0.1", port, f"{tmp_path}:/usr/bin:/bin", units=str(tmp_path))
    assert (done.returncode == 0) is own, done
