"""Ask many servers the same question at once: connect, ask, close; a server that fails is reported, not waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, cast

from infra.errors import DynoctlError
from infra.model.answer import reading
from infra.model.target import Target
from infra.remote.active_workers import active
from infra.remote.parallel import each
from infra.remote.session import Session

T = TypeVar("T")
S = TypeVar("S")


def ask_servers(
    targets: Iterable[Target], question: Callable[[Session], T], *, keep: dict[str, Session] | None = None
) -> tuple[dict[str, T], dict[str, DynoctlError]]:
    """The answers and the errors, by server. ``question`` parses what the server says: if it fails at that, the answer
    is invalid, and those of the others are not affected.

    Every session is closed, unless the server answered and ``keep`` is given: then it is added there, by server, and
    is the caller's to close."""

    workers = active()

    def ask(target: Target) -> T:
        # A worker's session has the methods that values can pass.
        session = Session(target) if workers is None else cast(Session, workers.connect(target))
        kept = False
        try:
            with reading(target.name):
                answer = question(session)
            if keep is not None:
                keep[target.name], kept = session, True
            return answer
        finally:
            if not kept:
                session.close()

    return by_outcome({target.name: result for target, result in each(ask, targets).items()})


def by_outcome(results: Mapping[str, S | DynoctlError]) -> tuple[dict[str, S], dict[str, DynoctlError]]:
    """The results of ``each``, split into answers and errors."""
    answers: dict[str, S] = {}
    errors: dict[str, DynoctlError] = {}
    for name, result in results.items():
        if isinstance(result, DynoctlError):
            errors[name] = result
        else:
            answers[name] = result
    return answers, errors


def summaries(errors: Mapping[str, DynoctlError]) -> dict[str, str]:
    """Why each server did not answer, in one line."""
    return {name: error.summary for name, error in errors.items()}
