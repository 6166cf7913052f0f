"""The guest as a fixture: booted once for the session, and stopped at its end."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from infra.errors import DynoctlError
from infra.lab import sources
from tests.vm import image
from tests.vm.guest import Guest

pytest.register_assert_rewrite("tests.lab.support")


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A guest that cannot boot fails the tests; it never skips them. The variable ``RELEASE`` is its Debian release, and
    that of this machine if it is not set."""
    try:
        release = os.environ.get("RELEASE") or sources.suite()
        booted = Guest(image.ensure(release, print), tmp_path_factory.mktemp("guest"))
        try:
            booted.wait()
            yield booted
        finally:
            booted.stop()
    except DynoctlError as error:
        pytest.fail(f"{error.summary}: {error.hint}")
