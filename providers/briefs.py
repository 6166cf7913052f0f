"""What of a unit that runs a dyno is worth a line of the plan: the rest follows from its release and its place."""

from __future__ import annotations

from infra.model.provider import Brief

_FOLLOWS = ("unit.Unit", *(f"unit.Service.{key}" for key in ("BindReadOnlyPaths", "ExecStartPre", "ExecStartPost")))

# A new dyno's command is that of its type in dyno.yaml, behind the launcher; one that changes is shown.
DYNO = Brief(("unit.Service.CPUQuota", "unit.Service.MemoryMax"), mechanics=_FOLLOWS)

SCHEDULE = Brief(
    ("timer.Timer.OnCalendar", "unit.Service.ExecStart", "unit.Service.TimeoutStartSec"),
    mechanics=("timer.Unit", *_FOLLOWS),
)
