"""Values that are valid, and that probably mean something else to whoever wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from infra.errors import Diagnostic
from infra.manifest.check_semantics import counts_of
from infra.manifest.document import Document, Path

_EXPANDED = (
    (re.compile(r"<%.*%>", re.DOTALL), "an ERB tag"),
    (re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(:?[-+?=][^}]*)?\}"), "${NAME}"),
    (re.compile(r"^\$\{(var|local|data|env|secrets)\.[^}]*\}$"), "${...}"),
    (re.compile(r"""^ENV(\[|\.fetch\()"""), "Ruby code"),
    (re.compile(r"\$\([A-Za-z][^)]*\)"), "$(COMMAND)"),
    (re.compile(r"^\$[A-Za-z_][A-Za-z0-9_]*$"), "$NAME"),
    (re.compile(r"\{\{.*\}\}", re.DOTALL), "{{ ... }}"),
)
"""What other tools replace in a value, and what it is called. The value itself may be a secret."""

_QUOTES = "\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"
HTTPS = 443

_FROM = {"$(COMMAND)": "{from_command: [...]}"}


def check(document: Document) -> Iterator[Diagnostic]:
    """Every warning."""
    data = document.data if isinstance(document.data, dict) else {}
    yield from _router(document, data.get("router"))
    yield from _types(document, data.get("dynos"))
    yield from _canary(document, data.get("rollout"), data.get("dynos"))
    variables = data.get("env")
    for name, value in variables.items() if isinstance(variables, dict) else ():
        if not isinstance(value, str):
            continue
        if len(value) > 1 and value[:1] in _QUOTES and value[-1:] in _QUOTES:
            yield _warning(
                document.diagnostic(
                    ("env", name),
                    f"the typographic quotes of {name} are a part of its value",
                    hint="""use the quotes of YAML: " or ', or none""",
                )
            )
        for pattern, called in _EXPANDED:
            if pattern.search(value):
                yield _warning(
                    document.diagnostic(
                        ("env", name),
                        f"{name} contains {called}, and nothing expands it: the app gets the text as it is",
                        hint=f"for a value from your environment: {name}: {_FROM.get(called, '{from_env: NAME}')}",
                    )
                )
                break


def _router(document: Document, router: object) -> Iterator[Diagnostic]:
    """A router that listens for HTTP on the port of HTTPS."""
    if not isinstance(router, dict) or "tls" in router:
        return
    listen = router.get("listen")
    path: Path = ("router", "listen") if isinstance(listen, int) else ("router", "listen", "http")
    if (listen.get("http") if isinstance(listen, dict) else listen) == HTTPS:
        yield _warning(
            document.diagnostic(
                path,
                f"the router listens for plain HTTP on port {HTTPS}",
                hint="for HTTPS: router.tls, which needs no listen",
            )
        )


def _types(document: Document, types: object) -> Iterator[Diagnostic]:
    """A process type for what runs once for each release, as in a Procfile."""
    if isinstance(types, dict) and "release" in types:
        yield _warning(
            document.diagnostic(
                ("dynos", "release"),
                "dynos of the process type release run all the time, and restart when their command ends",
                key=True,
                hint="for a command that runs once: release_command",
            )
        )


def _canary(document: Document, rollout: object, types: object) -> Iterator[Diagnostic]:
    """A canary of more dynos than the app has, which may be meant as a percentage: it protects none."""
    canary = rollout.get("canary") if isinstance(rollout, dict) else None
    total = sum(count or 0 for count in counts_of(types).values()) or 1
    if isinstance(canary, int) and canary > total:
        yield _warning(
            document.diagnostic(
                ("rollout", "canary"),
                f"the canary is {canary} dynos, and the app has only {total}",
                hint="a canary is a number of dynos, such as canary: 1",
            )
        )


def _warning(diagnostic: Diagnostic) -> Diagnostic:
    return replace(diagnostic, severity="warning")
