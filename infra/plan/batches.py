"""The batches in which dynos restart, and the waves of a rollout over the values of a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from infra.manifest.model import Rollout, Server
from infra.model.text import quantity

Batches = tuple[tuple[str, ...], ...]


def values_of(rollout: Rollout, servers: Sequence[Server], homes: Mapping[str, str]) -> dict[str, str]:
    """By dyno, the value of the label ``rollout.by`` of its server, in the order of the servers; {} without it."""
    if not rollout.by:
        return {}
    on: dict[str, list[str]] = {}
    for dyno, home in homes.items():
        on.setdefault(home, []).append(dyno)
    return {dyno: server.labels.get(rollout.by, "") for server in servers for dyno in on.get(server.name, ())}


def batches(dynos: Sequence[str], rollout: Rollout, values: Mapping[str, str]) -> Batches:
    """The batches of a rollout, in order: the canaries, then ``max_parallel`` dynos at a time. A percentage is of all
    dynos in the rollout, rounded down, and at least one dyno. With ``values``, those with the first
    value move first, then those with the next; no batch has two values."""
    size = max(1, share(rollout.max_parallel, len(dynos)))
    order = {value: number for number, value in enumerate(dict.fromkeys(values.values()))}
    found: list[tuple[str, ...]] = []
    canaries = rollout.canary
    by_wave = sorted(dynos, key=lambda dyno: order.get(values.get(dyno, ""), len(order)))
    for _, wave in groupby(by_wave, lambda dyno: values.get(dyno, "")):
        rest = list(wave)
        if canaries and not found:
            found.append(tuple(rest[:canaries]))
            rest = rest[canaries:]
        found += [tuple(rest[start : start + size]) for start in range(0, len(rest), size)]
    return tuple(found)


def waves(made: Batches, values: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """The value of each wave, and its number of batches; () if there are no waves."""
    named = (values.get(batch[0], "") for batch in made) if values else ()
    return tuple((value, sum(1 for _ in group)) for value, group in groupby(named))


def canary_notes(made: Batches, rollout: Rollout, values: Mapping[str, str]) -> list[str]:
    """A note if the canary is smaller than the manifest says, because no batch has dynos of two waves."""
    moving = sum(map(len, made))
    if not values or not made or len(made[0]) >= min(rollout.canary, moving):
        return []
    value = values.get(made[0][0], "")
    wave = f"{rollout.by} {value}" if value else f"the servers without the label {rollout.by}"
    has = "1 dyno that restarts" if len(made[0]) == 1 else f"{len(made[0])} dynos that restart"
    return [
        f"the canary is {quantity(len(made[0]), 'dyno')}, not {rollout.canary} as rollout.canary says: the first wave, "
        f"{wave}, has only {has}"
    ]


def share(most: int | str, count: int) -> int:
    """A number, or a percentage of ``count``, rounded down."""
    return count * int(most.removesuffix("%")) // 100 if isinstance(most, str) else most
