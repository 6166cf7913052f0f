"""Values that are valid, and that probably mean something else to whoever wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.errors import Diagnostic
from infra.manifest.document import Document

_EXPANDED = (
    (re.compile(r"<%.*%>", re.DOTALL), "an ERB tag"),
    (re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(:?[-+?=][^}]*)?\}"), "${NAME}"),
    (re.compile(r"\$\([A-Za-z][^)]*\)"), "$(COMMAND)"),
    (re.compile(r"^\$[A-Za-z_][A-Za-z0-9_]*$"), "$NAME"),
    (re.compile(r"\{\{.*\}\}", re.DOTALL), "{{ ... }}"),
)
"""What other tools replace in a value, and what it is called. The value itself may be a secret."""

_FROM = {"$(COMMAND)": "{from_command: [...]}"}


def check(document: Document) -> Iterator[Diagnostic]:
    """Every warning."""
    data = document.data
    variables = data.get("env") if isinstance(data, dict) else None
    for name, value in variables.items() if isinstance(variables, dict) else ():
        if not isinstance(value, str):
            continue
        for pattern, called in _EXPANDED:
            if pattern.search(value):
                path = ("env", name)
                yield Diagnostic(
                    f"{name} contains {called}, and nothing expands it: the app gets the text as it is",
                    f"env/{name}",
                    document.locate(path),
                    hint=f"for a value from your environment: {name}: {_FROM.get(called, '{from_env: NAME}')}",
                    severity="warning",
                )
                break
