"""Check that slugs can travel: this computer pushes to the store, and every server has curl and reaches it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.artifacts.stores import probe, store_of
from infra.errors import DynoctlError
from infra.manifest.model import Artifacts, Manifest
from infra.model import trusted_program
from infra.model.events import HERE
from infra.model.provider import Fragment
from infra.ops.finding import Finding, Result
from infra.sensitive import Sensitive

CHECK = "artifacts"

SECONDS = 15
"""Seconds in which a store must answer a server."""

_SCRIPT = f"""{trusted_program.check(SECONDS)}
found=$(command -v curl) || {{ echo 'none'; exit 0; }}
curl=$(trusted_program "$found") || {{ echo "refused it $curl"; exit 0; }}
set -- $(as_nobody "$curl" -q --version); echo "curl $2"
[ -n "$url" ] || exit 0
said=$(as_nobody "$curl" -q --silent --show-error --output /dev/null --max-time "$seconds" --proto '=http,https' \\
  --write-out 'http %{{http_code}}\\n' -- "$url" 2>&1)
printf '%s\\n' "$said" | head -n 5
"""


def local(manifest: Manifest, logins: Mapping[str, str | Sensitive]) -> list[Finding]:
    """Whether the store answers this computer, and takes its login; [] without a store."""
    try:
        store = store_of(manifest, logins)
        return [] if store is None else [Finding(HERE, CHECK, "ok", store.check())]
    except DynoctlError as error:
        return [Finding(HERE, CHECK, _severity(manifest.artifacts), error.summary, error.hint)]


def fragment(artifacts: Artifacts) -> Fragment | None:
    """What a server is asked, without any login: whether it has curl, and what the store answers. None if slugs are
    only sent over SSH."""
    if artifacts.kind == "ssh" and not artifacts.relay:
        return None
    return Fragment(_SCRIPT, {"url": probe(artifacts), "seconds": str(SECONDS)})


def finding(server: str, artifacts: Artifacts, output: str) -> Finding:
    """What the answer to the fragment means."""
    lines = output.splitlines()
    first = lines[0] if lines else ""
    instead = "" if artifacts.kind != "ssh" and not artifacts.fallback else "; slugs are sent over SSH"
    if not first.startswith("curl "):
        why = first.removeprefix("refused it ")
        message = f"curl {why}" if first.startswith("refused it ") else "curl is not installed"
        hint = "install it: apt-get install curl, or add curl to packages"
        return Finding(server, CHECK, _severity(artifacts), f"{message}{instead}", hint)
    version = first[:40]
    if not probe(artifacts):
        return Finding(server, CHECK, "ok", version)
    answer = next((found for line in lines[1:] if (found := re.fullmatch(r"http ([1-9][0-9]{2})", line))), None)
    if answer is not None:
        return Finding(server, CHECK, "ok", f"{version}, {artifacts.store} answers")
    why = re.sub(r"^curl: \([0-9]+\) ", "", lines[1])[:200] if len(lines) > 1 else "no answer"
    hint = f"check the network from {server} to {artifacts.store}, and its certificate"
    message = f"{artifacts.store} cannot be reached: {why}{instead}"
    return Finding(server, CHECK, _severity(artifacts), message, hint)


def _severity(artifacts: Artifacts) -> Result:
    return "warning" if artifacts.kind == "ssh" or artifacts.fallback else "failed"
