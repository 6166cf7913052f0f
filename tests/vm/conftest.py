"""The guest as a fixture: booted once for the session, and stopped at its end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.errors import DynoctlError
from tests.vm import image
from tests.vm.guest import Guest

pytest.register_assert_rewrite("tests.lab.support")


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A guest that cannot boot fails the tests; it never skips them."""
    try:
        booted = Guest(image.ensure(print), tmp_path_factory.mktemp("guest"))
        try:
            booted.wait()
            yield booted
        finally:
            booted.stop()
    except DynoctlError as error:
        pytest.fail(f"{error.summary}: {error.hint}")
