"""The rules of the architecture: rooms in one order, pure rooms, small rooms, one place that quotes shell, no kind by name
in the engine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from infra.model import paths
from infra.registry import Everything
from stacks.registry import STACKS

ROOT = Path(__file__).parents[2]

ROOMS = (
    ("errors", "sensitive", "schemas"),
    ("manifest",),
    ("model",),
    ("stacks", "providers", "remote"),
    ("fleet", "slug", "artifacts", "lab"),
    ("plan", "registry"),
    ("state",),
    ("engine", "ops"),
    ("views",),
    ("cli",),
)
"""The rooms in order. A room imports only rooms on lines above its own; rooms on the same line do not import each other."""

RANK = {room: number for number, rooms in enumerate(ROOMS) for room in rooms}

LONGEST_CHAIN = 10
"""Maximum number of rooms in a chain of imports."""

IO = {"paramiko", "fabric", "subprocess", "socket", "os", "pathlib", "shutil", "requests", "urllib.request"}

VALUES = re.compile(
    r"infra\.(errors|sensitive|manifest\.(addresses|apps|artifacts|model|rollouts|values)|model(\..+)?)|(providers|stacks)(\..+)?"
)
"""The modules that providers and stacks may import, directly or not."""

KINDS = {provider.kind for provider in Everything.providers}

PLAIN = {
    "credentials": "a key of dyno.yaml, and of a release's body",
    "cover": "a key of a release's body",
    "mount": "the program",
    "rackup": "a key of dyno.yaml, and of a release's body",
    "router": "a key of dyno.yaml, and the word before a route in what a server says",
    "slice": "a variable of a script",
    "schedule": "a key of dyno.yaml",
    "slug": "the app's image: a key of releases, of the audit log and of saved plans",
    "tmp": "a key of dyno.yaml",
    "unit": "the word before a systemd unit in what a server says",
    "user": "a key of servers, databases and records",
}
"""Kinds whose name also has another meaning, and that meaning. No other module may use them in an address (``slug.``)."""

FRAMEWORKS = re.compile(rf"\b({'|'.join(sorted(set(STACKS.frameworks) - {'rack'}))})\b")

NAMES_FRAMEWORKS = {
    "infra/registry.py": "it knows all providers and stacks",
    "infra/lab/rootfs.py": "Debian packages that every server of the lab has",
}


def dotted(path: Path) -> str:
    """A module's import path, which is its file path."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {
    dotted(path): path
    for package in ("infra", "providers", "stacks", "schemas")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def room(module: str) -> str:
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] or first if first == "infra" else first


def name(module: str) -> str:
    return str(MODULES[module].relative_to(ROOT))


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


@cache
def imports(module: str) -> frozenset[str]:
    """Everything that a module imports: at its top, inside functions, and for types alone."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{module}: a relative import"
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(part if part in MODULES else node.module for part in parts)
    return frozenset(found)


def chains(module: str) -> Iterator[tuple[str, ...]]:
    """The shortest chain of imports to each module of ours that a module reaches."""
    seen, found = {module}, [(module,)]
    for chain in found:
        yield chain
        for other in sorted(imports(chain[-1]) & MODULES.keys() - seen):
            seen.add(other)
            found.append((*chain, other))


def strings(module: str) -> Iterator[tuple[int, str]]:
    """A module's string literals, parts of f-strings included, with their lines. Docstrings and the help of options are
    for people, and are left out."""
    prose = {
        id(part)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Expr) or (isinstance(node, ast.keyword) and node.arg in ("help", "short_help"))
        for part in ([node.value] if isinstance(node.value, ast.Constant) else [])
    }
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def test_every_room_has_a_place() -> None:
    assert {room(module) for module in MODULES} - {"infra"} == RANK.keys()
    assert not imports("infra") & MODULES.keys()
    assert len(list((ROOT / "infra").glob("*.py"))) <= 5, "a module of infra belongs in a room"


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"infra"}), ids=name)
def test_imports_lead_down(module: str) -> None:
    """Any chain of imports leads to the module's own room, or to rooms on lines above it."""
    here = room(module)
    for chain in chains(module):
        there = room(chain[-1])
        way = " -> ".join(chain)
        assert there in (here, "infra") or RANK[there] < RANK[here], way
        if here in ("providers", "stacks"):
            assert VALUES.fullmatch(chain[-1]) or there == here, f"this room imports values only: {way}"


def test_no_chain_leads_through_too_many_rooms() -> None:
    below: dict[str, set[str]] = {here: set() for here in RANK}
    for module in MODULES.keys() - {"infra"}:
        used = {room(other) for other in imports(module) & MODULES.keys()}
        below[room(module)] |= used - {room(module), "infra"}

    @cache
    def longest(here: str) -> tuple[str, ...]:
        return (here, *max((longest(other) for other in sorted(below[here])), key=len, default=()))

    assert len(max(map(longest, below), key=len)) <= LONGEST_CHAIN


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("infra.")], ids=name)
def test_the_engine_names_no_kind_and_no_framework(module: str) -> None:
    """What must be known of them goes through the contracts in infra/model, or a new one would take more than a file
    and a line of the registry."""
    if module == "infra.registry":
        return
    for line, text in strings(module):
        where = f"{name(module)}:{line}: {text!r}"
        assert text not in KINDS - PLAIN.keys(), where
        assert not [kind for kind in KINDS if re.search(rf"(^|/){kind}\.($|[^ ]*[-@/])", text)], f"an address: {where}"
        assert text not in STACKS.frameworks, where
        if name(module) not in NAMES_FRAMEWORKS:
            assert not FRAMEWORKS.search(text), where


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_module(module: str) -> None:
    used = imports(module)
    where = name(module)
    text = MODULES[module].read_text()
    if room(module) in ("providers", "stacks"):
        assert not used & IO, "this room is pure"
    elif module != "infra.registry":
        assert not {module_ for module_ in used if room(module_) in ("providers", "stacks")}, (
            "only the registry knows them"
        )
        assert room(module) == "cli" or "infra.registry" not in used, "the command line hands it to the engine"
    if room(module) not in ("remote", "lab"):
        assert not used & {"paramiko", "fabric", "shlex"}, "only infra/remote talks SSH and quotes shell"
    if room(module) not in ("cli", "views"):
        calls = (node.func for node in ast.walk(tree(module)) if isinstance(node, ast.Call))
        assert "print" not in [func.id for func in calls if isinstance(func, ast.Name)], "only infra/cli prints"
    assert len(text.splitlines()) <= 320, f"{where} is too long: split it"
    assert ast.get_docstring(tree(module)), "its first line says why it exists"
    assert "shell=True" not in text
    assert "AutoAddPolicy" not in text


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) != "cli"], ids=name)
def test_parameters_beyond_the_sixth_are_keywords(module: str) -> None:
    """A call with seven positional arguments cannot be read. In infra/cli, parameters are the options of commands."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            positional = [arg.arg for arg in node.args.posonlyargs + node.args.args if arg.arg not in ("self", "cls")]
            assert len(positional) <= 6, f"{name(module)}:{node.lineno}: {node.name}"
        value = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id[:1].isupper()
        if value and room(module) != "views":  # views call classes of rich, which accept any number of renderables
            assert len(node.args) <= 6, f"{name(module)}:{node.lineno}: {node.func.id}"


def test_paths_on_servers_are_in_one_list() -> None:
    """Scripts may repeat a path; all other code imports it from infra/model/paths.py."""
    known = {value for name_, value in vars(paths).items() if name_.isupper() and value.startswith("/")}
    for module in MODULES.keys() - {"infra.model.paths"}:
        for line, text in strings(module):
            assert text.rstrip("/") not in known - {paths.APP_DIRECTORY}, f"{name(module)}:{line}: {text}"
