"""The router programs: one module each, which only produces text."""

from __future__ import annotations

from providers.routers import caddy, haproxy, nginx
from providers.routers.contract import Kind

KINDS: dict[str, Kind] = {kind.name: kind for kind in (nginx.KIND, haproxy.KIND, caddy.KIND)}
