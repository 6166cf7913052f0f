"""The engine of dynoctl: manifest, placement, observation, diff, plan and apply.

Nothing here knows a resource type or a framework by name; ``infra.registry`` is handed in by the CLI.
"""

__version__ = "0.2.0.dev0"
"""The only place that says it: the wheel's metadata and ``dynoctl --version`` read it here."""
