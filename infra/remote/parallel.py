"""Do one thing on many servers at once, and keep each one's failure to itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from infra.errors import DynoctlError, Unreachable

T = TypeVar("T")
K = TypeVar("K")

AT_ONCE = 32
"""Servers worked on at the same time, where nobody says how many."""

_limit = AT_ONCE


def limit(most: int) -> None:
    """Work on at most so many servers at the same time from now on."""
    global _limit  # a choice for the whole run
    _limit = most


def each(work: Callable[[K], T], items: Iterable[K]) -> Mapping[K, T | DynoctlError]:
    """``work`` for every item in threads; an item whose work failed has its error as the value."""
    keys = list(items)
    if not keys:
        return {}

    def attempt(key: K) -> T | DynoctlError:
        try:
            return work(key)
        except DynoctlError as error:
            return error
        except (OSError, EOFError) as error:
            return Unreachable(f"{key}: the connection broke: {error or type(error).__name__}")

    if min(_limit, len(keys)) == 1:  # no thread, and so one fixed order
        return {key: attempt(key) for key in keys}
    with ThreadPoolExecutor(max_workers=min(_limit, len(keys))) as pool:
        return dict(zip(keys, pool.map(attempt, keys), strict=True))
