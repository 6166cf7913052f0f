"""Build the root filesystems of the servers that the tests boot, which takes minutes, so that no test waits for them."""

from __future__ import annotations

import sys

from infra.errors import DynoctlError
from infra.lab import needs, rootfs, sources


def main() -> None:
    try:
        needs.check(install=False)
        for release in dict.fromkeys((sources.suite(), *sources.RELEASES)):
            rootfs.ensure(release, print)
            rootfs.ensure_bare(release, print)
    except DynoctlError as error:
        sys.exit(f"error: {error.summary}: {error.hint}")


if __name__ == "__main__":
    main()
