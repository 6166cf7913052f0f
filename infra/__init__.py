"""The engine of dynoctl: manifest, placement, observation, diff, plan and apply.

Nothing here knows a resource type or a framework by name; ``infra.registry`` is handed in by the CLI.
"""

__version__ = "0.2.0.dev0"
"""The only place that says it: the wheel's metadata and ``dynoctl --version`` read it here."""

GARBAGE_THRESHOLDS = (50_000, 20, 20)
"""For ``gc.set_threshold``, in the command and in its worker processes. Nearly all that is made while modules are
imported stays. By default, Python looks through it 150 times for what may go, which is a tenth of the time that a
command needs to start."""
