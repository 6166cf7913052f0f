"""The journal of an app: its limits on a server, and what stands in its way."""

from __future__ import annotations

import pytest

from infra.model import paths
from infra.model.provider import Scope
from infra.model.resource import Action, Change, Resource
from providers.journal import Journal, desired

SCOPE = Scope("shop", "salt")
PROVIDER = Journal()
FILE = paths.journal("shop")
LOADED = f"Id={paths.journal_service('shop')}\nLoadState=loaded\nActiveState=inactive\n\n"


def change(after: object = desired(), before: object = None) -> Change:
    resource = Resource("s1", "journal", "shop", after)  # type: ignore[arg-type]
    return Change(resource, Action.CREATE, before, after)  # type: ignore[arg-type]


def written() -> str:
    command = PROVIDER.steps(SCOPE, change())[0]
    assert command.stdin is not None and command.argv[-2:] == ("/etc/systemd/journald@dyno-shop.conf", "0644")
    return command.stdin.decode()


def shown(text: str) -> str:
    """What the server prints of a file with this text."""
    lines = "".join(f"={line}\n" for line in text.splitlines())
    return f"file {FILE}\n" + (f"{FILE}\n{lines}" if lines else "")


def test_what_is_written_is_what_is_found() -> None:
    found = PROVIDER.parse(SCOPE, LOADED + shown(written()))["shop"]
    assert found.attributes == desired() and not found.foreign
    assert PROVIDER.parse(SCOPE, LOADED) == {}


def test_a_limit_that_was_changed_and_a_journal_that_failed_are_drift() -> None:
    text = written().replace("=256M", "=8G")
    found = PROVIDER.parse(SCOPE, LOADED.replace("inactive", "failed") + shown(text))["shop"]
    limits = found.attributes["limits"]
    assert isinstance(limits, dict) and limits["Journal.SystemMaxUse"] == "8G"
    assert found.attributes["state"] == "failed"


@pytest.mark.parametrize(
    ("text", "foreign"),
    [("", False), ("\n", False), ("[Journal]\nSystemMaxUse=1G\n", True), ("# dynoctl: the journal of other\n", True)],
)
def test_whose_a_file_is(text: str, foreign: bool) -> None:
    assert PROVIDER.parse(SCOPE, LOADED + shown(text))["shop"].foreign is foreign


@pytest.mark.parametrize("state", ["masked", "not-found", ""])
def test_a_server_that_starts_no_journal_is_refused_by_name(state: str) -> None:
    found = PROVIDER.parse(SCOPE, LOADED.replace("=loaded", f"={state}"))["shop"]
    assert f"systemd-journald@dyno-APP.service is {state or 'unknown'}" in found.blocked


def test_when_the_app_leaves_its_last_lines_stay() -> None:
    shrink, remove = PROVIDER.steps(SCOPE, change(None, desired()))
    assert shrink.argv[-2:] == ("dyno-shop", "16M") and FILE in remove.argv
