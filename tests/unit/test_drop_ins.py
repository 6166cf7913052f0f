"""What systemd lays over a unit file is found, wherever it lies, and what other units share with ours stays there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.fleet.facts import parse as parse_facts
from infra.fleet.observe import Observed
from infra.model import paths
from infra.model.provider import Scope
from infra.model.resource import Action, Change, Found, Resource
from infra.plan.diff import diff
from infra.registry import Everything
from providers import drop_ins, dyno_unit, ini, schedule, socket
from providers.observed_units import SECTION
from providers.routers import KINDS, assembly
from providers.schedule import Schedule
from providers.slice import Slice
from providers.slice import desired as desired_slice
from providers.unit import Unit
from tests.unit.test_schedules import JOB

OURS = "dyno-shop-web-1.service"
DIGEST = "ab" * 32


def listed(root: Path, type_: str = "service") -> str:
    """What the function prints for a server whose files are below ``root``, with the paths of the server."""
    done = _sh(root, f"{drop_ins.LIST}drop_ins {type_}\n")
    return done.replace(str(root), "")


def _sh(root: Path, script: str, *argv: str) -> str:
    for place in ("/etc/systemd", "/run/systemd", "/usr/lib/systemd", "/usr/local/lib/systemd"):
        script = script.replace(place, f"{root}{place}")
    command = ["sh", "-c", script, "sh", *argv]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}).stdout


def _write(root: Path, *paths: str) -> None:
    for path in paths:
        file = root / path.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("[Service]\nNoNewPrivileges=no\n")


@pytest.mark.parametrize(
    "path",
    [
        f"/etc/systemd/system/{OURS}.d/a.conf",
        f"/run/systemd/system/{OURS}.d/a.conf",
        f"/run/systemd/system.control/{OURS}.d/50-MemoryMax.conf",
        "/etc/systemd/system/dyno-shop-web-.service.d/a.conf",
        "/etc/systemd/system/dyno-shop-.service.d/a.conf",
        "/etc/systemd/system/dyno-.service.d/a.conf",
        "/run/systemd/system/dyno-.service.d/a.conf",
        "/usr/lib/systemd/system/dyno-.service.d/a.conf",
        "/etc/systemd/system.control/dyno-.service.d/a.conf",
        "/etc/systemd/system/service.d/a.conf",
        "/etc/systemd/system/dyno-.service.d/a b.conf",
    ],
)
def test_a_drop_in_is_found_and_reverted_for_this_unit_only(tmp_path: Path, path: str) -> None:
    others = ["/etc/systemd/system/dyno-shop-admin-web-1.service.d/a.conf", "/etc/systemd/system/ssh.service.d/a.conf"]
    _write(tmp_path, path, *others)
    assert drop_ins.parse(listed(tmp_path)).of(OURS, {}) == (path,), "before systemd has loaded it, too"
    assert drop_ins.parse(listed(tmp_path)).of(OURS, {"DropInPaths": path}) == (path,)
    command = drop_ins.revert(OURS)
    _sh(tmp_path, *command.argv[2:3], *command.argv[4:])
    assert drop_ins.parse(listed(tmp_path)).of(OURS, {}) == ()
    masked = f"/etc/systemd/system/{OURS}.d/{Path(path).name}"
    if "/etc/systemd/system/dyno-" in path and (tmp_path / masked[1:]).exists():
        assert drop_ins.parse(listed(tmp_path)).of(OURS, {"DropInPaths": masked}) == ()
    assert drop_ins.parse(listed(tmp_path)).of("dyno-shop-admin-web-1.service", {})
    assert all((tmp_path / other[1:]).exists() for other in others), "what other units have is theirs"
    shared = f"/{OURS}.d/" not in path
    assert (tmp_path / path[1:]).exists() is shared, "what others share stays, and is masked for this unit"
    again = drop_ins.parse(listed(tmp_path)).of(OURS, {"DropInPaths": path})
    assert again == (path,), "until systemd has loaded that"
    _sh(tmp_path, *command.argv[2:3], *command.argv[4:])
    assert drop_ins.parse(listed(tmp_path)).of(OURS, {}) == (), "twice is as once"


def test_what_is_no_drift(tmp_path: Path) -> None:
    """The raised quota of a dyno that boots, and what the distribution or a container platform does to all services."""
    quota = f"/run/systemd/system.control/{OURS}.d/50-CPUQuota.conf"
    system = ["/usr/lib/systemd/system/service.d/10-timeout.conf", "/run/systemd/system/service.d/zzz-lxc.conf"]
    _write(tmp_path, quota, *system)
    loaded = {"DropInPaths": " ".join((quota, *system)), "FragmentPath": f"/etc/systemd/system/{OURS}"}
    assert drop_ins.parse(listed(tmp_path)).of(OURS, loaded) == ()
    above = f"/etc/systemd/system.control/{OURS}"
    assert drop_ins.parse("").of(OURS, {"FragmentPath": above}) == (above,), "another file is run instead of ours"


@pytest.mark.parametrize("quoted", ['"{}"', "{}"])
def test_a_mount_of_an_app_with_a_dash(tmp_path: Path, quoted: str) -> None:
    """The name of its unit has a backslash, which systemd quotes or escapes in a list of paths."""
    name = paths.mount_unit("my-app", DIGEST)
    own, shared = f"/etc/systemd/system/{name}.d/x.conf", "/etc/systemd/system/srv-dyno-.mount.d/x.conf"
    _write(tmp_path, own, shared)

    def found() -> tuple[str, ...]:
        escaped = own.replace("\\", "\\\\" if '"' in quoted else "\\x5c")
        return drop_ins.parse(listed(tmp_path, "mount")).of(name, {"DropInPaths": quoted.format(escaped)})

    assert found() == (shared, own)
    command = drop_ins.revert(name)
    _sh(tmp_path, *command.argv[2:3], *command.argv[4:])
    assert found() == ()
    assert (tmp_path / own[1:]).is_symlink()


NAMES = {
    "unit": "dyno-shop-web-1.service",
    "socket": "dyno-shop-web-1.socket",
    "schedule": "dyno-shop-tick-1.timer",
    "mount": paths.mount_unit("shop", DIGEST),
}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("shared", [False, True])
def test_every_kind_of_unit_has_them(kind: str, shared: bool) -> None:
    name = NAMES[kind]
    type_ = name.rpartition(".")[2]
    place = f"{name.partition('-')[0]}-.{type_}.d" if shared else f"{name}.d"
    path = f"/etc/systemd/system/{place}/x.conf"
    settings = {"Unit.X-Dynoctl-App": "shop", "Unit.X-Dynoctl-Dyno": "web.1"}
    text = ini.render(settings).splitlines()
    lines = [f"file {name}", name, *(f"={line}" for line in text)]
    lines += [f"Id={name}", f"DropInPaths={path}", "", f"drop-in set {path}", ""]
    provider = next(one for one in Everything.providers if one.kind == kind)
    (found,) = provider.parse(Scope("shop", ""), "\n".join(lines)).values()
    assert found.attributes["drop_ins"] == (path,)
    script = provider.observe(Scope("shop", "")).shared[SECTION].script
    types = next(line.split()[1:] for line in script.splitlines() if line.startswith("drop_ins "))
    assert type_ in types and "drop_ins() {" in script


def test_the_unit_behind_a_queue_has_them_too() -> None:
    name = "dyno-shop-tick-1-due.service"
    path = f"/etc/systemd/system/{name}.d/x.conf"
    lines = [f"dyno-shop-tick-1.timer\n=[Unit]\n{name}\n=[Unit]\ndrop-in set {path}"]
    (found,) = Schedule().parse(Scope("shop", ""), "\n".join(lines)).values()
    assert found.attributes["drop_ins"] == (path,)


MASK = f"/etc/systemd/system/{OURS}.d/a.conf"
ORDER = f"{MASK} /run/systemd/system.control/{OURS}.d/50-CPUQuota.conf"


def states(unit: str, manager: str, loaded: str = "", written: float | None = None, drop_ins: str = "") -> str:
    text = f"{OURS}\n=[Unit]\n"
    text += f"Id={OURS}\nActiveState=active\nNeedDaemonReload={unit}\nDropInPaths={drop_ins}\n\n"
    text += f"Id=dyno-shop-web-1-ready.service\nActiveState=active\nNeedDaemonReload={manager}\n\n"
    text += f"Id=init.scope\nNeedDaemonReload={manager}\n\n"
    text += f"UnitsLoadTimestamp={loaded}\nUnitsLoadFinishTimestamp=Tue 2026-11-24 01:00:00.000000 UTC\n\n"
    text += f"drop-in empty {MASK}\n"
    if written is not None:
        text += f"written {written} {OURS}\nwritten 1.0 dyno-shop-web-1-ready.service\n"
    return text


def test_a_dyno_that_ends_what_it_started_was_not_stopped() -> None:
    text = f"{OURS}\n=[Unit]\nId={OURS}\nActiveState=deactivating\nResult="
    found = {
        result: Unit().parse(Scope("shop", ""), text + result)["shop-web.1"].attributes["state"]
        for result in ("exit-code", "success")
    }
    assert found == {"exit-code": "crashing", "success": "stopped"}


LOADED = "Tue 2026-11-24 03:00:00.500000 UTC"
AT = 1795489200.5
"""The same in seconds since 1970."""


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (states("no", "no"), "running"),
        (states("yes", "no"), "outdated"),
        # Since version 254 every unit says so once any unit was enabled without a reload.
        (states("yes", "yes", LOADED, AT - 0.001), "running"),
        (states("yes", "yes", LOADED, AT + 0.001), "outdated"),
        (states("yes", "yes", "", AT), "outdated"),
        (states("yes", "yes", "", AT - 7201), "running"),
        (states("yes", "yes", LOADED), "outdated"),
        # A drop-in of set-property comes last until the next reload, in whatever order their names are.
        (states("yes", "no", LOADED, AT - 0.001, ORDER), "running"),
        (states("yes", "no", LOADED, AT + 0.001, ORDER), "outdated"),
        (states("yes", "no", LOADED, None, ORDER), "running"),
    ],
)
def test_one_unit_is_outdated_if_its_file_is(text: str, state: str) -> None:
    assert Unit().parse(Scope("shop", ""), text)["shop-web.1"].attributes["state"] == state


def test_an_apply_leaves_no_unit_outdated() -> None:
    """What enables a unit without a reload makes systemd say of all units that they need one, until the next reload."""
    dyno = dyno_unit.DynoUnit(
        "shop", "web.1", ("x",), {}, DIGEST, cpu=250, memory=1 << 29, listen="10.0.0.1", port=5000
    )
    wanted = {
        "unit": dyno_unit.attributes(dyno),
        "socket": socket.desired("shop", "web.1", "10.0.0.1", 5000),
        "schedule": schedule.attributes(dyno, JOB),
    }
    for provider in Everything.providers:
        if provider.kind not in wanted:
            continue
        resource = Resource("s1", provider.kind, "shop-web.1", wanted[provider.kind], "web.1")
        words = [
            step.argv
            for step in provider.steps(Scope("shop", ""), Change(resource, Action.CREATE, None, resource.attributes))
        ]
        reload = max(number for number, argv in enumerate(words) if "daemon-reload" in argv)
        silent = [number for number, argv in enumerate(words) if "--no-reload" in " ".join(argv)]
        assert all(number < reload for number in silent), (provider.kind, words)
    script = assembly.set_app(KINDS["nginx"], "shop", {})[-1].argv[2]
    assert (
        script.index("--no-reload enable") < script.index("systemctl restart")
        and "--no-reload" not in script.rpartition("daemon-reload")[2]
    )


SLICE = "dyno-shop.slice"


def _slice(root: Path) -> Found:
    """The slice as it is observed on a server whose files are below ``root``, before systemd has loaded anything."""
    (root / "etc/systemd/system").mkdir(parents=True, exist_ok=True)
    fragment = Slice().observe(Scope("shop", "")).shared[SECTION]
    values = "".join(f"{name}='{value}'; " for name, value in fragment.variables.items())
    output = _sh(root, f"systemctl() {{ :; }}; {values}{fragment.script}").replace(str(root), "")
    return Slice().parse(Scope("shop", ""), output)["shop"]


@pytest.mark.parametrize(
    "path",
    [
        f"/etc/systemd/system/{SLICE}",
        f"/etc/systemd/system/{SLICE}.d/x.conf",
        f"/etc/systemd/system.control/{SLICE}.d/50-MemoryMax.conf",
        f"/run/systemd/system.control/{SLICE}.d/50-MemoryMax.conf",
        "/etc/systemd/system/dyno-.slice.d/x.conf",
        "/etc/systemd/system/slice.d/x.conf",
    ],
)
def test_what_is_set_on_the_slice_is_drift(tmp_path: Path, path: str) -> None:
    """Limits on the slice of all dynos were seen by no plan, and outlived the app."""
    assert _slice(tmp_path) == Found(desired_slice(), kept=True, implicit=True), "it is not planned for removal"
    _write(tmp_path, path)
    found = _slice(tmp_path)
    assert found.attributes["drop_ins"] == (path,)
    assert found.kept is (SLICE not in path), "what other slices share stays when the app goes"
    resource = Resource("s1", "slice", "shop", desired_slice())
    facts = parse_facts("machine_id m\ncores 1")
    (change,), errors = diff("s1", [resource], Observed(facts, {"slice.shop": found}), {"slice": Slice()})
    assert change.drift and change.action is Action.UPDATE and not errors


def test_the_masks_of_a_slice_go_with_the_app(tmp_path: Path) -> None:
    _write(tmp_path, "/etc/systemd/system/dyno-.slice.d/x.conf")
    command = drop_ins.revert(SLICE)
    _sh(tmp_path, command.argv[2], *command.argv[4:])
    found = _slice(tmp_path)
    assert found.attributes == desired_slice() and not found.kept
