"""Lives drawn from a seed, and the shortest part of one that still breaks a promise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from tests.simulation import moments
from tests.simulation import wanted as words
from tests.simulation.faults import Fault, Kind
from tests.simulation.wanted import HOSTS, Edit, Happen, Operation, Pass, Run
from tests.simulation.world import World

KINDS = tuple(Kind)
SHARED = 0.25
"""The part of the lives in which the workers and the schedule share a volume."""

SKEWED = 0.1
"""The part of the lives in which the clock of one server is wrong until all have settled."""

AS_RUNNING = 0.3
"""The part of the lives in which half of the commands are some that act on what runs."""

EXCHANGES = 140
"""A large apply has about so many."""

VALUES: dict[str, Sequence[object]] = {
    "servers": (("s1",), ("s1", "s2"), ("s1", "s2", "s3"), ("s2", "s3"), ("s3", "s1")),
    "drains": ((), (), ("s1",), ("s2",), ("s3",)),
    "web": (0, 1, 2, 3, 4),
    "worker": (0, 1, 2),
    "slug": (*words.GOOD, *words.SLUGS),
    "mode": ("", "x", "y", words.BROKEN),
    "router": ((), ("s1",), ("s2",), ("s1", "s3")),
    "schedule": (True, True, False),
    "when": (moments.DAILY, moments.SHORT),
    "command": (True, False),
    "parallel": (1, 2),
    "canary": (0, 1),
    "revert": (True, True, False),
    "patience": (0, 0, 5),
    "failures": (0, 0, 1, 2),
    "keep": (1, 2, 3),
}
KEYS = (*VALUES, "slug", "slug", "servers", "drains", "schedule", "router")
HAPPENINGS = (
    "reboot",
    "off",
    "on",
    "on",
    "cut",
    "join",
    "join",
    "full",
    "free",
    "free",
    "wipe",
    "rebuild",
    "readdress",
    "rename",
    "forward",
    "detour",
    "mistype",
    "mistype",
    "correct",
    "correct",
    "refuse",
    "admit",
    "crash",
    "run",
    "run",
    "edit",
    "tear",
    "empty",
    "squat",
    "starve",
    "clear",
    "neighbour",
    "neighbour",
)
COMMANDS = ("apply",) * 12 + (
    "target",
    "replace",
    "evacuate",
    "evacuate",
    "forget",
    "rollback",
    "rollback",
    "over",
    "restart",
    "destroy",
    "end",
)
DYNOS = ("web", "worker", "web.1", "web.2", "worker.1", "nightly.1")


def operations(seed: int) -> list[Operation]:
    """One life. Most begin with an app that is up, so that there is something to break."""
    chance = random.Random(seed)
    begun: list[Operation] = []
    if chance.random() < 0.8:
        begun = [_edit(chance) for _ in range(chance.randint(0, 5))]
        begun = [one for one in begun if one.value not in (*words.SLUGS[3:], words.BROKEN)] + [Run("apply")]  # type: ignore[attr-defined]
    # A draw of its own, so that the other lives are as they were.
    if random.Random(f"volume {seed}").random() < SHARED:
        begun.insert(0, Edit("volume", True))
    clock = random.Random(f"clock {seed}")
    if clock.random() < SKEWED:
        wrong = Happen(clock.choice(("ahead", "behind")), clock.choice(HOSTS))
        begun[:0] = [wrong, Edit("schedule", True), Edit("when", moments.SHORT)]  # so that its last time may be ahead
    life = [_operation(chance) for _ in range(chance.randint(2, 14))]
    if chance.random() < 0.3:
        at = chance.randint(0, len(life))
        life[at:at] = _bad_release(chance)
    # Draws of their own, so that the other lives are as they were.
    running = random.Random(f"running {seed}")
    if running.random() < AS_RUNNING:
        life = [_as_running(running, one) if isinstance(one, Run) and running.random() < 0.5 else one for one in life]
    return begun + life


def _as_running(chance: random.Random, run: Run) -> Run:
    """A command that acts on what runs, in the place of another one."""
    names = {
        "scale": (chance.choice(("web", "worker")), str(chance.randint(1, 4))),
        "evacuate as running": (chance.choice(HOSTS),),
        "roll back as running": (),
        "rebalance": (),
    }
    command = chance.choice(tuple(names))
    return replace(run, command=command, names=names[command], stop=0, between=None)


def _bad_release(chance: random.Random) -> list[Operation]:
    """A release that may fail, together with more dynos or a server that drains."""
    edit = chance.choice(
        (Edit("web", chance.choice((3, 4))), Edit("drains", (chance.choice(HOSTS),)), Edit("worker", 2))
    )
    last = chance.choice((Run("apply"), _run(chance)))
    return [edit, Edit("slug", chance.choice(words.SLUGS[3:])), last, Edit("slug", chance.choice(words.GOOD))]


def _operation(chance: random.Random) -> Operation:
    draw = chance.random()
    if draw < 0.33:
        return _edit(chance)
    if draw < 0.8:
        return _run(chance)
    if draw < 0.97:
        return _happen(chance)
    return Pass(chance.choice((1, 60, 3600)))


def _edit(chance: random.Random) -> Edit:
    key = chance.choice(KEYS)
    return Edit(key, chance.choice(VALUES[key]))


def _happen(chance: random.Random) -> Happen:
    return Happen(chance.choice(HAPPENINGS), chance.choice(HOSTS))


def _run(chance: random.Random) -> Run:
    command = chance.choice(COMMANDS)
    names: tuple[str, ...] = ()
    if command in ("evacuate", "forget"):
        names = (chance.choice(HOSTS),)
    elif command in ("restart", "replace"):
        names = (chance.choice(DYNOS),)
    elif command == "target":
        names = (chance.choice((*DYNOS, *HOSTS)),)
    faults = {}
    if chance.random() < 0.5:
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            number = chance.randint(1, chance.choice((15, 40, 80, EXCHANGES)))
            faults[number] = Fault(chance.choice(KINDS), chance.randint(0, 3))
    stop = chance.randint(1, 30) if chance.random() < 0.1 else 0
    between = _happen(chance) if chance.random() < 0.05 else None
    return Run(command, tuple(sorted(faults.items())), names, stop, between)


def live(sequence: Sequence[Operation]) -> World:
    """Perform a life to its end. Raises AssertionError if a promise is broken."""
    # Where time passes, another computer goes on: one that remembers nothing.
    world = World(remembers=not any(isinstance(one, Pass) for one in sequence))
    for operation in sequence:
        world.perform(operation)
    world.settle()
    return world


def breaks(sequence: Sequence[Operation]) -> str:
    """How a life breaks a promise; "" if it does not."""
    try:
        live(sequence)
    except Exception as error:  # whatever comes out of the engine is a fault, too
        return f"{type(error).__name__}: {error}"
    return ""


def shrink(sequence: Sequence[Operation]) -> list[Operation]:
    """A shorter life that still breaks a promise."""
    kept = list(sequence)
    again = True
    while again:
        again = False
        for size in (8, 4, 2, 1):
            start = 0
            while start < len(kept):
                fewer = kept[:start] + kept[start + size :]
                if breaks(fewer):
                    kept, again = fewer, True
                else:
                    start += 1
        for number, one in enumerate(kept):
            for simpler in _simpler(one):
                changed = [*kept[:number], simpler, *kept[number + 1 :]]
                if breaks(changed):
                    kept, again = changed, True
                    break
    return kept


def _simpler(one: Operation) -> list[Operation]:
    if not isinstance(one, Run):
        return []
    found = []
    for number in range(len(one.faults)):
        found.append(replace(one, faults=one.faults[:number] + one.faults[number + 1 :]))
    if one.stop:
        found.append(replace(one, stop=0))
    if one.between:
        found.append(replace(one, between=None))
    return found
