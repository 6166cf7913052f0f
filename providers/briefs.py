"""What of a unit that runs a dyno is worth a line of the plan: the rest follows from its release and its place."""

from __future__ import annotations

from infra.model import naming
from infra.model.provider import Brief

_FOLLOWS = (
    "unit.Unit",
    *(f"unit.Service.{key}" for key in ("BindReadOnlyPaths", "ExecStartPre", "ExecStartPost", "ExecStopPost")),
)

# A new dyno's command is that of its type in dyno.yaml, behind the launcher; one that changes is shown. What its
# companion does before and after it is ready follows from its CPU share and from idle, as does what starts it at boot.
DYNO = Brief(
    ("unit.Service.CPUQuota", "unit.Service.MemoryMax"),
    mechanics=(
        *_FOLLOWS,
        "ready.Unit",
        "ready.Service.ExecStartPost",
        "ready.Service.ExecStopPost",
        "unit.Install",
        "enabled",
        "cpu",
    ),
    kept=(f"unit.Unit.{naming.IDLE}",),
)

SOCKET = Brief(mechanics=("unit.Unit", "unit.Socket.DeferAcceptSec"))

SCHEDULE = Brief(
    ("timer.Timer.OnCalendar", "unit.Service.ExecStart", "unit.Service.TimeoutStartSec"),
    mechanics=("timer.Unit", *_FOLLOWS),
)
