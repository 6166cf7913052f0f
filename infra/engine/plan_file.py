"""Saved plans: the plan as it was reviewed, and what it was made from, so that nothing else is ever applied."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra import __version__
from infra.engine.code_digest import code_digest
from infra.engine.prepared import Prepared
from infra.errors import DynoctlError
from infra.fleet.lock import Identity
from infra.manifest.files import read_regular
from infra.model.naming import DYNO_NAME
from infra.plan.selection import EVERYTHING, Selection
from infra.sensitive import Sensitive

FORMAT_VERSION = 1

LARGEST = 256 << 20
"""Maximum size of a saved plan in bytes."""


SELECTED = ("targets", "excludes", "replaces")
"""The options of a selection that are saved."""

REVIEWED = (
    "changes",
    "placement",
    "batches",
    "waves",
    "release",
    "new_release",
    "rollback_to",
    "build",
    "builder",
    "delivery",
    "candidates",
    "release_on",
    "left_out",
    "leaving",
    "evacuated",
    "notes",
)
"""The keys of a plan's document that must be the same when it is applied."""


@dataclass(frozen=True)
class Saved:
    """The contents of a saved plan. ``document`` is the plan as JSON, by ``infra.views.plan_json``; ``bound`` is what
    it was made from: fingerprints of the servers, digests of manifest and slug, keyed digests of the variables."""

    file: Path
    who: str
    when: str
    bound: Mapping[str, Any]
    document: Mapping[str, Any]
    selection: Selection = EVERYTHING
    destination: str | None = None
    evacuate: frozenset[str] = frozenset()
    force: bool = False
    take_over: bool = False
    over_rollback: bool = False
    trust: frozenset[str] = frozenset()
    with_changes: bool = False
    rebalance: bool = False

    def options(self) -> dict[str, Any]:
        """The options that the plan was made with, by name."""
        names = (
            *("file", "destination", "selection", "evacuate", "force", "take_over", "over_rollback", "trust"),
            *("with_changes", "rebalance"),
        )
        return {name: getattr(self, name) for name in names}


def write(path: Path, ready: Prepared, document: Mapping[str, Any]) -> None:
    """Write a plan to a file that only its owner can read. Raises DynoctlError."""
    who = Identity.current()
    key = secrets.token_hex(32)
    values = {
        "format_version": FORMAT_VERSION,
        "dynoctl": __version__,
        "code": code_digest(),
        "file": str(ready.manifest.file.resolve()),
        "destination": ready.manifest.destination,
        "who": who.who,
        "when": who.when,
        "selection": {name: patterns for name, patterns in asdict(ready.request.selection).items() if name in SELECTED},
        "with_changes": not ready.request.running,
        "evacuate": sorted(ready.request.evacuate),
        "force": ready.request.force,
        "take_over": ready.request.take_over,
        "over_rollback": ready.request.over_rollback,
        "trust": sorted(ready.request.trust),
        "rebalance": ready.request.rebalance,
        "bound": {"key": key, **_bound(ready, key)},
        "plan": document,
    }
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as stream:
            json.dump(values, stream, indent=1)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        hint = f"choose a directory that you may write to, such as --out ~/{path.name}"
        raise DynoctlError(f"cannot write the plan to {path}: {error.strerror}", hint) from None


def read(path: Path) -> Saved:
    """Read a saved plan. Raises DynoctlError if it is invalid or was made by another build of dynoctl."""
    from jsonschema import Draft202012Validator

    from schemas import load

    hint = "save a plan: dynoctl plan --out FILE"
    try:
        data = read_regular(path, LARGEST)
        if len(data) > LARGEST:
            raise DynoctlError(f"invalid plan file {path}: larger than {LARGEST >> 20} MiB", hint)
        values = json.loads(data.decode())
    except FileNotFoundError:
        if re.fullmatch(r"v[0-9]+", str(path)):  # the name of a release
            raise DynoctlError(f"saved plan {path} not found", f"dynoctl releases show {path}") from None
        if DYNO_NAME.match(str(path)):
            raise DynoctlError(f"saved plan {path} not found", f"for a dyno: dynoctl ps {path}") from None
        raise DynoctlError(f"saved plan {path} not found", f"dynoctl plan --out {path}") from None
    except OSError as error:
        raise DynoctlError(f"cannot read {path}: {error.strerror}", hint) from None
    except (ValueError, RecursionError):
        what = "the file is empty" if not data.strip() else "not a saved plan"
        if data.lstrip()[:1] == b"{" and b'"format_version"' in data[:80]:
            what = "the file is damaged, or its end is missing"
        raise DynoctlError(f"invalid plan file {path}: {what}", hint) from None
    if not isinstance(values, dict) or "format_version" not in values or "bound" not in values:
        raise DynoctlError(f"invalid plan file {path}: not a saved plan", hint)
    digest = code_digest()
    if values["format_version"] != FORMAT_VERSION and values.get("code") == digest:
        what = f"its format_version is not {FORMAT_VERSION}, so the file was edited"
        raise DynoctlError(f"invalid plan file {path}: {what}", hint)
    if values["format_version"] != FORMAT_VERSION or values.get("code") != digest:
        made = f"dynoctl {values.get('dynoctl')!s} (code {str(values.get('code'))[:12]})"
        raise DynoctlError(
            f"cannot use {path}: it was saved by {made}, and this is dynoctl {__version__} (code {digest[:12]})",
            "save the plan again: dynoctl plan --out FILE",
        )
    try:
        wrong = next(Draft202012Validator(load("plan.schema.json")).iter_errors(values["plan"]), None)
        if wrong is not None:
            where = "/".join(map(str, ("plan", *wrong.absolute_path)))
            raise DynoctlError(f"invalid plan file {path}: invalid value at {where}", hint)
        targets, excludes, replaces = (tuple(map(str, values.get("selection", {}).get(name, ()))) for name in SELECTED)
        return Saved(
            file=Path(values["file"]),
            who=str(values["who"]),
            when=str(values["when"]),
            bound=_read_bound(values["bound"]),
            document=dict(values["plan"]),
            selection=Selection(targets, excludes, replaces),
            destination=None if values.get("destination") is None else str(values["destination"]),
            evacuate=frozenset(map(str, values.get("evacuate", ()))),
            force=values.get("force") is True,
            take_over=values.get("take_over") is True,
            over_rollback=values.get("over_rollback") is True,
            trust=frozenset(map(str, values.get("trust", ()))),
            with_changes=values.get("with_changes") is True,
            rebalance=values.get("rebalance") is True,
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise DynoctlError(f"invalid plan file {path}: the file was edited", hint) from None


def _read_bound(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the plan was made from. Raises TypeError or KeyError if it is not as it was written."""
    found = {name: str(values[name]) for name in ("key", "manifest", "slug")}
    tables = {name: dict(values[name]) for name in ("environment", "layers", "servers")}
    return found | {name: {str(key): str(text) for key, text in table.items()} for name, table in tables.items()}


def refuse_unwritable(path: Path) -> None:
    """Raise DynoctlError if no file can be written at ``path``. To be called before the servers are observed. Only
    regular files are overwritten."""
    if str(path) == "-":
        raise DynoctlError("a saved plan is a file", "name one, such as --out x.plan; for JSON on stdout: --json")
    try:
        usable = path.name not in ("", "..") and path.parent.is_dir() and (path.is_file() or not path.exists())
    except OSError:
        usable = False
    if not usable:
        raise DynoctlError(
            f"cannot write the plan to {path}: not a file in an existing directory",
            "a file name in a directory that exists, such as --out plan.json",
        )
    if not _replaceable(path):
        raise DynoctlError(
            f"cannot write the plan to {path}: it exists, and is not a plan", "choose another name, such as plan.json"
        )


def _replaceable(path: Path) -> bool:
    """Whether a file is none that somebody wrote, such as a manifest: a saved plan, a page of one, empty, or none."""
    try:
        with path.open("rb") as file:
            start = file.read(80).lstrip().lower()
    except OSError:
        return True
    return not start or start.startswith(b"<!doctype html") or (start[:1] == b"{" and b'"format_version"' in start)


def refuse_changed(path: Path, saved: Saved, ready: Prepared, document: Mapping[str, Any]) -> None:
    """Raise DynoctlError with everything that changed since the plan was saved. ``document`` is the current plan, which
    must be the same as the saved one. Then it does not matter what else changed on a server, such as another app."""
    now = json.loads(json.dumps(document))
    other = [name for name in REVIEWED if saved.document.get(name) != now[name]]
    bound = _bound(ready, str(saved.bound.get("key", "")))
    if not other and saved.bound.get("servers", {}).keys() == bound["servers"].keys():
        bound["servers"] = saved.bound["servers"]
    changed = differences(saved.bound, bound)
    if other and not changed:
        changed = [f"the plan is different now: {', '.join(other)}"]
    if changed:
        lines = "\n  ".join(changed)
        raise DynoctlError(
            f"stale plan in {path}; nothing was applied:\n  {lines}",
            "save a new plan and review it: dynoctl plan --out FILE",
        )


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two bindings, as text without values."""
    found = []
    if was.get("manifest") != now["manifest"]:
        found.append("the manifest changed")
    if was.get("slug") != now["slug"]:
        found.append(f"the source changed: slug {str(was.get('slug'))[:12]} became {str(now['slug'])[:12]}")
    # The layers name the slug, so they also differ if the source does.
    compared = {"environment": "the value of {}", **({} if found else {"layers": "{}"})}
    for key, what in compared.items():
        found += _changed(was.get(key, {}), now[key], what + " changed", what + " was removed", what + " is new")
    found += _changed(was.get("servers", {}), now["servers"], "{} changed", "{} is unreachable", "{} is reachable now")
    return found


def _changed(was: Mapping[str, str], now: Mapping[str, str], other: str, gone: str, new: str) -> list[str]:
    found = [(gone if name not in now else other).format(name) for name in was if now.get(name) != was[name]]
    return found + [new.format(name) for name in now if name not in was]


def _bound(ready: Prepared, key: str) -> dict[str, Any]:
    def digest(text: str) -> str:
        return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()

    def slow(text: str) -> str:
        # The key is in the same file, so a reader could guess values; scrypt makes each guess expensive (RFC 7914).
        return hashlib.scrypt(text.encode(), salt=key.encode(), n=1 << 14, r=8, p=1).hex()

    variables = ready.scope.environments.get("web", {})
    values = {**variables, **{f"the credential {name}": value for name, value in ready.scope.credentials.items()}}
    secret = {name: value for name, value in values.items() if isinstance(value, Sensitive)}
    with ThreadPoolExecutor() as pool:
        digests = dict(zip(secret, pool.map(lambda value: slow(value.reveal()), secret.values()), strict=True))
    hidden = {"variables": None, "credentials": None}
    layers = "" if not ready.body else json.dumps({**json.loads(ready.body), **hidden}, sort_keys=True)
    return {
        "manifest": ready.manifest.digest,
        "slug": "" if ready.slug is None else ready.slug.digest,
        "environment": {name: digests.get(name) or digest(str(value)) for name, value in sorted(values.items())},
        "layers": {"the configuration of the layers": digest(layers)},
        "servers": {name: observed.fingerprint() for name, observed in sorted(ready.fleet.found.items())},
    }
