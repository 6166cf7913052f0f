"""Fabric's connection with nothing but what it is given: no settings of its own, which cost as much as a signature."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import fabric


def bare(host: str, user: str, port: int, seconds: int, options: dict[str, Any]) -> fabric.Connection:
    """A connection that is not open yet. ``options`` are paramiko's for connecting. Fabric reads no file of its own:
    neither settings, nor Python that it would run, nor ssh_config."""
    made, defaults = _fabric()
    return made(
        host,
        user=user,
        port=port,
        config=defaults,
        gateway=False,
        forward_agent=False,
        connect_timeout=seconds,
        connect_kwargs=options,
        inline_ssh_env=True,
    )


@cache
def _fabric() -> tuple[type[fabric.Connection], fabric.Config]:
    """The class of connections, and the settings of all: nothing changes them. (Fabric takes long to import.)"""
    import fabric
    import paramiko

    class Bare(fabric.Connection):  # type: ignore[misc]  # it has no types
        # Fabric asks at each attribute whether it is a setting, and merges all settings anew after some of them, so
        # that they are empty meanwhile.
        def __setattr__(self, name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

    return Bare, fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig())
