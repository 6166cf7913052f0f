"""What is wrong with an app that runs, from what its servers say, each with its cure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from infra.manifest.model import Manifest
from infra.model import naming
from infra.model.dyno_status import REMOVED, SERVING, UNKNOWN, Row
from infra.model.release import Hold
from infra.model.text import enumeration, quantity
from infra.model.traffic import Rates

NEAR = 0.9
"""The share of its memory limit from which a dyno is near it."""

FAILING = 0.05
"""The share of failed requests that is too much."""

FEW, MANY = 5, 50
"""So many requests show that a dyno is slow by their median, and so many by their p95."""

SEVERAL = 8
"""Servers or dynos with the same problem that have a line each."""

LATELY = 600
"""Seconds for which it is told that a dyno ended by itself."""

HELD = "held"
"""The note of a rollback that is held, which is about no dyno."""

BACK = "; if its release is bad: dynoctl rollback"
AFTER_ROLLBACK = "; after a rollback: dynoctl rollback"

TIMES, MORE = 3, 100
"""A slow dyno takes so many times as long as the others, and so many milliseconds more."""

_STATES = {
    "crashed": "crashed",
    "failed": "failed, and systemd does not restart it",
    "not answering": "runs and does not answer",
    "not listening": "runs, and its socket does not listen",
    "down": "is stopped",
    "stopped": "is stopped",
    REMOVED: "has no unit any more, and was not removed by an apply",
}
"""What is wrong with a dyno in this state. One that starts or stops is not wrong yet."""


@dataclass(frozen=True)
class Problem:
    """What is wrong, and what to do about it. With ``degrades``, requests are slow, refused or lost, or will be.
    ``dynos`` are the dynos and servers that it is about, and ``note`` one word for it. ``edited``: an edit of dyno.yaml
    may be why."""

    what: str
    cure: str
    degrades: bool = False
    dynos: tuple[tuple[str, str], ...] = ()
    note: str = ""
    edited: bool = False

    def __str__(self) -> str:
        return f"{self.what}. {self.cure}"


def rollback_held(held: Hold) -> Problem:
    """A rollback that is held: the next apply is refused, and nobody who looks at the dynos alone knows why."""
    what = f"{held}: apply is refused until dyno.yaml or the source is no longer that of v{held.over}"
    return Problem(what, "To undo the rollback: dynoctl apply --over-rollback", note=HELD)


def while_held(problems: Iterable[Problem], held: Hold) -> Iterator[Problem]:
    """The problems with the cures that work while a rollback is held."""
    for problem in problems:
        yield replace(problem, cure=cure_while_held(problem.cure, held, edited=problem.edited))


def cure_while_held(cure: str, held: Hold, *, edited: bool = False) -> str:
    """What to do instead while a rollback is held. ``apply`` is refused, and a dyno.yaml that was edited would bring
    back what was rolled back from. ``rollback`` without a version repairs the rollback, so it does not leave a bad
    release; and it leaves out what is ``edited`` in dyno.yaml, unless it is told to include it."""
    repair = f"dynoctl rollback v{held.of}"
    cure = cure.replace("then dynoctl apply", f"then {repair} --with-changes")
    repair += " --with-changes" if edited else ""
    cure = cure.replace(f"dynoctl apply{AFTER_ROLLBACK}", repair)
    cure = cure.removesuffix("dynoctl apply") + repair if cure.endswith("dynoctl apply") else cure
    return cure.replace(BACK, "; if its release is bad, choose another: dynoctl releases")


def without_rollback(problems: Iterable[Problem]) -> Iterator[Problem]:
    """The problems with their cures if what runs is known to be no rollback."""
    for problem in problems:
        yield replace(problem, cure=problem.cure.replace(AFTER_ROLLBACK, ""))


def unreachable(lost: Mapping[str, str]) -> Iterator[Problem]:
    """``lost`` has the reason by server, or "" if it may soon answer."""
    silent = [server for server, why in lost.items() if why]
    if len(silent) > SEVERAL:
        cure = "To see what is wrong: dynoctl doctor; if one is gone for good: dynoctl apply --evacuate SERVER"
        yield Problem(f"{enumeration(silent)} are unreachable", cure, degrades=True)
        return
    for server in silent:
        cure = f"To see what is wrong: dynoctl doctor; if it is gone for good: dynoctl apply --evacuate {server}"
        yield Problem(f"{server} is unreachable", cure, degrades=True)


def not_applied(routers: Sequence[str]) -> Iterator[Problem]:
    """``routers`` are the servers of routers in dyno.yaml that were never applied: nobody sends requests there yet."""
    if routers:
        it = "it" if len(routers) == 1 else "them"
        what = f"The router on {enumeration(list(routers))} is in dyno.yaml and was not applied yet"
        yield Problem(what, f"To create {it}: dynoctl apply", edited=True)


def failing(total: Rates | None) -> Iterator[Problem]:
    """Too many requests fail."""
    if total is not None and total.count >= FEW and total.failed >= FAILING:
        failed = f"{total.failed:.0%} of the requests of the last minute failed (5xx)"
        yield Problem(failed, "To see them: dynoctl logs -t router", degrades=True)


def ill(rows: Sequence[Row]) -> Iterator[Problem]:
    """Dynos that are not up, or near their memory limit."""
    for state, words in _STATES.items():
        found = [row for row in rows if row.state == state]
        logs = f"To see why: dynoctl logs --dyno {found[0].dyno}" if found else ""
        cure = _start(found) if state in ("down", "stopped", "not listening") else logs
        cure = "To repair it: dynoctl apply" if state == REMOVED else cure
        yield from _about(found, words, cure, degrades=True)
    near = [row for row in rows if row.memory and row.memory_max and row.memory >= NEAR * row.memory_max]
    if len(near) > SEVERAL:
        cure = "To raise it: memory of their process type in dyno.yaml, then dynoctl apply"
        yield from _about(near, f"uses {NEAR:.0%} of its memory limit or more", cure, note="memory")
        return
    for row in near:
        if row.memory and row.memory_max:
            words = f"uses {row.memory / row.memory_max:.0%} of its memory limit of {row.memory_max >> 20} MiB"
            cure = f"To raise it: dynos.{row.dyno.partition('.')[0]}.memory in dyno.yaml, then dynoctl apply"
            yield from _about([row], words, cure, note="memory")


def _start(rows: Sequence[Row]) -> str:
    """How to start dynos that are stopped: ``restart`` changes nothing else, and works while a rollback is held."""
    start = f"To start {'it' if len(rows) == 1 else 'them'}"
    if len(rows) > SEVERAL or any(row.job is not None for row in rows):  # a schedule is not restarted
        return f"{start}: dynoctl apply"
    return f"{start}: dynoctl restart {' '.join(row.dyno for row in rows)}"


def restarting(rows: Sequence[Row]) -> Iterator[Problem]:
    """Dynos that ended a short time ago, and that systemd started again: killed at their memory limit, or crashed."""
    again = [row for row in rows if row.job is None and row.restarts and row.state in (*SERVING, "starting")]
    found = [row for row in again if row.state == "starting" or (row.uptime is not None and row.uptime < LATELY)]
    if found:
        most = max(found, key=lambda row: row.restarts)
        often = f"{'' if len(found) == 1 else f', {most.dyno}'} {quantity(most.restarts, 'time')}"
        words = f"ended by itself and was started again{often}"
        cure = f"To see why: dynoctl logs --dyno {most.dyno}"
        cure += BACK if most.release > 1 else ""  # v1 has nothing to go back to
        starting = any(row.state == "starting" for row in found)
        yield from _besides(_about(found, words, cure, degrades=starting))


def behind(rows: Sequence[Row]) -> Iterator[Problem]:
    """Dynos that run an earlier release than others, although nobody is applying one."""
    known = [row for row in rows if row.job is None and row.release and row.state != UNKNOWN]
    newest = max((row.release for row in known), default=0)
    ahead = {row.dyno for row in known if row.release == newest}  # one that runs twice is told as that
    found = [row for row in known if row.release < newest and row.dyno not in ahead]
    if found:
        oldest, latest = min(row.release for row in found), max(row.release for row in found)
        words = f"runs v{latest}" if oldest == latest else f"runs a release from v{oldest} to v{latest}"
        cure = "To finish the rollout: dynoctl apply"
        cure += AFTER_ROLLBACK if newest > 2 else ""  # the first rollback is v3
        yield from _besides(_about(found, f"{words}, and others run v{newest}", cure))


def slow(rows: Sequence[Row], rates: Mapping[str, Rates]) -> Iterator[Problem]:
    """The dynos that take much longer than most of the others, by the median or by the p95 of their requests."""
    medians = sorted(one.median for one in rates.values() if one.count >= FEW and one.median is not None)
    p95s = sorted(one.p95 for one in rates.values() if one.count >= MANY and one.p95 is not None)
    for row in rows:
        own = rates.get(row.dyno, Rates())
        measures = (("median", own.median, medians, FEW), ("p95", own.p95, p95s, MANY))
        for name, mine, every, enough in measures:
            if own.count < enough or mine is None:
                continue
            usual = _usual(every, mine)
            if usual is None or mine < max(TIMES * usual, usual + MORE):
                continue
            words = f"is slow: {name} {mine} ms, the others {usual} ms"
            cure = f"To see its log: dynoctl logs --dyno {row.dyno}; to restart it: dynoctl restart {row.dyno}"
            yield from _about([row], words, cure, degrades=True, note="slow")
            break


def _usual(every: Sequence[int], mine: int) -> int | None:
    """The median of sorted values without one that is ``mine``; None if there is no other."""
    half, own = (len(every) - 1) // 2, bisect_left(every, mine)
    return None if len(every) < 2 else every[half if half < own else half + 1]


def misplaced(manifest: Manifest, rows: Sequence[Row]) -> Iterator[Problem]:
    """Dynos that are not where dyno.yaml wants them."""
    counts = {name: type_.count for name, type_ in manifest.types.items()}
    drained = {server.name for server in manifest.servers if server.drain or not server.dynos}
    here = [row for row in rows if row.state != UNKNOWN]
    left = [row for row in here if naming.parse_dyno(row.dyno)[1] > counts.get(row.dyno.partition(".")[0], 0)]
    yield from _edited(_about(left, "is no longer in dyno.yaml", "To remove it: dynoctl apply", note="left over"))
    leaving = [row for row in here if row.server in drained and row not in left]
    yield from _edited(_about(leaving, "has to leave its server", "To move it: dynoctl apply", note="leaving"))
    homes: dict[str, list[Row]] = {}
    for row in here:
        homes.setdefault(row.dyno, []).append(row)
    for dyno, found in homes.items():
        if len(found) > 1:
            what = f"{dyno} runs {len(found)} times: on {enumeration([row.server for row in found])}"
            yield Problem(what, "To remove one of them: dynoctl apply", dynos=_keys(found), note="twice")


def missing(manifest: Manifest, rows: Sequence[Row], *, complete: bool) -> list[str]:
    """The dynos that dyno.yaml wants and no server has; ``complete`` is whether ``rows`` has all that there are."""
    counts = {name: type_.count for name, type_ in manifest.types.items()}
    wanted = {f"{name}.{number}" for name, count in counts.items() for number in range(1, count + 1)}
    return sorted(wanted - {row.dyno for row in rows}, key=naming.dyno_order) if rows and complete else []


def on_no_server(missing: Sequence[str]) -> Iterator[Problem]:
    """``missing`` are dynos that no server has."""
    if missing:
        what = f"{enumeration(missing)} {'is' if len(missing) == 1 else 'are'} on no server"
        yield Problem(what, f"To start {'it' if len(missing) == 1 else 'them'}: dynoctl apply", edited=True)


def not_routed(rows: Sequence[Row], routed: Collection[str]) -> Iterator[Problem]:
    """Dynos that are up, and to which no router leads."""
    idle = [row for row in rows if row.port and row.state in SERVING and row.dyno not in routed]
    cure = "To route to it: dynoctl apply"
    yield from _about(idle, "gets no requests, as no router knows it", cure, degrades=True, note="not routed")


def _about(rows: Sequence[Row], words: str, cure: str, *, degrades: bool = False, note: str = "") -> Iterator[Problem]:
    """One problem that some dynos have, if there are any."""
    if rows:
        several = f"Each of {enumeration([row.dyno for row in rows])}"
        name = f"{rows[0].dyno} on {rows[0].server}" if len(rows) == 1 else several
        yield Problem(f"{name} {words}", cure, degrades, _keys(rows), note)


def _besides(problems: Iterator[Problem]) -> Iterator[Problem]:
    """Problems that a dyno may have besides others, and that show in a column of their own."""
    yield from (replace(problem, dynos=()) for problem in problems)


def _edited(problems: Iterator[Problem]) -> Iterator[Problem]:
    """Problems that an edit of dyno.yaml may have made."""
    yield from (replace(problem, edited=True) for problem in problems)


def _keys(rows: Sequence[Row]) -> tuple[tuple[str, str], ...]:
    return tuple((row.dyno, row.server) for row in rows)
