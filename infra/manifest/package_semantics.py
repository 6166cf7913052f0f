"""Checks of packages that a schema cannot express: keys that need others, or that contradict them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest.document import Document


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Every error in ``packages``."""
    packages = data.get("packages")
    if not isinstance(packages, dict):
        return
    for key in ("builder", "upgrade"):
        if packages.get("install") == "manual" and packages.get(key) not in (None, [], "never"):
            yield document.diagnostic(
                ("packages", key),
                f"packages.{key} and install: manual cannot be combined",
                key=True,
                hint=f"remove packages.{key} or install: manual",
            )
    if packages.get("builder") and "builder" not in data:
        yield document.diagnostic(
            ("packages", "builder"),
            "packages.builder requires builder",
            key=True,
            expected="builder: the name of the server on which app.build runs",
            hint="on the local machine, install them yourself",
        )
