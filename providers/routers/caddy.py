"""Caddy as a router: it can obtain certificates itself, and retries idempotent requests once."""

from __future__ import annotations

from infra.model.routing import LIVE
from providers.routers.contract import AGAIN, FAILURES, FOREIGN, LARGEST, RETRY_AFTER, RUN, STATE, Kind, Site
from providers.routers.limits import ANSWER_HEADERS, LOGGED, REQUEST_HEADERS

GO_ADDS = 4
"""KiB that Go's server allows on top of the largest size of headers."""

# Neither grace_period nor flush_interval -1 (event streams are flushed anyway): with either, Caddy 2.6 aborts requests
# in progress when a new configuration is loaded.
_BASE = f"""\
# Made by dynoctl. What is changed here by hand is drift, and goes with the next apply.
{{
  admin unix/{RUN}/admin.sock
  storage file_system {STATE}/caddy
  auto_https disable_redirects
  skip_install_trust
  servers {{
    max_header_size {(REQUEST_HEADERS >> 10) - GO_ADDS}KiB
  }}
}}

"""

# Headers are left out, as they may be long and secret.
_LOG = f"""\
  log {{
    output stderr
    format filter {{
      wrap json
      fields {{
        request>headers delete
        request>tls delete
        resp_headers delete
        request>uri regexp ^(.{{{LOGGED // 2}}}.{{{LOGGED // 2}}}).*$ $1
      }}
    }}
  }}
"""

# With a log for all other hosts, Caddy 2.6 also logs hosts that match a wildcard, or that have no port in the header.
_FALLBACK = (
    f"""\
other() {{ cat <<'END'
{_LOG}  respond 404
END
}}
"""
    + """\
cut -d' ' -f1 frontends | sort -un | while read -r port; do
  grep -q "^$port [a-z]* [*] " frontends && continue
  scheme=http; ! grep -q "^$port tls " frontends || scheme=https
  printf '%s://:%s {\\n' "$scheme" "$port"
  other
  echo '}'
done
sites
"""
)

_ADMIN = f"--adapter caddyfile --address unix/{RUN}/admin.sock"


def _log(site: Site) -> str:
    """The site's access log. Caddy has no field for the dyno and for the client behind a proxy, so both are in the name
    of the user."""
    dynos = "".join(f"    {address} {dyno}\n" for dyno, address in site.upstreams)
    client = "client={http.request.remote.host}" + " proxied={http.vars.dynoctl_client}" * bool(site.proxies)
    return f"""\
{_LOG}\
  map {{http.reverse_proxy.upstream.hostport}} {{dynoctl_dyno}} {{
{dynos}    default ""
  }}
  map - {{http.auth.user.id}} {{
    default "app={site.app} dyno={{dynoctl_dyno}} protocol={{http.request.scheme}} {client}"
  }}
"""


def _sites(site: Site, body: str) -> str:
    body = _log(site) + body

    def names(scheme: str, port: int) -> str:
        return ", ".join(f"{scheme}://{host}:{port}" for host in site.hosts or ("",))

    if not site.https:
        return f"{names('http', site.http)} {{\n{body}}}\n"
    own = f"{{$DYNOCTL_ROUTER}}/apps/{site.app}/tls"
    tls = f"  tls {site.acme}\n" if site.acme else f"  tls {own}.crt {own}.key\n"
    to = f"{_log(site)}  redir https://{{host}}{site.secure()}{{uri}} 308\n"
    return f"{names('http', site.http)} {{\n{to}}}\n{names('https', site.https)} {{\n{tls}{body}}}\n"


def _open(site: Site) -> str:
    if not site.upstreams:
        return _sites(site, "  respond 502\n")
    own = site.https or site.http
    # It replaces X-Forwarded-For, -Proto and -Host by itself.
    removed = "".join(f"  request_header -{name}\n" for name in ("*_*", *FOREIGN, "X-Forwarded-Port"))
    body = f"  request_body {{\n    max_size {LARGEST}MiB\n  }}\n"
    if not site.proxies:
        return _sites(site, f"{body}{removed}{_proxy(site)}")
    networks = " ".join(site.proxies)
    ports = (
        f"  map {{header.X-Forwarded-Proto}} {{dynoctl_port}} {{\n    http 80\n    https 443\n    default {own}\n  }}\n"
    )
    proxy = f"""\
  @dynoctl_proxy {{
    remote_ip {networks}
    header_regexp client X-Forwarded-For ([^,\\s]+)\\s*$
  }}
  vars @dynoctl_proxy dynoctl_client {{re.client.1}}
  handle @dynoctl_proxy {{
{ports}{removed}{_proxy(site, f"    trusted_proxies {networks}", "{re.client.1}", "{dynoctl_port}")}  }}
  handle {{
{removed}{_proxy(site)}  }}
"""
    return _sites(site, body + proxy)


def _proxy(site: Site, trust: str = "", client: str = "", port: str = "") -> str:
    to = " ".join(address for _, address in site.upstreams)
    client = f"    header_up X-Forwarded-For {client}\n" if client else ""
    return f"""\
  reverse_proxy {to} {{
    lb_policy least_conn
    lb_retries 1
    lb_try_duration {site.tries()}ms
    lb_try_interval 50ms
    lb_retry_match {{
      method GET HEAD OPTIONS PUT DELETE
    }}
    fail_duration {AGAIN}s
    max_fails {FAILURES}
{trust + chr(10) if trust else ""}{client}\
    header_up X-Forwarded-Port {port or site.https or site.http}
    header_up X-Request-Start t={{time.now.unix_ms}}
    transport http {{
      dial_timeout {site.connect()}ms
      response_header_timeout {site.timeout}s
      max_response_header {ANSWER_HEADERS >> 10}KiB
      keepalive_interval 1s
      keepalive off
    }}
  }}
"""


def _closed(site: Site) -> str:
    body = f"""\
  header Retry-After {RETRY_AFTER}
  header Cache-Control no-store
  request_header -If-None-Match
  request_header -If-Modified-Since
  request_header -Range
  method GET
  rewrite * /page.html
  file_server {{
    root {site.directory()}
    status 503
  }}
"""
    return _sites(site, body)


KIND = Kind(
    name="caddy",
    package="caddy",
    main="Caddyfile",
    base=_BASE,
    open=_open,
    closed=_closed,
    assemble=_FALLBACK,
    test=(
        f'DYNOCTL_ROUTER="$PWD" XDG_DATA_HOME={STATE} XDG_CONFIG_HOME={STATE} HOME={STATE} '
        "/usr/bin/caddy validate --config Caddyfile --adapter caddyfile"
    ),
    service={
        "Type": "notify",
        "Environment": (f"DYNOCTL_ROUTER={LIVE}\nXDG_DATA_HOME={STATE}\nXDG_CONFIG_HOME={STATE}\nHOME={STATE}"),
        "ExecStart": f"/usr/bin/caddy run --config {LIVE}/Caddyfile --adapter caddyfile",
        "ExecReload": f"/usr/bin/caddy reload --force --config {LIVE}/Caddyfile {_ADMIN}",
    },
)
