"""The record of an app's formation, which names all servers and is the same on all of them as a rule: once one has sent
it, the others send only its digest.

A server that claims a digest says no more than one that sends the same text: the text is that of a server which sent it
whole. So what vouches for a record (``infra.state.vouching``) stays as it is."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping

from infra.model import paths

LONG = 16 << 10
"""Bytes of a record from which on a digest pays: it takes a process on each server, and a millisecond."""

MOST = 4
"""Records that are remembered. Servers that were away have older ones."""

SCRIPT = f"""\
home={paths.STATE}/$app
same=
if [ -n "$known" ]; then
  same=$(sha256sum "$home/meta.json" 2>/dev/null); same=${{same%% *}}
  case " $known " in *" ${{same:--}} "*) ;; *) same=;; esac
fi
if [ -n "$same" ]; then printf 'meta =%s\\n' "$same"
else printf 'meta '; cat "$home/meta.json" 2>/dev/null || printf '\\n'; fi
"""
"""Shell code that prints the record, or its digest if that is one of ``$known``."""

_remembered: OrderedDict[tuple[str, str], str] = OrderedDict()  # by app and digest; of this process
_lock = threading.Lock()


def known(app: str) -> Mapping[str, str]:
    """The long records of an app that servers have sent so far, by the sha256 of their files."""
    with _lock:
        return {digest: text for (owner, digest), text in _remembered.items() if owner == app}


def text(line: str, app: str, offered: Mapping[str, str]) -> str:
    """The record of ``app`` that a server printed after ``meta``; ``offered`` are those that it was told of. Raises
    ValueError if it has none of them."""
    if line.startswith("="):
        if line[1:] not in offered:
            raise ValueError(f"an unknown record: {line[:80]}")
        return offered[line[1:]]
    if len(line) >= LONG:
        digest = hashlib.sha256(f"{line}\n".encode(errors="replace")).hexdigest()
        with _lock:
            _remembered[app, digest] = line
            _remembered.move_to_end((app, digest))
            while len(_remembered) > MOST:
                _remembered.popitem(last=False)
    return line
