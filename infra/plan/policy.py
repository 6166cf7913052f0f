"""The manifest's ``checks``: rules that stop a plan even if it is approved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.manifest.model import Manifest
from infra.model import naming
from infra.model.text import enumeration, quantity
from infra.plan.plan import Check, Plan

NAMED = 8
"""Servers that a check names."""


def check(manifest: Manifest, plan: Plan, logins: Mapping[str, str]) -> tuple[Check, ...]:
    """Run every check of the manifest. ``logins`` is the login of each server."""
    return (
        *_min_healthy(manifest, plan),
        *_max_exposure(manifest, plan),
        *_forbid_root_login(manifest, logins),
        *_min_spread(manifest, plan),
    )


def _min_healthy(manifest: Manifest, plan: Plan) -> Iterator[Check]:
    """Check that enough dynos of a type are up at any time of the rollout; a percentage is rounded up."""
    for type_, least in manifest.checks.min_healthy.items():
        whole = sum(naming.parse_dyno(dyno)[0] == type_ for dyno in plan.formation.homes)
        need = -(-whole * int(least.removesuffix("%")) // 100) if isinstance(least, str) else least
        worst = [(up[type_][0], number) for number, up in enumerate(plan.capacity(), 1) if type_ in up]
        up, batch = min(worst, default=(plan.up()[type_], 0))
        name = f"min_healthy/{type_}"
        if whole < need:
            yield Check(name, False, f"{quantity(whole, f'{type_} dyno')} in total, at least {need} must be up")
        elif not batch:
            yield Check(name, True, f"no batch restarts a {type_} dyno, at least {need} must be up")
        elif up < need:
            yield Check(
                name,
                False,
                f"batch {batch} leaves {quantity(up, f'{type_} dyno')} up, at least {need} of {whole} must be up",
            )
        else:
            yield Check(
                name, True, f"{quantity(up, f'{type_} dyno')} up at any time, at least {need} of {whole} must be up"
            )


def _max_exposure(manifest: Manifest, plan: Plan) -> Iterator[Check]:
    most = manifest.checks.max_exposure
    if most is None:
        return
    for type_, (_, after) in plan.exposure.items():
        name = f"max_exposure/{type_}"
        if after is None:
            yield Check(name, False, f"no server can rate the unit of {type_}: systemd 250 or later is required")
        else:
            detail = f"exposure of the {type_} unit: {after:g}, at most {most:g} is allowed"
            yield Check(name, after <= most, detail)
    if not plan.exposure:
        yield Check("max_exposure", True, "no unit changes")


def _forbid_root_login(manifest: Manifest, logins: Mapping[str, str]) -> Iterator[Check]:
    if not manifest.checks.forbid_root_login:
        return
    root = [server for server, login in logins.items() if login == "root"]
    detail = (
        f"dynoctl logs in as root on {enumeration(root, NAMED)}" if root else "dynoctl logs in as root on no server"
    )
    yield Check("forbid_root_login", not root, detail)


def _min_spread(manifest: Manifest, plan: Plan) -> Iterator[Check]:
    """Check that the dynos of a type are on servers with enough values of a label, or each on a different value if
    there are fewer dynos."""
    labels = {server.name: server.labels for server in manifest.servers}
    types: dict[str, list[str]] = {}
    for dyno, home in plan.formation.homes.items():
        types.setdefault(naming.parse_dyno(dyno)[0], []).append(home)
    for label, least in manifest.checks.min_spread.items():
        for type_, homes in types.items():
            need = min(least, len(homes))
            values = sorted({labels[home][label] for home in homes if label in labels.get(home, {})})
            spread = f"{len(values)} ({', '.join(values)})" if values else "none"
            detail = f"{quantity(len(homes), f'{type_} dyno')} on {spread} of {label}, at least {need} required"
            yield Check(f"min_spread/{label}", len(values) >= need, detail)
