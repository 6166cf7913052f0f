"""The programs that route: one file each, pure text."""

from __future__ import annotations

from providers.routers import caddy, haproxy, nginx
from providers.routers.contract import Kind

KINDS: dict[str, Kind] = {one.name: one for one in (nginx.KIND, haproxy.KIND, caddy.KIND)}
