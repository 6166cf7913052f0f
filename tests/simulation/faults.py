"""What can go wrong with one exchange between the controller and a server."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto


class Kind(StrEnum):
    """How an exchange goes wrong. A command is a sequence of atomic effects; ``HALF`` kinds stop in between."""

    FAIL = auto()
    """It fails at once, and changes nothing."""
    HALF = auto()
    """It fails having done a part of its work."""
    LOST_BEFORE = auto()
    """The connection breaks, and the command never ran."""
    LOST_HALF = auto()
    """The connection breaks, and the server ended the command in the middle."""
    LOST_AFTER = auto()
    """The connection breaks, and the command ran to its end."""
    HANG = auto()
    """It does nothing until its time limit ends it."""
    FULL = auto()
    """The disk has no space left while it runs."""
    FILL = auto()
    """The disk is full from then on."""
    KILL_BEFORE = auto()
    """The controller is killed before it sent the command."""
    KILL_HALF = auto()
    """The controller is killed, and the server ended the command in the middle."""
    KILL_AFTER = auto()
    """The controller is killed, and the command ran to its end."""
    REBOOT = auto()
    """The server restarts in the middle of the command."""
    OFF = auto()
    """The server loses power in the middle of the command, and stays off."""
    CUT = auto()
    """The network fails before the command was sent, and stays so."""


KILLS = frozenset({Kind.KILL_BEFORE, Kind.KILL_HALF, Kind.KILL_AFTER})
PARTIAL = frozenset({Kind.HALF, Kind.LOST_HALF, Kind.KILL_HALF, Kind.REBOOT, Kind.OFF})


@dataclass(frozen=True)
class Fault:
    """A fault of one exchange. ``cut`` is how many of a command's effects happen where its kind stops it halfway."""

    kind: Kind
    cut: int = 1


class Killed(BaseException):
    """The controller's process is gone: nothing of it runs on, as after SIGKILL."""
