"""A hostile app: it attacks its server and its neighbours from a dyno, and from all else that runs for it."""

from __future__ import annotations

import ctypes
import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from infra.model import naming
from infra.model.run_request import Base, RunRequest
from infra.model.sandbox import BUILD
from providers import candidate, dyno_unit, ini, one_off, release_command, run
from providers.routers import KINDS, assembly
from tests.lab.support import APPS, Project, eventually

MOST = {"router": 1.5}
"""The highest exposure of a kind of unit, if it is not that of a dyno."""

MOST_OF_A_DYNO = 1.1

ALONE = [
    *("ruby", "-rsocket", "-e"),
    """
      tries = {"an abstract socket" => -> { UNIXSocket.new("\\0hostile") },
        "the server" => -> { TCPSocket.new("127.0.0.1", 22) }, "others" => -> { TCPSocket.new(ENV["NEIGHBOUR"], 22) }}
      $stdout.sync = true
      tries.each { |name, attack| attack.call && puts("reached #{name}") rescue puts("did not reach #{name}: #{$!}") }
      sleep
    """,
]
"""A worker without a network that tries what it reaches."""

LANDLOCK = ctypes.CDLL(None).syscall(444, None, 0, 1)
"""The version of Landlock in the kernel, which the lab's servers share; -1 without. 6 keeps abstract sockets apart."""

STAYS = "31557"
"""Seconds that a process sleeps which leaves its session, to outlive what started it. No other has the number."""

LEAVE = f"(setsid sleep {STAYS} >/dev/null 2>&1 &)"

LINKS = (
    "mkdir links; cd links; ln -s /etc/shadow shadow; ln -s /root root; mkfifo pipe; mknod null c 1 3; touch setuid; "
    f"chmod 6755 setuid; ln setuid hard; {LEAVE}; true"
)
"""A build that puts into the slug what leads out of it."""

ABSTRACT = (
    "an abstract socket of another program",
    "an abstract socket for datagrams",
    "pass a socket to another program",
)

FLOOD = """
  log = Socket.new(:UNIX, :DGRAM).tap { |one| one.connect(Addrinfo.unix("/run/systemd/journal/socket")) }
  20.times do
    memory = IO.for_fd(syscall(319, "flood", 2), "r+b")  # memfd_create
    data = Random.bytes(3 << 20)
    memory.write("MESSAGE\\n", [data.bytesize].pack("Q<"), data, "\\n")
    memory.flush
    memory.fcntl(1033, 15)  # journald takes only what is sealed
    log.sendmsg("", 0, nil, Socket::AncillaryData.unix_rights(memory))
  end
  puts "flooded"
"""
"""Sends 60 MiB to the journal in a few messages, which no limit on the number of lines holds up."""

SMALL = """
  mkdir -p /etc/systemd/journald@small.conf.d
  printf '[Journal]\\nSystemMaxUse=32M\\nRuntimeMaxUse=32M\\n' > /etc/systemd/journald@small.conf.d/size.conf
  systemd-run -q --wait -p LogNamespace=small sh -c 'echo kept; journalctl --namespace=small --sync'
  journalctl --namespace=small -q -o cat | grep -ac kept
  systemd-run -q --wait -p LogNamespace=small ruby -rsocket -e "$1"
  journalctl --namespace=small --sync
  journalctl --namespace=small -q -o cat | grep -ac kept
  rm -rf /etc/systemd/journald@small.conf.d /var/log/journal/*.small
"""
"""Floods a journal of the size that the server's own has in the lab."""

FILL = """
  written = %w[/tmp /dev/shm].map do |place|
    file = File.open("#{place}/big", "wb")
    (1..1024).find { file.syswrite("x" * (1 << 20)) < 1 << 20 rescue true } - 1
  ensure
    File.truncate("#{place}/big", 0)
  end
  many = (1..100_000).find { |number| File.write("/var/tmp/#{number}", "") && false rescue true }
  puts "#{written.join(" ")} #{many && many < 10_000} #{File.stat("/tmp").dev == File.stat("/var/tmp").dev}"
"""
"""Fills what a dyno may write to, in MiB, and tries to create any number of files."""

SEEN = (
    *(ABSTRACT if LANDLOCK >= 6 else ()),
    "start 600 processes",
    "call memfd_secret",
    "socket of family 16",
    "socket of family 40",
    "unshare a user namespace",
    "chmod to setuid",
    "connect to /run/dbus/system_bus_socket",
    "list /run/systemd/units",
    "list /sys/fs/cgroup",
    "write in /run/lock",
    "read /proc/1/cmdline",
    "program systemctl",
    "program ps of other users",
    "see other processes",
    "run from /dev/shm",
    "list /var/log",
    "take a pseudo-terminal of the server",
    "dump its memory to the disk",
)
"""Attacks that succeed for an ordinary user of a server: the proof that the table can tell."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, fleet: Any) -> Iterator[Project]:
    """An app that attacks in its build, in its release command, on a schedule and when it is asked to. The build and the
    release command fail if an attack succeeds."""
    framework = {"name": "rack", "require": "./hostile", "app": "Hostile"}
    project = Project(tmp_path_factory.mktemp("hostile"), fleet, "hostile", APPS / "hostile", framework=framework)
    project.manifest["servers"] = project.manifest["servers"][:1]
    project.manifest["app"] |= {"build": [LINKS, "ruby attacks.rb > built.txt 2>&1 || { cat built.txt; exit 1; }"]}
    project.manifest["app"] |= {"writable": ["tmp"]}
    project.manifest |= {
        "dynos": {
            "web": {"count": 1, "network": "local", "bind": [9394], "tmp": "24M", "shm": "8M"},
            "worker": {"count": 1, "command": ALONE, "network": "none"},
        },
        "env": {"TOKEN": {"from_env": "TOKEN"}, "NEIGHBOUR": fleet.address("grid-2")},
        "credentials": {"key": {"from_env": "TOKEN"}},
        "volumes": [{"name": "files", "path": "public/files"}],
        "builder": "grid-1",
        "release_command": "ruby attacks.rb",
        "schedule": [
            {
                "name": "attack",
                "every": "1h",
                "command": "ruby attacks.rb",
                "network": "none",
                "timeout": 120,
                "concurrency": "queue",
            }
        ],
        "router": {"kind": "nginx", "servers": ["grid-1"], "listen": 8080},
        "checks": {"max_exposure": MOST_OF_A_DYNO},
    }
    project.environment["TOKEN"] = secrets.token_hex(16)
    abstract = """
      server = UNIXServer.new("\\0hostile")
      datagrams = Socket.new(:UNIX, :DGRAM).tap { |one| one.bind(Addrinfo.unix("\\0hostile-datagrams")) }
      Thread.new { loop { server.accept } }
      loop { datagrams.recv(100) }
    """
    fleet.exec("grid-1", "systemd-run", "-q", "--unit=abstract", "ruby", "-rsocket", "-e", abstract)
    project.apply()
    yield project
    fleet.exec("grid-1", "systemctl", "stop", "abstract.service")
    project.dynoctl("destroy", "--auto-approve", "--end-runs")


def refused(text: str) -> None:
    assert re.search(r"\b4\d\d attacks tried, 0 succeeded$", text, re.M), text


def test_a_dyno_gets_nowhere(hostile: Project) -> None:
    found = json.loads(hostile.get(hostile.ps()["web.1"], "/attacks"))
    assert len(found) >= 430
    assert [name for name, outcome in found.items() if outcome in ("succeeded", "hangs")] == []


def test_nor_does_anything_else_of_the_app(hostile: Project, fleet: Any) -> None:
    """A one-off dyno, a build and a schedule; the release command would have failed."""
    refused(hostile.dynoctl("run", "ruby", "attacks.rb").stdout)
    refused(hostile.dynoctl("run", "cat", "/app/built.txt").stdout)
    fleet.exec("grid-1", "systemctl", "start", "dyno-hostile-attack-1.service")
    refused(eventually(lambda: hostile.dynoctl("logs", "-d", "attack.1", "-n", "20").stdout))
    assert staying(fleet) == [], "what the build left behind has ended with it"


def staying(fleet: Any) -> list[str]:
    """The processes that wanted to outlive what started them."""
    lines = f"for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $file 2>/dev/null | grep -qx 'sleep {STAYS} ' && echo $file; done"
    return str(fleet.exec("grid-1", "sh", "-c", lines, check=False).stdout).split()


def test_a_process_does_not_outlive_its_unit(hostile: Project, fleet: Any) -> None:
    """Neither a dyno's, nor a one-off dyno's, although it is a daemon of its own session."""
    row = hostile.ps()["web.1"]
    assert hostile.get(row, f"/daemon?{STAYS}") == "started"
    assert len(eventually(lambda: staying(fleet))) == 1
    hostile.dynoctl("restart", "web.1")
    eventually(lambda: staying(fleet) == [])
    assert hostile.dynoctl("run", "sh", "-c", f"{LEAVE}; echo left").stdout == "left\n"
    eventually(lambda: staying(fleet) == [])


def test_a_bomb_hits_its_own_dyno_only(hostile: Project, fleet: Any) -> None:
    """Memory and processes, up to the limits of a one-off dyno; what runs beside it does not notice."""
    before = hostile.ps()["web.1"]["pid"]
    memory = 'bombs = []; loop { bombs << "x" * (1 << 24) }'
    assert hostile.dynoctl("run", "ruby", "-e", memory, code=None).returncode != 0
    forks = "i=0; while [ $i -lt 600 ]; do sleep 60 & i=$((i + 1)); done; echo all"
    assert "all" not in hostile.dynoctl("run", "sh", "-c", forks, code=None).stdout
    assert "hostile web.1" in hostile.get(hostile.ps()["web.1"])
    assert hostile.ps()["web.1"]["pid"] == before


def test_the_attacks_succeed_without_the_sandbox(hostile: Project, fleet: Any) -> None:
    slug = hostile.ps()["web.1"]["slug"]
    # What clone makes outside of a sandbox is not ours to end; that namespaces can be made, unshare shows.
    script = f"cat /srv/dyno/hostile/{slug}*/attacks.rb > /tmp/attacks.rb; cd /tmp; "
    script += "SPARE=clone runuser -u deploy -- ruby /tmp/attacks.rb; rm -rf /tmp/attacks.rb /tmp/attack-*"
    lines = fleet.exec("grid-1", "sh", "-c", script, check=False).stdout.splitlines()
    assert set(SEEN) <= set(lines), lines


def test_the_words_of_a_command_are_not_shown(hostile: Project, fleet: Any) -> None:
    word = f"password-{secrets.token_hex(8)}"
    name = hostile.dynoctl(
        "run", "--detach", "--ttl", "60s", "ruby", "-e", "$stdout.sync = true; puts :up; sleep", word
    )
    unit = f"dynoctl-run-hostile.{name.stdout.strip().removeprefix('run.')}.service"
    eventually(lambda: "up" in hostile.dynoctl("logs", "-d", name.stdout.strip()).stdout)
    shown = fleet.exec("grid-1", "systemctl", "show", unit).stdout
    assert "DYNOCTL_COMMAND" in shown and word not in shown
    script = f"journalctl -q --no-pager --namespace=+dyno-hostile -u {unit}; grep -rs {word} /run/systemd /run/dynoctl* && echo found"
    assert word not in fleet.exec("grid-1", "sh", "-c", script, check=False).stdout
    # Of the processes, only the command itself has it, and no dyno sees that.
    lines = f"for file in /proc/[0-9]*/cmdline; do grep -qs {word[:-1]}[{word[-1]}] $file && echo $file; done"
    having = re.findall(r"/proc/(\d+)/", fleet.exec("grid-1", "sh", "-c", lines, check=False).stdout)
    assert having and all(unit in fleet.exec("grid-1", "cat", f"/proc/{pid}/cgroup").stdout for pid in having)
    fleet.exec("grid-1", "systemctl", "stop", unit)


def test_what_a_process_type_reaches(hostile: Project, fleet: Any) -> None:
    """Without a network nothing, not even abstract sockets; the web dyno's own limits need a kernel with BPF."""
    said = eventually(lambda: (text := hostile.dynoctl("logs", "-t", "worker").stdout).count("reach") >= 3 and text)
    for name in ("an abstract socket", "the server", "others"):
        assert f"did not reach {name}" in said
    assert "hostile web.1" in hostile.get(hostile.ps()["web.1"])
    shown = fleet.exec("grid-1", "cat", "/etc/systemd/system/dyno-hostile-web-1.service").stdout
    for line in ("SocketBindDeny=tcp", "SocketBindAllow=tcp:9394", "IPAddressDeny=any"):
        assert f"\n{line}\n" in shown
    said = fleet.exec("grid-1", "systemctl", "show", "dyno-hostile-web-1.service").stdout
    denied = re.search(r"^IPAddressDeny=(.*)", said, re.M)  # systemd keeps them in no order
    assert "SocketBindDeny=tcp" in said and denied and set(denied[1].split()) == {"0.0.0.0/0", "::/0"}


def test_a_dyno_that_shuts_its_socket_down_gets_a_new_one(hostile: Project) -> None:
    row = hostile.ps()["web.1"]
    assert hostile.get(row, "/shut-at-exit") == "later"
    hostile.dynoctl("restart", "web.1")
    assert "hostile web.1" in hostile.get(row)
    assert hostile.get(row, "/shut-at-exit") == "later"
    hostile.manifest["env"]["WORD"] = "second"
    hostile.apply()
    assert "second" in hostile.get(row)
    # So does one that makes its socket drop all packets.
    assert hostile.get(row, "/drop") == "dropped"
    hostile.dynoctl("restart", "web.1")
    assert "second" in hostile.get(row)


def test_what_an_app_says_of_itself_is_not_believed(hostile: Project, fleet: Any) -> None:
    """It logs as sshd and as systemd, for units of its own and of others."""
    program = """
      require "socket"
      log = Socket.new(:UNIX, :DGRAM).tap { |one| one.connect(Addrinfo.unix("/run/systemd/journal/socket")) }
      say = ->(fields) { log.send(fields.map { |name, value| "#{name}=#{value}\\n" }.join, 0) }
      forged = {"SYSLOG_IDENTIFIER" => "sshd", "_UID" => 0, "_PID" => 1, "_COMM" => "sshd", "PRIORITY" => 6}
      say.(forged.merge("MESSAGE" => "Accepted publickey for forged from 6.6.6.6 port 22 ssh2"))
      units = ["dyno-hostile-web-1.service"] + (100..3000).map { |number| "dyno-hostile-web-#{number}.service" }
      units.each { |unit| say.(forged.merge("UNIT" => unit, "_SYSTEMD_UNIT" => unit, "MESSAGE" => "forged line")) }
      puts "said"
    """
    assert hostile.dynoctl("run", "ruby", "-e", program).stdout == "said\n"
    fleet.exec("grid-1", "journalctl", "--namespace=dyno-hostile", "--sync")
    assert "forged" not in hostile.dynoctl("logs", "-d", "web.1", "-n", "1000").stdout
    assert "forged" not in hostile.dynoctl("logs", "-t", "web", "-n", "1000").stdout
    drifted = hostile.dynoctl("drift", code=None)
    assert "6.6.6.6" not in drifted.stdout + drifted.stderr


def test_temporary_files_have_a_size_and_do_not_stay(hostile: Project, fleet: Any) -> None:
    """They are not on the disk of the server. All that runs of the app has a /tmp of its own, while it runs."""
    assert hostile.dynoctl("run", "ruby", "-e", FILL).stdout == "24 8 true true\n"
    assert hostile.dynoctl("run", "ls", "-A", "/tmp", "/var/tmp").stdout.split() == ["/tmp:", "/var/tmp:"]
    name = hostile.dynoctl("run", "--detach", "--ttl", "60s", "sh", "-c", "touch /tmp/mine; sleep 60").stdout.strip()
    unit = f"dynoctl-run-hostile.{name.removeprefix('run.')}.service"
    place = f"/run/dyno/hostile/{name}"
    eventually(lambda: fleet.exec("grid-1", "ls", place, check=False).stdout == "mine\n")
    fleet.exec("grid-1", "systemctl", "stop", unit)
    mounted = "findmnt -rn -o TARGET | grep ^/run/dyno/hostile/ | sort"
    dynos = ["/run/dyno/hostile/web.1", "/run/dyno/hostile/worker.1"]
    eventually(lambda: fleet.exec("grid-1", "sh", "-c", mounted).stdout.split() == dynos)
    assert fleet.exec("grid-1", "stat", "-c", "%a", "/run/dyno", "/run/dyno/hostile").stdout.split() == ["700", "700"]
    # A restart empties it, and so does a crash.
    fleet.exec("grid-1", "touch", f"{dynos[0]}/old")
    hostile.dynoctl("restart", "web.1")
    assert fleet.exec("grid-1", "ls", dynos[0]).stdout == ""
    # A size that is changed by hand is drift.
    file = "/etc/systemd/system/run-dyno-hostile-web.1.mount"
    fleet.exec("grid-1", "sed", "-i", "s/size=[0-9]*/size=1G/", file)
    assert "~ tmp of web.1  # drift" in hostile.dynoctl("plan").stdout
    hostile.apply()
    assert "size=25165824," in fleet.exec("grid-1", "cat", file).stdout


def test_a_flood_of_the_journal_drops_no_line_of_others(hostile: Project, fleet: Any, tmp_path: Any) -> None:
    """Neither of another app nor of the server. The same flood in a journal of their own would."""
    framework = hostile.manifest["framework"]
    other = Project(tmp_path, fleet, "other", APPS / "hostile", framework=framework)
    other.manifest["servers"] = hostile.manifest["servers"]
    word = secrets.token_hex(8)
    dyno = ("--unit=dyno-other-worker-1", "--slice=dyno-other.slice", "-p", "LogNamespace=dyno-other")
    # journald looks up the slice of a process that still runs.
    say = f"echo other {word}; journalctl --namespace=dyno-other --sync"
    fleet.exec("grid-1", "systemd-run", "-q", "--wait", *dyno, "sh", "-c", say)
    fleet.exec("grid-1", "logger", f"server {word}")
    assert hostile.dynoctl("run", "ruby", "-rsocket", "-e", FLOOD).stdout == "flooded\n"
    fleet.exec("grid-1", "sh", "-c", "journalctl --namespace=dyno-hostile --sync; journalctl --sync")
    size = fleet.exec("grid-1", "sh", "-c", "du -cm /var/log/journal/*.dyno-hostile | tail -n 1 | cut -f 1").stdout
    assert 60 < int(size) <= 260, "all of it arrived, in the journal of the app"
    assert f"app[worker.1]: other {word}\n" in other.dynoctl("logs").stdout
    assert f"server {word}" in fleet.exec("grid-1", "journalctl", "-q", "-o", "cat").stdout
    assert "hostile" in hostile.dynoctl("logs", "-t", "web", "-n", "1000").stdout
    fleet.exec("grid-1", "journalctl", "-q", "--namespace=dyno-hostile", "--rotate", "--vacuum-size=8M")
    # Its journal would end by itself, in the middle of another test.
    fleet.exec(
        "grid-1", "sh", "-c", "systemctl stop 'systemd-journald*@dyno-other.*'; rm -rf /var/log/journal/*.dyno-other"
    )
    assert fleet.exec("grid-1", "sh", "-c", SMALL, "small", FLOOD, check=False).stdout == "1\n0\n"


def units(hostile: Project, fleet: Any) -> dict[str, str]:
    """The text of a unit of each kind: those on the server, and those that are made for a moment."""
    names = fleet.exec("grid-1", "sh", "-c", "cd /etc/systemd/system; ls dyno-hostile-*.service dynoctl-router.service")
    texts = {name: fleet.exec("grid-1", "cat", f"/etc/systemd/system/{name}").stdout for name in names.stdout.split()}
    web = ini.parse(texts["dyno-hostile-web-1.service"])
    dyno = dyno_unit.DynoUnit("hostile", "web.0", ("true",), {}, "a" * 64, 250, 1 << 29, "127.0.0.1", 5000)
    texts["candidate"] = ini.render(candidate.settings(dyno, "1"))
    texts["release"] = ini.render(release_command.settings(dyno, "1"))
    texts["ended"] = ini.render(one_off.ended("dynoctl-release-hostile.1", "/var/lib/dynoctl/hostile/x"))
    base = Base("web.1", "a" * 64, True, {"unit": texts["dyno-hostile-web-1.service"], "systemd": "252"})
    argv = run.Runs().argv("hostile", base, RunRequest(("true",), "pipe"))
    given = [argv[number + 1] for number, word in enumerate(argv) if word == "-p"]
    texts["one-off"] = "\n".join(["[Service]", *given, "ExecStart=/bin/true"]) + "\n"
    build = {f"Service.{key}": value for key, value in BUILD.items()}
    texts["build"] = ini.render({"Service.ExecStart": "/bin/true", "Service.DynamicUser": "yes", **build})
    for kind in KINDS.values():
        texts[f"router-{kind.name}"] = assembly.unit(kind)
    assert web[f"Unit.{naming.APP}"] == "hostile"
    return texts


def test_every_kind_of_unit_has_the_score(hostile: Project, fleet: Any) -> None:
    texts = units(hostile, fleet)
    kinds = ("web-1", "web-1-ready", "worker-1", "worker-1-ready", "attack-1", "attack-1-due")
    assert {f"dyno-hostile-{kind}.service" for kind in kinds} <= texts.keys()
    rate = "umask 077; cat > /tmp/rated.service; systemd-analyze security --no-pager"
    rate += " --offline=yes /tmp/rated.service; rm /tmp/rated.service"
    scores = {name: score(fleet.exec("grid-1", "sh", "-c", rate, input=text).stdout) for name, text in texts.items()}
    most = {name: MOST["router"] if "router" in name else MOST_OF_A_DYNO for name in scores}
    assert {name: given for name, given in scores.items() if given > most[name]} == {}
    # What runs scores what its file does: so the figure of a plan is the true one.
    for name in (f"dyno-hostile-{kind}.service" for kind in kinds):
        running = fleet.exec("grid-1", "systemd-analyze", "security", "--no-pager", name).stdout
        assert score(running) == scores[name], name
    hostile.manifest["dynos"]["web"]["memory"] = "300M"
    rated = scores["dyno-hostile-web-1.service"]
    assert hostile.plan()["exposure"]["web"] == {"before": rated, "after": rated}
    del hostile.manifest["dynos"]["web"]["memory"]


def score(text: str) -> float:
    found = re.search(r"exposure level .*: ([\d.]+)", text)
    assert found is not None, text
    return float(found[1])


def test_what_a_dyno_may_see(hostile: Project) -> None:
    """What gems read, and what a process needs: the other side of the table in docs/explanation/security.md."""
    program = """
      require "etc"; require "socket"; require "tempfile"; require "open3"
      puts File.read("/proc/cpuinfo")[/^processor/], File.read("/proc/meminfo")[/^MemTotal/], File.read("/proc/loadavg")[/^\\d/] && "load"
      puts Process.uid.positive?, Etc.nprocessors.positive?, Socket.gethostname.size.positive?
      puts Socket.new(:INET, :STREAM).tap { |one| one.listen(1) }.local_address.ip_port > 1024 # the kernel chooses it
      File.write("/tmp/a", ""); Dir.mkdir("/tmp/b"); File.rename("/tmp/a", "/tmp/b/a")
      UNIXServer.open("\\0own") { UNIXSocket.new("\\0own").close }
      puts Addrinfo.tcp("localhost", 80).ip?, Tempfile.create { |file| file.write("x") }, `echo shell`
      puts UNIXServer.open("/tmp/socket") { "unix" }, Process.clock_gettime(Process::CLOCK_MONOTONIC).positive?
    """
    said = hostile.dynoctl("run", "ruby", "-e", program).stdout.split()
    assert " ".join(said) == "processor MemTotal load true true true true true 1 shell unix true"
