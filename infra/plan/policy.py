"""The manifest's ``checks``: what a plan must not do, whoever approves it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.manifest.model import Manifest
from infra.model import naming
from infra.plan.plan import Check, Plan


def check(manifest: Manifest, plan: Plan, logins: Mapping[str, str]) -> tuple[Check, ...]:
    """Every check that the manifest asks for. ``logins`` says by server as whom dynoctl logs in there."""
    return (
        *_min_healthy(manifest, plan),
        *_max_exposure(manifest, plan),
        *_forbid_root_login(manifest, logins),
        *_min_spread(manifest, plan),
    )


def _min_healthy(manifest: Manifest, plan: Plan) -> Iterator[Check]:
    """Of a type's dynos so many must be up at any time of the rollout; a share is rounded up."""
    for type_, least in manifest.checks.min_healthy.items():
        whole = sum(naming.parse_dyno(dyno)[0] == type_ for dyno in plan.formation.homes)
        need = -(-whole * int(least.removesuffix("%")) // 100) if isinstance(least, str) else least
        worst = [(one[type_][0], number) for number, one in enumerate(plan.capacity(), 1) if type_ in one]
        up, batch = min(worst, default=(plan.up()[type_], 0))
        name = f"min_healthy/{type_}"
        if whole < need:
            yield Check(name, False, f"there are {whole} {type_} dynos, and {need} must be up at any time")
        elif not batch:
            yield Check(name, True, f"no batch takes a {type_} dyno away, and {need} must be up")
        elif up < need:
            yield Check(name, False, f"batch {batch} leaves {up} {type_} dynos up, and {need} of {whole} must be")
        else:
            yield Check(name, True, f"at least {up} {type_} dynos stay up, and {need} of {whole} must")


def _max_exposure(manifest: Manifest, plan: Plan) -> Iterator[Check]:
    most = manifest.checks.max_exposure
    if most is None:
        return
    for type_, (_, after) in plan.exposure.items():
        name = f"max_exposure/{type_}"
        if after is None:
            yield Check(name, False, f"no server could rate the units of {type_}: systemd 250 or later does")
        else:
            detail = f"a {type_} dyno's unit is rated {after:g}, and {most:g} is the most that may be"
            yield Check(name, after <= most, detail)
    if not plan.exposure:
        yield Check("max_exposure", True, "no unit changes")


def _forbid_root_login(manifest: Manifest, logins: Mapping[str, str]) -> Iterator[Check]:
    if not manifest.checks.forbid_root_login:
        return
    root = [server for server, login in logins.items() if login == "root"]
    detail = f"dynoctl logs in as root on {', '.join(root)}" if root else "dynoctl logs in as root nowhere"
    yield Check("forbid_root_login", not root, detail)


def _min_spread(manifest: Manifest, plan: Plan) -> Iterator[Check]:
    """Dynos of each type that has at least so many of them are on servers with so many values of a label."""
    labels = {server.name: server.labels for server in manifest.servers}
    types: dict[str, list[str]] = {}
    for dyno, home in plan.formation.homes.items():
        types.setdefault(naming.parse_dyno(dyno)[0], []).append(home)
    for label, least in manifest.checks.min_spread.items():
        for type_, homes in types.items():
            need = min(least, len(homes))
            values = sorted({labels[home][label] for home in homes if label in labels.get(home, {})})
            where = f"{len(values)} ({', '.join(values)})" if values else "none"
            detail = f"{type_} dynos ({len(homes)}) are in {where} of {label}, and {need} must be"
            yield Check(f"min_spread/{label}", len(values) >= need, detail)
