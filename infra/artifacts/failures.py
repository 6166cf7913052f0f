"""The errors of stores that answer, with what to do about each."""

from __future__ import annotations

from infra.artifacts.source import StoreError
from infra.artifacts.web import Answer

_MEANING = {
    401: ("the login is refused", "check the credentials of {where}"),
    403: ("the login may not write there", "check the permissions of the credentials of {where}"),
    404: ("not found", "check the URL of {where}, and that it exists"),
    405: ("it takes no uploads", "check the URL of {where}, and that the store allows PUT"),
    409: ("the directory of the slug cannot be made", "create it, or let the store create directories"),
    413: ("the slug is too large for it", "raise the limit of the store, or leave files out with .slugignore"),
    429: ("too many requests", "try again later"),
    507: ("no space left in the store", "remove old slugs from it"),
}


def refused(name: str, where: str, answer: Answer) -> StoreError:
    """The error of a store that refuses what this computer asks. ``where`` is the section of the manifest."""
    why, hint = _MEANING.get(answer.status, ("", "read the log of the store"))
    return StoreError(f"{name} answers {answer.status}{f': {why}' if why else ''}", hint.format(where=where))


def read_by_servers(name: str, where: str, answer: Answer, login: bool) -> StoreError:
    """The error of a store in which servers could not read the slug that is there."""
    if login:
        return StoreError(
            f"{name} answers {answer.status} to what servers log in with", f"check the credentials of {where}.read"
        )
    return StoreError(
        f"{name} answers {answer.status} without a login, as servers would ask",
        f"add what servers may log in with, which can only read: {where}.read",
    )


def cut_off(name: str, answer: Answer, size: int) -> StoreError:
    """The error of a store that has something else than the slug of this size."""
    return StoreError(f"{name} has {answer.size} of the {size} bytes of the slug", "remove it from the store")
