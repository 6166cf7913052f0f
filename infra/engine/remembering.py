"""Which servers this computer remembers after an apply, as a hint for the next one."""

from __future__ import annotations

from infra.engine.prepared import Prepared
from infra.state import last_applied
from infra.state.last_applied import Servers


def servers(ready: Prepared, *, ended: bool) -> Servers:
    """The servers to remember; none after a destroy that ``ended`` well and reached them all."""
    plan, manifest, found = ready.plan, ready.manifest, ready.fleet.found
    before = ready.request.hint.get(manifest.app.name, {})
    if ready.destroy:
        return {} if ended and not (plan.unreachable or ready.unseen) else before
    holding = plan.busy | plan.left_on | set(ready.leaving if plan.unreachable or plan.left_out else ())
    router = manifest.router
    running = {*plan.formation.homes.values(), *(router.servers if router is not None else ())}
    return last_applied.after(
        manifest,
        found,
        before,
        ready.forgotten,
        holding=holding,
        idle=found.keys() - running - holding,
        ended=ended,
    )
