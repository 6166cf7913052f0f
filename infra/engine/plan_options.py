"""The options that make a plan do more or less than its manifest says, as they are given: a reviewer must see them, and
the audit log has them."""

from __future__ import annotations

from infra.engine.prepared import Prepared, Request
from infra.model.invocation import Invocation
from infra.model.ranges import ranges


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


def recorded(given: Invocation, prepared: Prepared) -> Invocation:
    """What the audit log says of an apply: the command that was ``given``, and all that it was told to do."""
    request = prepared.request
    to = "" if prepared.stored is None or request.running else f"v{prepared.stored.number}"
    command = given.command or ("destroy" if prepared.destroy else "rollback" if to else "apply")
    options = [word for word in words(request, None) if word != f"--{command}"]
    options += [word for server in sorted(request.forget) for word in ("--forget", server)]
    options += ["--end-runs"] if request.end_runs and command == "destroy" else []
    return Invocation(command, (*([to] if to else ()), *given.arguments, *options))


def restarted(prepared: Prepared) -> Invocation:
    """What the audit log says of a restart: which dynos it was to restart."""
    dynos = [str(change.resource.dyno) for change in prepared.plan.changes]
    return Invocation("restart", tuple(ranges(dynos).split(", ")) if dynos else ())
