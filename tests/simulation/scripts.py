"""The engine's own shell snippets, interpreted: by the script's identity, effect by effect, each may be the last one.

A contract test runs the same sequences through a real shell, so that nothing here drifts from the scripts."""

from __future__ import annotations

from collections.abc import Generator

from infra.fleet import room
from infra.state import audit_log, backups, records
from tests.simulation.server import DiskFull, SimServer

Steps = Generator[None, None, tuple[int, str]]
"""The effects of a command, one at a time; its value is the exit status and what it printed."""


def record(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """``records.write``: one line in, one file out."""
    (home,) = argv
    server.directories.add(home)
    for line in stdin.splitlines():
        name, _, text = line.partition(" ")
        path = f"{home}/{name}"
        if not text.strip():
            server.remove(path)
            yield
            continue
        if name.startswith("pending/"):
            server.version += 1
            server.files[path] = ""
            yield
            continue
        try:
            yield from server.put(f"{home}/new", path, text.strip() + "\n")
        except DiskFull:
            return 1, f"cannot write {path}:\nno space left on device"
    return 0, ""


def forget_records(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """``records.forget``: the app's directory goes, and directories that are empty then."""
    home, *_ = argv
    for path in server.below(home):
        server.remove(path)
        yield
    server.remove_tree(home)
    return 0, ""


def keep(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """``backups.keep``: a numbered copy of each file, and then its name."""
    kept, pending, *paths = argv
    if pending not in server.files:
        server.remove_tree(kept)
        yield
    server.directories |= {kept, kept.rpartition("/undo/")[0]}
    number = 0
    for path in paths:
        names = [one for one in server.below(kept) if one.endswith(".path")]
        if any(server.files[name] == f"{path}\n" for name in names):
            continue
        while f"{kept}/{number}.path" in server.files:
            number += 1
        copy, new = f"{kept}/{number}", f"{kept}/new"
        server.remove(copy)
        try:
            if path in server.files:
                server.write(copy, server.files[path])
                yield
            server.write(new, f"{path}\n")
            yield
        except DiskFull:
            return 1, "no space left on device"
        server.move(new, f"{copy}.path")
        yield
    return 0, ""


def restore(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """``backups.restore``: put every kept file back; what was not there goes."""
    (kept,) = argv
    names = [one for one in server.below(kept) if one.endswith(".path")]
    if not names:
        return 1, "no backup found"
    for name in names:
        path, copy = server.files[name].rstrip("\n"), name.removesuffix(".path")
        if not path:
            return 1, ""
        if copy in server.files:
            new = f"{path}.dynoctl-new"
            server.version += 1
            server.files[new] = server.files[copy]  # on a full disk it is linked
            yield
            server.move(new, path)
        else:
            server.remove(path)
        yield
    return 0, ""


def forget_backups(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """``backups.forget``: the copies of every dyno whose change has ended go."""
    (home,) = argv
    dynos = dict.fromkeys(path.removeprefix(f"{home}/undo/").partition("/")[0] for path in server.below(f"{home}/undo"))
    dynos |= dict.fromkeys(
        directory.removeprefix(f"{home}/undo/")
        for directory in server.directories
        if directory.startswith(f"{home}/undo/")
    )
    for dyno in sorted(dynos):
        if f"{home}/pending/{dyno}" not in server.files:
            for name in server.below(f"{home}/undo/{dyno}"):
                if name.endswith(".path"):
                    server.remove(server.files[name].rstrip("\n") + ".dynoctl-new")
            server.remove_tree(f"{home}/undo/{dyno}")
            yield
    return 0, ""


def audit(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """``audit_log.append``: one more line, and no more than so many."""
    path, most = argv
    if path.rpartition("/")[0] not in server.directories:
        return 0, ""
    before = server.files.get(path, "")
    lines = (before + stdin).splitlines(keepends=True)
    if server.full:
        return 1, "no space left on device"
    server.files[path] = "".join(lines[-int(most) :])  # no version: nothing that is observed depends on it
    yield
    return 0, ""


def look_for_room(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """``room.look``: free blocks and files of each path, and memory."""
    yield
    blocks = 0 if server.full else 1_000_000
    lines = [f"disk {blocks} 4096 {blocks} 1000000 {path}" for path in argv]
    return 0, "\n".join([*lines, f"memory {server.memory // 1024}"])


SCRIPTS = {
    room.look("x").argv[2]: look_for_room,
    records.write("x", []).argv[2]: record,
    records.forget("x").argv[2]: forget_records,
    backups.keep("x", "web.1", []).argv[2]: keep,
    backups.restore("x", "web.1").argv[2]: restore,
    backups.forget("x").argv[2]: forget_backups,
    audit_log.append("x", "").argv[2]: audit,
}
"""By the text of a script: what interprets it. It gets the words after the script's own name."""
