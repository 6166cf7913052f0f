"""The rollout of a plan for its page: what every dyno runs at each step, or of many dynos, how many run what."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from infra.model import naming
from infra.model.ranges import ranges
from infra.model.resource import Effect
from infra.model.text import quantity
from infra.plan.plan import Plan
from infra.views.page_changes import EFFECTS, Values

FEW = 12
"""Dynos that have a lane each; of more, those to which the same happens at the same step share one."""

MOST_LANES, MOST_STEPS = 32, 28
"""Lanes, and steps that have a column each; of more, it is drawn how many run what."""

LONGEST = 24
"""Characters of a list of dynos or servers beside a lane; of more, how many they are."""

_PARTS = re.compile(r"[^,]+,?")


@dataclass(frozen=True)
class _Lane:
    """What happens to dynos on their servers, and at which step."""

    dynos: tuple[str, ...]
    servers: tuple[str, ...]
    effect: Effect
    step: int
    down: bool
    """Whether they do not run before."""

    @property
    def type(self) -> str:
        return naming.parse_dyno(self.dynos[0])[0]


def rollout(plan: Plan) -> Values | None:
    """The steps of the rollout, with a lane for every dyno or an area for every process type; None if all is one."""
    steps, lanes = _steps(plan)
    if len(steps) < 2:
        return None
    gates = _gates(plan)
    old, new = _releases(plan)
    drawn = lanes if len(lanes) <= FEW else _together(lanes)
    whole = len(drawn) <= MOST_LANES and len(steps) <= MOST_STEPS
    return {
        "gates": gates,
        "steps": steps,
        "columns": len(gates) + len(steps),
        "up": list(_up(steps)),
        "stopped": any(lane.down for lane in lanes),
        "stops": any(lane.effect is Effect.STOP for lane in lanes),
        "old": old or "before",
        "new": new or "after",
        "lanes": [_cells(lane, len(steps), old, new) for lane in drawn] if whole else [],
        "areas": [] if whole else list(_areas(lanes, len(steps))),
    }


def least_up(plan: Plan) -> dict[str, tuple[int, int]]:
    """By process type, the lowest number of dynos that stay up during a batch, and how many there are."""
    found: dict[str, tuple[int, int]] = {}
    for left in plan.capacity():
        for type_, (have, whole) in left.items():
            found[type_] = min(found.get(type_, (have, whole)), (have, whole))
    return found


def _releases(plan: Plan) -> tuple[str, str]:
    """What the dynos run before and after, such as v13 and v14; "" if it is unknown."""
    old, new = ("" if one is None else f"v{one.number}" for one in (plan.running, plan.release))
    return old, new


def _gates(plan: Plan) -> list[str]:
    """What must succeed before any dyno is changed, in a word each."""
    gates = (("build", plan.build), ("release command", plan.release_on), ("candidate", plan.candidates))
    return [word for word, due in gates if due]


def _steps(plan: Plan) -> tuple[list[Values], list[_Lane]]:
    """The steps of the apply in their order, and the lanes of the dynos with the number of their step."""
    effects, before, canaries = plan.effects(), plan.formation.before, int(plan.canary)
    waves = [f", {value}" for value, many in plan.waves for _ in range(many)] or [""] * len(plan.batches)
    batches = [
        _step(f"batch {number}", f"Batch {number}{waves[number - 1]}", batch, left)
        for number, (batch, left) in enumerate(zip(plan.batches, plan.capacity(), strict=True), 1)
    ]
    if canaries:
        batches[0] |= {"name": "canary", "title": f"{batches[0]['title']}, canary"}
    starts = [dyno for (_, dyno), effect in effects.items() if effect is Effect.START]
    stops = [dyno for (_, dyno), effect in effects.items() if effect is Effect.STOP]
    start = [_step("start", "New dynos start", starts, {})] if starts else []
    stop = [_step("stop", "Dynos stop", stops, {})] if stops else []
    steps = [*batches[:canaries], *start, *batches[canaries:], *stop]
    at: dict[str, int] = {}
    for number, batch in enumerate(plan.batches):
        at |= dict.fromkeys(batch, number + (len(start) if number >= canaries else 0))
    lanes = []
    for (server, dyno), effect in sorted(effects.items(), key=lambda item: (naming.dyno_order(item[0][1]), item[0][0])):
        step = {Effect.START: canaries, Effect.STOP: len(steps) - 1}.get(effect, at.get(dyno, 0))
        down = effect is Effect.START and before.get(dyno) == server
        lanes.append(_Lane((dyno,), (server,), effect, step, down))
    return steps, lanes


def _together(lanes: Sequence[_Lane]) -> list[_Lane]:
    """The lanes with those of a process type to which the same happens at the same step as one, in the order of the
    steps."""
    found: dict[tuple[object, ...], list[_Lane]] = {}
    for lane in lanes:
        found.setdefault((lane.type, lane.effect, lane.step, lane.down), []).append(lane)
    joined = [
        replace(
            same[0],
            dynos=tuple(lane.dynos[0] for lane in same),
            servers=tuple(sorted({lane.servers[0] for lane in same})),
        )
        for same in found.values()
    ]
    types = list(dict.fromkeys(lane.type for lane in lanes))
    return sorted(joined, key=lambda lane: (types.index(lane.type), lane.step))


def _step(name: str, title: str, dynos: Sequence[str], left: Mapping[str, tuple[int, int]]) -> Values:
    return {"name": name, "title": title, "dynos": ranges(dynos), "up": left}


def _up(steps: Sequence[Values]) -> Iterator[Values]:
    """By process type, how many dynos stay up during each step, "" where none of it moves."""
    wholes = {type_: whole for step in steps for type_, (_, whole) in step["up"].items()}
    for type_, whole in wholes.items():
        yield {"type": type_, "whole": whole, "cells": [step["up"].get(type_, ("",))[0] for step in steps]}


def _cells(lane: _Lane, steps: int, old: str, new: str) -> Values:
    """The cells of a lane in a table of ``steps`` columns: before its step, the step, and after it."""
    first, last = {
        Effect.START: ("down" if lane.down else "", "new"),
        Effect.RESTART: ("old", "new"),
        Effect.STOP: ("old", ""),
    }[lane.effect]
    symbol, _, word, _ = EFFECTS[lane.effect]
    words = {"old": old or "runs", "new": new or "runs", "down": "stopped", "": ""}
    cells = [
        {"class": first, "span": lane.step, "text": words[first], "word": ""},
        {"class": f"step {lane.effect}", "span": 1, "text": symbol, "word": word},
        {"class": last, "span": steps - lane.step - 1, "text": words[last], "word": ""},
    ]
    dynos, servers, many = ranges(lane.dynos), ranges(lane.servers), len(lane.servers)
    return {
        "dynos": _PARTS.findall(dynos if len(dynos) <= LONGEST else f"{len(lane.dynos)} {lane.type}"),
        "servers": servers if many == 1 or len(servers) <= LONGEST else quantity(many, "server"),
        "first": first,
        "cells": [cell for cell in cells if cell["span"]],
    }


def _areas(lanes: Sequence[_Lane], steps: int) -> Iterator[Values]:
    """By process type, how many dynos run what: before, at each step, and after. The areas lie on top of each other."""
    for type_ in dict.fromkeys(lane.type for lane in lanes):
        own = [lane for lane in lanes if lane.type == type_]
        done, busy, left = Counter[int](), Counter[int](), Counter[int]()
        for lane in own:
            busy[lane.step] += 1
            done[lane.step] += lane.effect is not Effect.STOP
            left[lane.step] += lane.effect is not Effect.START
        moments = range(-1, steps + 1)
        new = [0, *accumulate(done[step] for step in moments[:-1])]
        later = [*accumulate(left[step] for step in reversed(moments))][::-1]
        moving = [below + busy[now] for below, now in zip(new, moments, strict=True)]
        old = [below + after - left[now] for below, after, now in zip(moving, later, moments, strict=True)]
        floor, height = [0] * len(new), max(old)
        layers = (("new", floor, new), ("wait", new, moving), ("old", moving, old))
        yield {
            "type": type_,
            "many": quantity(len(own), "dyno"),
            "width": steps + 2,
            "height": height,
            "layers": [{"class": class_, "path": _area(low, high, height)} for class_, low, high in layers],
        }


def _area(low: Sequence[int], high: Sequence[int], height: int) -> str:
    """The path of an area between two staircases that have a step per unit of width."""
    forth = "".join(f"V{height - value}H{x}" for x, value in enumerate(high, 1))
    back = "".join(f"V{height - value}H{x}" for x, value in reversed(list(enumerate(low))))
    return f"M0 {height - high[0]}{forth}{back}z"
