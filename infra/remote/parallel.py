"""Run the same work on many servers at once; a failure on one server does not affect the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from infra.errors import DynoctlError, Unreachable
from infra.model.clock import NOTICE

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
K = TypeVar("K")

AT_ONCE = 32
"""Default number of servers worked on at the same time."""

interrupted: list[Callable[[], None]] = []
"""Told when Ctrl-C ends the work on many servers: those that are being worked on are still waited for."""

_limit = AT_ONCE


def limit(most: int) -> None:
    """Work on at most ``most`` servers at the same time for the rest of this process."""
    global _limit  # applies to the whole process
    _limit = most


def each(work: Callable[[K], T], items: Iterable[K]) -> Mapping[K, T | DynoctlError]:
    """Run ``work`` for every item in threads; return the result, or the error it raised, by item."""
    keys = list(items)
    if not keys:
        return {}

    def attempt(key: K) -> T | DynoctlError:
        try:
            return work(key)
        except DynoctlError as error:
            return error
        except (OSError, EOFError) as error:
            from infra.remote.channel import reason

            return Unreachable(f"{key}: connection lost: {reason(error)}")

    if min(_limit, len(keys)) == 1:  # without threads, in a fixed order
        return {key: attempt(key) for key in keys}
    from concurrent.futures import ThreadPoolExecutor

    from infra.remote import echo

    with echo.guarded(), ThreadPoolExecutor(max_workers=min(_limit, len(keys))) as pool, _interruptible():
        futures = [pool.submit(attempt, key) for key in keys]
        try:
            return {key: _result(future) for key, future in zip(keys, futures, strict=True)}
        except BaseException:
            for future in futures:  # the pool waits for those that have begun
                future.cancel()
            raise


@contextmanager
def meanwhile(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Do ``work`` in a thread while the block runs. Yields a function that waits for the result and returns it, or
    raises the error of the work. With a limit of one server at a time, the work is done when that function is
    called."""
    if _limit == 1:
        yield work
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=1) as pool, _interruptible():
        future = pool.submit(work)
        yield lambda: _result(future)


def _result(future: Future[T]) -> T:
    from concurrent.futures import wait

    while not future.done():
        wait([future], NOTICE)
    return future.result()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Once Ctrl-C ended the block, let no thread wait for a passphrase, as the pool waits for its threads; and tell of
    that."""
    try:
        yield
    except KeyboardInterrupt:
        from infra.remote import prompt

        prompt.end()
        for tell in interrupted:
            tell()
        raise
