"""One command in several processes, and on the workers of a Dask cluster: the same plan, the same apply, and what becomes
of the servers of a process that is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.cli.workers import CONTROLLERS
from tests.lab.support import APPS, Project, eventually

DASK = Path(sys.executable).parent / "dask"


@pytest.fixture
def app(tmp_path: Path, fleet: Any) -> Iterator[Project]:
    framework = {"name": "rack", "require": "./probe", "app": "Probe"}
    project = Project(tmp_path, fleet, "workers", APPS / "probe", framework=framework)
    project.manifest |= {"dynos": {"web": 3}, "env": {"WORD": "first", "KEY": {"from_env": "WORKERS_KEY"}}}
    project.environment["WORKERS_KEY"] = "hunter2"
    yield project
    project.environment.pop(CONTROLLERS, None)
    project.destroy()


def plans(app: Project, *argv: str) -> str:
    return app.dynoctl("plan", "--json", *argv).stdout


def children(process: int) -> list[int]:
    """The processes that a process started, with theirs."""
    own = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in own] + [below for child in own for below in children(int(child))]


def killed_midway(app: Project, find: Any, *argv: str) -> dict[str, Any]:
    """The report of an apply while which a process is killed that ``find`` names once the dynos restart."""
    process = app.start("apply", "--auto-approve", "--json", *argv)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if lines[-1].get("event") == "step" and lines[-1].get("subject", "").startswith("web."):
            os.kill(find(process.pid), signal.SIGKILL)
            break
    rest, errors = process.communicate(timeout=180)
    lines += [json.loads(line) for line in rest.splitlines()]
    assert "Traceback" not in errors, errors
    assert process.returncode == 4, (process.returncode, lines[-1], errors)
    assert lines[-1]["type"] == "report"
    return dict(lines[-1])


def recovers(app: Project, fleet: Any) -> None:
    """Every lock is free, and the next apply does the rest."""
    eventually(lambda: {line.split()[1] for line in app.dynoctl("lock", "status").stdout.splitlines()} == {"free"})
    app.apply()
    app.settled()
    assert {row["state"] for row in app.ps().values()} == {"up"}


def test_a_process_that_is_killed_takes_only_its_own_servers_along(app: Project, fleet: Any) -> None:
    app.manifest |= {"servers": app.manifest["servers"][:2], "dynos": {"web": 2}}
    app.dynoctl("apply", "--auto-approve", "--workers", "2")
    app.manifest["env"]["WORD"] = "second"
    assert plans(app, "--workers", "2") == plans(app, "--workers", "0")
    report = killed_midway(app, lambda process: children(process)[0], "--workers", "2")
    lost = {failure["server"]: failure["summary"] for failure in report["failures"] if failure["unreachable"]}
    assert [*lost.values()] == [f"{name}: connection lost: its worker process ended (signal 9)" for name in lost]
    assert len(lost) == 1, "the other server has another process"
    recovers(app, fleet)


def test_ctrl_c_lets_all_processes_finish_and_ends_them(app: Project, fleet: Any) -> None:
    app.apply()
    app.manifest["env"]["WORD"] = "second"
    process = app.start("apply", "--auto-approve", "--json", "--workers", "3")
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event.get("event") == "step" and event.get("subject", "").startswith("web."):
            break
    workers = children(process.pid)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=180)
    report = json.loads(rest.splitlines()[-1])
    assert process.returncode == 1 and report["interrupted"] and not report["failures"], (report, errors)
    assert len(workers) == 3 and "Traceback" not in errors
    eventually(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    recovers(app, fleet)


@pytest.mark.soak
def test_processes_do_what_one_does(app: Project, fleet: Any) -> None:
    assert plans(app, "--workers", "2") == plans(app, "--workers", "0"), "the first plan"
    app.dynoctl("apply", "--auto-approve", "--workers", "2")
    app.dynoctl("restart", "--workers", "2")
    answers = [app.dynoctl("ps", "--json", "--workers", number).stdout for number in ("2", "0")]
    states = [[(row["dyno"], row["state"]) for row in json.loads(answer)["dynos"]] for answer in answers]
    assert states[0] == states[1] == [(f"web.{number}", "up") for number in (1, 2, 3)]
    app.dynoctl("destroy", "--auto-approve", "--workers", "2")


@contextmanager
def cluster(
    directory: Path, workers: int, settings: Path | None = None
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and workers of Dask on the loopback, with the certificates of ``settings`` if they are given; the
    address of the scheduler, and the processes."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    scheme = "tcp" if settings is None else "tls"
    address = f"{scheme}://127.0.0.1:{port}"
    running: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, **({} if settings is None else {"DASK_CONFIG": str(settings)})}

    def start(*argv: str) -> None:
        with (directory / f"dask-{len(running)}.log").open("wb") as log:
            running.append(subprocess.Popen([DASK, *argv], cwd=directory, stdout=log, stderr=log, env=environment))

    try:
        start("scheduler", "--protocol", scheme, "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        for _ in range(workers):
            start("worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard")

        def ready() -> bool:
            said = [(directory / f"dask-{number}.log").read_text() for number in range(1, workers + 1)]
            return all("Registered to" in text for text in said)

        eventually(ready)
        yield address, running
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.mark.soak
def test_a_cluster_does_what_one_process_does(app: Project, fleet: Any, tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as (address, running):
        app.environment[CONTROLLERS] = address
        first = plans(app)
        assert first == plans(app, "--workers", "0"), "the first plan"
        app.apply()
        app.settled()
        app.manifest["env"]["WORD"] = "second"
        assert plans(app) == plans(app, "--workers", "0"), "a plan with restarts"
        app.dynoctl("restart", "web.1")
        report = killed_midway(app, lambda _: running[1].pid)
        lost = {failure["server"]: failure["summary"] for failure in report["failures"]}
        assert len(lost) == 1, "each worker has one server"
        assert "its controller tcp://127.0.0.1:" in next(iter(lost.values())), lost
        recovers(app, fleet)
        app.manifest["env"]["WORD"] = "third"
        report = killed_midway(app, lambda _: running[0].pid)
        why = {failure["summary"].partition(": ")[2] for failure in report["failures"]}
        assert why == {"connection lost: the scheduler of its controller is gone"}, report["failures"]
        done = app.dynoctl("plan", code=1)
        assert f"error: cannot connect to the scheduler {address}: " in done.stderr
        assert "hint: start one: dask scheduler" in done.stderr
        app.environment.pop(CONTROLLERS)
        recovers(app, fleet)
    done = app.dynoctl("plan", "--controllers", "tcp://192.0.2.1:8786", code=1)
    assert "error: the scheduler tcp://192.0.2.1:8786 is not reached by TLS" in done.stderr


def certificates(directory: Path) -> Path:
    """Dask's settings with an authority and a certificate by it, all new."""
    directory.mkdir()
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout")
    for argv in (
        ("req", "-x509", *new, "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "1"),
        ("req", *new, "me.key", "-out", "me.csr", "-subj", "/CN=controller"),
        ("x509", "-req", "-in", "me.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-out", "me.pem", "-days", "1"),
    ):
        subprocess.run(["openssl", *argv], cwd=directory, check=True, capture_output=True)
    own = {"cert": str(directory / "me.pem"), "key": str(directory / "me.key")}
    tls = {"ca-file": str(directory / "ca.pem"), "client": own, "scheduler": own, "worker": own}
    settings = directory / "dask.yaml"
    settings.write_text(json.dumps({"distributed": {"comm": {"require-encryption": True, "tls": tls}}}))
    return settings


@pytest.mark.soak
def test_a_cluster_with_certificates(app: Project, fleet: Any, tmp_path: Path) -> None:
    """Secrets travel to its workers; who has no certificate of its authority gets no further than an error."""
    settings, others = certificates(tmp_path / "ours"), certificates(tmp_path / "theirs")
    with cluster(tmp_path, 2, settings) as (address, _):
        app.environment |= {CONTROLLERS: address, "DASK_CONFIG": str(settings)}
        assert plans(app) == plans(app, "--workers", "0")
        app.apply()
        app.settled()
        app.environment["DASK_CONFIG"] = str(others)
        stranger = app.dynoctl("plan", code=1).stderr
        app.environment.pop("DASK_CONFIG")
        nobody = app.dynoctl("plan", code=1).stderr
        app.environment[CONTROLLERS] = address.replace("tls", "tcp")
        plain = app.dynoctl("plan", code=1).stderr
        app.environment |= {CONTROLLERS: address, "DASK_CONFIG": str(settings)}
        app.dynoctl("destroy", "--auto-approve")
    for said in (stranger, nobody, plain):
        assert said.startswith("error: cannot connect to the scheduler ") and said.count("\n") == 2, said
    assert f"{address}: TLS certificate does not match." in stranger
    assert f"{address}: it needs a certificate, and none is configured on this machine\n" in nobody
    for said in (stranger, nobody):
        assert "hint: check distributed.comm.tls in the configuration of Dask" in said
    app.environment.pop("DASK_CONFIG")
