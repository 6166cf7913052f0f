"""The options that make a plan do more or less than its manifest says, as they are given: a reviewer must see them."""

from __future__ import annotations

from infra.engine.prepared import Request


def words(request: Request, destination: str | None) -> tuple[str, ...]:
    """The options and their values, one word each, in a fixed order."""
    selection = request.selection
    lists = (
        ("--target", selection.targets),
        ("--exclude", selection.excludes),
        ("--replace", selection.replaces),
        ("--evacuate", sorted(request.evacuate)),
        ("--trust", sorted(request.trust)),
    )
    switches = (
        ("--force", request.force),
        ("--take-over", request.take_over),
        ("--over-rollback", request.over_rollback),
        ("--rebalance", request.rebalance),
        ("--with-changes", (bool(request.evacuate) or request.rebalance) and not request.running),
        ("--untrusted", request.untrusted),
    )
    return (
        *(("--destination", destination) if destination is not None else ()),
        *(word for option, values in lists for value in values for word in (option, value)),
        *(option for option, given in switches if given),
    )
