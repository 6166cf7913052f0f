"""A value that must never be printed: it redacts itself in str, repr, format and JSON."""

from __future__ import annotations

REDACTED = "(sensitive)"
UNRESOLVED = "(unresolved)"


class Sensitive:
    """Holds a secret. Only ``reveal()`` returns it; call it only where the secret is sent to a server.

    ``common`` values, such as a host or a login, are never shown, but not redacted in the output of servers, where they
    also occur in other contexts."""

    __slots__ = ("_value", "common")

    def __init__(self, value: str, *, common: bool = False) -> None:
        self._value = value
        self.common = common

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sensitive) and other._value == self._value

    def __hash__(self) -> int:
        return hash(("Sensitive", self._value))

    def __str__(self) -> str:
        return REDACTED

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(REDACTED, spec)

    def __reduce__(self) -> str:
        raise TypeError("a sensitive value cannot be pickled")


class Unread(Sensitive):
    """A secret that was not read, because the manifest is not trusted. It is taken for what is on the server."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("")

    def __str__(self) -> str:
        return UNRESOLVED

    __repr__ = __str__


def reveal(value: object) -> str:
    """The text of a value, sensitive or not."""
    return value.reveal() if isinstance(value, Sensitive) else str(value)
