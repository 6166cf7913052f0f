"""Caddy as a router: it can obtain certificates itself, and retries idempotent requests once."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, ip_network

from infra.model.routing import LIVE
from providers.routers.contract import FOREIGN, LARGEST, RETRY_AFTER, RUN, STATE, Kind, Site
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
    # {host} has no brackets around an IPv6 address.
    name = "  map {http.request.hostport} {dynoctl_name} {\n    ~^(.*?)(?::[0-9]*)?$ ${1}\n  }\n"
    to = f"{_log(site)}{name}  redir https://{{dynoctl_name}}{site.secure()}{{uri}} 308\n"
    return f"{names('http', site.http)} {{\n{to}}}\n{names('https', site.https)} {{\n{tls}{body}}}\n"


def _open(site: Site) -> str:
    if not site.upstreams:
        return _sites(site, "  respond 502\n")
    # It replaces X-Forwarded-For, -Proto and -Host by itself.
    removed = "".join(f"  request_header -{name}\n" for name in ("*_*", *FOREIGN, "X-Forwarded-Port"))
    body = f"  request_body {{\n    max_size {LARGEST}MiB\n  }}\n"
    every = [address for _, address in site.upstreams]
    if not site.proxies:
        return _sites(site, f"{body}{removed}{_proxy(site, every)}{_elsewhere(site, removed)}")
    ports = "  map {header.X-Forwarded-Proto} {dynoctl_port} {\n    http 80\n    https 443\n"
    ports += f"    default {site.https or site.http}\n  }}\n"
    proxy = f"""\
  @dynoctl_proxy {{
{_behind(site)}  }}
  vars @dynoctl_proxy dynoctl_client {{re.client.1}}
  handle @dynoctl_proxy {{
{ports}{removed}{_proxy(site, every, behind=True)}  }}
  handle {{
{removed}{_proxy(site, every)}  }}
"""
    return _sites(site, body + proxy + _elsewhere(site, removed))


def _elsewhere(site: Site, removed: str) -> str:
    """Where a request goes if its last try did not get a connection."""
    other = site.elsewhere()
    if other is None:
        return ""
    there = f'{{http.reverse_proxy.upstream.hostport}}.startsWith("{other.first}:")'
    tries = []
    for behind in (True, False) if site.proxies else (False,):
        for half, test, to in (("rest", there, other.rest), ("first", f"!{there}", other.there)):
            name = f"dynoctl_{half}_behind" if behind else f"dynoctl_{half}"
            proxies = _behind(site) if behind else ""
            tries.append(f"""\
  @{name} {{
    expression `{{err.message}}.startsWith("dial ") && {test}`
{proxies}  }}
  handle @{name} {{
{_proxy(site, to, behind=behind, again=False)}  }}
""")
    return "  handle_errors {\n" + removed + "".join(tries) + "  }\n"


def _behind(site: Site) -> str:
    """The conditions that match a request from a trusted proxy, and find the client: the last address in any of its
    headers that is not a trusted proxy. Caddy looks for a variable of that name first, and finds ``<nil>``."""
    trusted = "|".join(pattern for network in site.proxies if (pattern := _pattern(network)))
    skipped = f"(?:\\s*,\\s*(?:{trusted}))*" if trusted else ""
    found = (
        f"    vars_regexp client {{http.request.header.X-Forwarded-For}} `(?:^|[,\\s])([^,\\s<]+){skipped}[,\\s]*$`\n"
    )
    return f"    remote_ip {' '.join(site.proxies)}\n{found}"


def _pattern(network: str) -> str:
    """A regular expression of the addresses of a network; "" for one of IPv6, which has many spellings."""
    net = ip_network(network, strict=False)
    if not isinstance(net, IPv4Network):
        return str(net.network_address) if net.num_addresses == 1 else ""
    first, last = net.network_address.packed, net.broadcast_address.packed
    parts = []
    for low, high in zip(first, last, strict=True):
        whole = (low, high) == (0, 255)
        parts.append("[0-9]{1,3}" if whole else f"(?:{'|'.join(map(str, range(low, high + 1)))})")
    return r"\.".join(parts)


def _proxy(site: Site, to: Sequence[str], *, behind: bool = False, again: bool = True) -> str:
    """The directive that passes a request on: ``behind`` a trusted proxy, or from the client itself. It tries twice,
    unless ``again`` is false."""
    trust = (
        f"    trusted_proxies {' '.join(site.proxies)}\n    header_up X-Forwarded-For {{re.client.1}}\n"
        if behind
        else ""
    )
    port = "{dynoctl_port}" if behind else site.https or site.http
    tries = f"""\
    lb_retries 1
    lb_try_duration {site.tries()}ms
    lb_try_interval 50ms
    lb_retry_match {{
      method GET HEAD OPTIONS PUT DELETE
    }}
"""
    return f"""\
  reverse_proxy {" ".join(to)} {{
    lb_policy least_conn
{tries if again else ""}{trust}\
    header_up X-Forwarded-Port {port}
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
