"""What crosses from one process to another: requests, replies, and the values in them, secrets included.

Only a pipe between two processes of one user, or the TLS of a cluster, carries these bytes. Nothing of them is written
to a file, and everywhere else a secret cannot be pickled."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any, Literal, NamedTuple
from weakref import WeakValueDictionary

from infra.model.shared import Shared
from infra.sensitive import Sensitive

KEPT = 64
"""How many shared records both ends of a connection remember."""

HERE = 0
"""The number of what is asked of a worker itself, and not of a connection that it has."""


class Request(NamedTuple):
    """What a worker is asked for. ``number`` is that of the reply, ``on`` that of a session or a shell."""

    number: int
    verb: str
    on: int
    arguments: tuple[Any, ...] = ()


class Reply(NamedTuple):
    """What a worker says: the last word on a request (``value``, ``error``), something that happens meanwhile
    (``event``), or a question of its own, whose ``number`` is that of the answer. ``counts`` are the connections and
    execs of the session so far."""

    number: int
    kind: Literal["value", "error", "event", "question"]
    value: Any = None
    counts: tuple[int, int] | None = None


class Packer:
    """Turns values into bytes for one receiver, which must unpack all of them in order."""

    def __init__(self) -> None:
        self._sent: OrderedDict[str, None] = OrderedDict()

    def pack(self, value: object) -> bytes:
        """The bytes for a value. Raises what pickle raises, and then nothing has to be sent."""
        met: dict[str, Shared] = {}
        body = _pickled(value, met)
        news = {digest: record for digest, record in met.items() if digest not in self._sent}
        made = _pickled(({digest: dict(record) for digest, record in news.items()}, body))
        for digest in news:
            self._sent[digest] = None
        while len(self._sent) > KEPT:
            self._sent.popitem(last=False)
        return made


class Unpacker:
    """Turns the bytes of one ``Packer`` into values."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Shared] = OrderedDict()

    def unpack(self, data: bytes) -> Any:
        """The value. Raises what pickle raises if it is no value of this version of dynoctl."""
        news, body = pickle.loads(data)  # noqa: S301 -- from a process that we started, or of the user's own cluster
        for digest, record in news.items():
            self._known[digest] = _intern(digest, record)
        value = _Unpickler(io.BytesIO(body), self._known).load()
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return value


_interned: WeakValueDictionary[str, Shared] = WeakValueDictionary()


def _intern(digest: str, record: dict[str, Any]) -> Shared:
    """The record, which is one object in this process whoever sends it: that is told apart faster."""
    made = _interned.get(digest)
    if made is None:
        made = Shared(record, "")
        made.digest = digest
        _interned[digest] = made
    return made


def _pickled(value: object, met: dict[str, Shared] | None = None) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, met).dump(value)
    return buffer.getvalue()


class _Pickler(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, met: dict[str, Shared] | None) -> None:
        super().__init__(buffer, pickle.HIGHEST_PROTOCOL)
        self._met = met

    # Not ``persistent_id``, which is called for every string and number as well.
    def reducer_override(self, value: object) -> Any:
        if isinstance(value, Sensitive):
            return _sensitive, (type(value), value.reveal(), value.common)
        if type(value) is Shared and self._met is not None:
            self._met[value.digest] = value
            return _shared, (value.digest,)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, known: OrderedDict[str, Shared]) -> None:
        super().__init__(buffer)
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        return self._known.__getitem__ if found is _shared else found


def _shared(digest: str) -> Shared:
    """Stands for a shared record in what is sent; the receiver has it by its digest."""
    raise pickle.UnpicklingError(f"no record {digest}")


def _sensitive(kind: type[Sensitive], value: str, common: bool) -> Sensitive:
    made = kind.__new__(kind)
    Sensitive.__init__(made, value, common=common)
    return made
