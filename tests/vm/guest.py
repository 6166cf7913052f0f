"""A virtual machine with a kernel of its own. QEMU emulates it in software, so that it needs no KVM, and takes minutes.

It is reached only through one port of the loopback interface, and reaches nothing itself."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

from infra.errors import DynoctlError
from infra.lab.run import run
from tests.vm.image import Image

NAME = "guest"

BOOT = 600
"""Seconds that it may take to boot. It took 90 s on 2 cores."""

CONNECT = 120
"""``ssh.connect_timeout`` of its inventory."""

COMMAND = 600
"""Seconds after which a program that hangs in it fails its test."""

MEMORY = "2048"
"""MiB."""

KERNEL_ARGUMENTS = "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off panic=-1"
"""Mitigations protect nothing here and cost time. A kernel that panics reboots, and QEMU ends."""


class Guest:
    """The running guest, in the terms of a lab's fleet: its one server is ``guest``. Stop it when done."""

    names = (NAME,)

    def __init__(self, image: Image, directory: Path) -> None:
        """Start it. ``directory`` gets its keys, and what it writes to its disk."""
        self._key, self._known_hosts = directory / "id_ed25519", directory / "known_hosts"
        self._console = directory / "console.log"
        host_key = directory / "host_key"
        for key in (self._key, host_key):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", NAME, "-f", str(key)])
        with tarfile.open(directory / "setup.tar", "w") as archive:
            for file, name in (
                (host_key, "etc/ssh/ssh_host_ed25519_key"),
                (self._key.with_suffix(".pub"), "root/.ssh/authorized_keys"),
            ):
                archive.add(file, name, filter=_owned_by_root)
        self._port = _unused_port()
        public = host_key.with_suffix(".pub").read_text()
        self._known_hosts.write_text(f"[127.0.0.1]:{self._port} {public}")
        with (directory / "qemu.log").open("w") as log:
            self._process = subprocess.Popen(
                # It ends with the process that started it, even if that is killed.
                ["setpriv", "--pdeathsig", "KILL", *self._qemu(image, directory / "setup.tar")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(directory)},  # for the file of snapshot=on
                start_new_session=True,  # Ctrl-C ends the tests, which then stop it
            )

    def _qemu(self, image: Image, setup: Path) -> list[str]:
        forward = f"hostfwd=tcp:127.0.0.1:{self._port}-:22"
        return [
            *("qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"),
            *("-smp", "2", "-m", MEMORY, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-serial", f"file:{self._console}"),
            *("-kernel", str(image.kernel), "-initrd", str(image.initramfs), "-append", KERNEL_ARGUMENTS),
            *("-drive", f"file={image.disk},format=raw,if=virtio,snapshot=on,cache=unsafe"),
            *("-drive", f"file={setup},format=raw,if=virtio,readonly=on"),
            *(
                "-netdev",
                f"user,id=net,restrict=on,ipv6=off,{forward}",
                "-device",
                "virtio-net-pci,netdev=net,romfile=",
            ),
            *("-device", "virtio-rng-pci"),
        ]

    def wait(self) -> None:
        """Wait until it has booted. Raises DynoctlError with the end of its console if it does not."""
        deadline = time.monotonic() + BOOT
        while self.exec(NAME, "true", check=False).returncode != 0:
            if self._process.poll() is not None:
                raise DynoctlError(f"QEMU ended with status {self._process.returncode}", self._said())
            if time.monotonic() > deadline:
                raise DynoctlError(f"the guest did not boot within {BOOT} s", self._said())
            time.sleep(1)
        self.exec(NAME, "systemctl", "is-system-running", "--wait", check=False)

    def _said(self) -> str:
        files = (self._console, self._console.with_name("qemu.log"))
        return "\n".join(line for file in files for line in file.read_text(errors="replace").splitlines()[-20:])

    def exec(
        self, name: str, *argv: str, input: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as root in the guest."""
        assert name == NAME
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "30",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self._known_hosts),
        }
        ssh = ["ssh", "-F", "none", "-i", str(self._key), "-p", str(self._port), "root@127.0.0.1"]
        ssh += [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        done = subprocess.run(
            [*ssh, shlex.join(argv)], input=input or "", capture_output=True, text=True, timeout=COMMAND, check=False
        )
        assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def inventory(self, *names: str) -> dict[str, Any]:
        """What a dyno.yaml says of it."""
        assert set(names) <= set(self.names)
        return {
            "servers": [{"name": NAME, "host": "127.0.0.1", "port": self._port}],
            "ssh": {
                "user": "root",
                "key": str(self._key),
                "known_hosts": str(self._known_hosts),
                "connect_timeout": CONNECT,
            },
        }

    def stop(self) -> None:
        """End it as a power cut does. What it wrote to its disk is gone."""
        self._process.kill()
        self._process.wait()


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o600
    return entry


def _unused_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])
