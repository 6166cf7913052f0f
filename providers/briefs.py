"""What of a unit that runs a dyno is worth a line of the plan: the rest follows from its release and its place."""

from __future__ import annotations

from infra.model.provider import Brief

_FOLLOWS = ("unit.Unit", *(f"unit.Service.{key}" for key in ("BindReadOnlyPaths", "ExecStartPre", "ExecStartPost")))

DYNO = Brief(("unit.Service.ExecStart", "unit.Service.CPUQuota", "unit.Service.MemoryMax"), mechanics=_FOLLOWS)

SCHEDULE = Brief(
    ("timer.Timer.OnCalendar", "unit.Service.ExecStart", "unit.Service.TimeoutStartSec"),
    mechanics=("timer.Unit", *_FOLLOWS),
)
