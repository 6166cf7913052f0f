"""HAProxy as a router: it checks dynos all the time, and retries idempotent requests once."""

from __future__ import annotations

from infra.model.routing import ACCESS_LOG, LIVE
from providers.routers.contract import FOREIGN, LARGEST, LONG, RETRY_AFTER, RUN, Kind, Site
from providers.routers.limits import ANSWER_HEADERS, JOURNAL, LOGGED, MOST_HEADERS, REQUEST_HEADERS

HOPS = 5
"""The largest number of trusted proxies that a request may pass."""

CHECK = 700
"""Milliseconds between two checks of a dyno, which are also the timeout of each."""

CONNECT = 1500
"""Milliseconds to connect to a dyno.

HAProxy sends no request to a third dyno, so the dynos of a silent server must be out before the first connection to one
of them times out: after an interval and the timeout of the check in the worst case."""

UNCHECKED = "-unchecked"
"""The end of the name of a dyno's second entry, which has no checks. No dyno has a dash in its name."""

_BASE = f"""\
# Made by dynoctl. What is changed here by hand is drift, and goes with the next apply.
global
  log stderr format short daemon notice
  stats socket {RUN}/haproxy.sock mode 600 level admin expose-fd listeners
  hard-stop-after 1h
  fd-hard-limit 20000
  # Two buffers for a connection; headers and what is added to them must fit into one.
  tune.bufsize {96 << 10}
  tune.maxrewrite 4096
  tune.http.maxhdr {MOST_HEADERS}
  ssl-default-bind-options ssl-min-ver TLSv1.2

defaults
  mode http
  log global
  option dontlognull
  option http-server-close
  option redispatch 1
  option allbackups
  option srvtcpka
  srvtcpka-idle 1s
  srvtcpka-intvl 1s
  srvtcpka-cnt 2
  retries 1
  retry-on conn-failure empty-response
  timeout connect {CONNECT}ms
  timeout client 60s
  timeout http-request 30s
  timeout http-keep-alive 60s
  timeout queue 30s
  timeout tunnel {LONG}s
  default-server inter {CHECK}ms fall 2 rise 1 tcp-ut 3s

backend dynoctl.nowhere
  http-request return status 404 content-type text/plain string "404 Not Found"

"""

NAME = "req.fhdr(host),regsub(:[0-9]*$,)"
"""The Host header without its port. An IPv6 address in it has colons, too."""

# A path or host as in JSON has at most six times its length. Without an encoding, every byte is kept: an HTTP/2 client
# may send any.
_LOG = f"""\
  log {JOURNAL} len 16384 format local local0 info
  log-tag {ACCESS_LOG}
  log-format 'app=%[var(txn.dynoctl_app)] method=%{{+Q}}HM path="%[var(txn.dynoctl_path),json]"\
 host="%[var(txn.dynoctl_host),json]" fwd=%{{+Q}}[var(txn.dynoctl_fwd)] dyno=%{{+Q}}[srv_name,field(1,{UNCHECKED[0]})]\
 connect="%Tc" service="%Ta" status="%ST" bytes="%B" protocol="%[ssl_fc,iif(https,http)]"'
  http-request set-var(txn.dynoctl_path) pathq,bytes(0,{LOGGED})
  http-request set-var(txn.dynoctl_host) {NAME},lower,bytes(0,255)
"""

# The certificate is chosen by the hosts in the manifest, not by the names in the certificate. The app without hosts
# comes first, as the first certificate is served for all other names. req.hdr would take a host with a comma for two.
_FRONTENDS = f"""\
logging() {{ cat <<'END'
{_LOG}END
}}
""" + """\
for file in apps/*/tls.crt; do
  [ ! -e "$file" ] || cat "$file" "${file%.crt}.key" > "${file%.crt}.pem"
done
certificates() {
  while read -r port mode host app; do
    if [ "$port $mode $host" = "$1 tls *" ]; then printf 'apps/%s/tls.pem\\n' "$app"; fi
  done < frontends
  while read -r port mode host app; do
    if [ "$port $mode" = "$1 tls" ] && [ "$host" != '*' ]; then printf 'apps/%s/tls.pem %s\\n' "$app" "$host"; fi
  done < frontends
}
cut -d' ' -f1 frontends | sort -un | while read -r wanted; do
  printf 'frontend dynoctl-%s\\n' "$wanted"
  if grep -q "^$wanted tls " frontends; then
    certificates "$wanted" > "certificates-$wanted"
    strict=' strict-sni'
    if grep -q "^$wanted tls [*] " frontends; then strict=; fi
    set -- " ssl crt-list certificates-$wanted alpn h2,http/1.1$strict"
  else
    set -- ''
  fi
  printf '  bind :%s%s\\n' "$wanted" "$1"
  ! grep -qs . /proc/net/if_inet6 || printf '  bind :::%s v6only%s\\n' "$wanted" "$1"
  logging
  printf '  http-request deny status 400 if { req.fhdr(host) -m reg [^][A-Za-z0-9.:_~-] }\\n'
  other=dynoctl.nowhere wildcards= name='NAME,lower,regsub([.]$,)'
  while read -r port mode host app; do
    [ "$port" = "$wanted" ] || continue
    to=dynoctl-$app
    [ "$mode" = redirect ] && to=dynoctl.redirect.$app
    case $host in
      '*') other=$to ;;
      # One label, and after all exact names.
      '*.'*)
        match=$(printf '%s' "${host#??}" | sed 's/[.]/\\\\./g')
        wildcards="$wildcards  use_backend $to if { $name -m reg ^[^.]+\\\\.$match\\$ }
" ;;
      *) printf '  use_backend %s if { %s -m str %s }\\n' "$to" "$name" "$host" ;;
    esac
  done < frontends
  printf '%s' "$wildcards"
  printf '  default_backend %s\\n\\n' "$other"
done
sites
""".replace("NAME", NAME)


def _redirect(site: Site) -> str:
    if not site.https:
        return ""
    to = f"https://%[{NAME}]{site.secure()}%[pathq]"
    return "\n".join(
        [
            f"backend dynoctl.redirect.{site.app}",
            *_first(site),
            f"  http-request redirect code 308 location {to}",
            "\n",
        ]
    )


def _first(site: Site) -> list[str]:
    """What comes before all else: what the access log says of a request, and the limit of its headers."""
    return [
        f"  http-request set-var(txn.dynoctl_app) str({site.app})",
        "  http-request set-var(txn.dynoctl_fwd) src",
        "  http-request set-var(txn.dynoctl_length) url,length",
        '  http-request return status 431 content-type text/plain string "431 Request Header Fields Too Large"'
        f" if {{ req.hdrs,length,add(txn.dynoctl_length) -m int gt {REQUEST_HEADERS} }}",
    ]


def _open(site: Site) -> str:
    # A single check that fails leaves out a dyno only if there are others elsewhere.
    fall = " fall 1" if site.elsewhere() else ""
    servers = [f"  server {dyno} {address} check{fall}" for dyno, address in site.upstreams]
    # If none passes its checks, it is rather the network of the router: all are tried, as nginx and Caddy do.
    servers += [f"  server {dyno}{UNCHECKED} {address} backup" for dyno, address in site.upstreams]
    lines = [
        f"backend dynoctl-{site.app}",
        "  balance leastconn",
        *_first(site),
        f"  http-response deny deny_status 502 if {{ res.hdrs,length gt {ANSWER_HEADERS} }}",
        f"  timeout server {site.timeout}s",
        f"  http-request set-timeout server {max(LONG, site.timeout)}s"
        " if { req.hdr(accept) -m sub text/event-stream }",
        f"  http-request deny status 413 if {{ req.body_size gt {LARGEST << 20} }}",
        "  # What changes something each time that it comes is sent once.",
        "  http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE }",
        *_trust(site),
        "  http-request del-header _ -m sub",
        *(f"  http-request del-header {name}" for name in FOREIGN),
        "  http-request set-header X-Forwarded-For %[src]",
        "  http-request set-header X-Forwarded-Proto https if { ssl_fc }",
        "  http-request set-header X-Forwarded-Proto http unless { ssl_fc }",
        "  http-request set-header X-Forwarded-Host %[req.fhdr(host)]",
        "  http-request set-header X-Forwarded-Port %[dst_port]",
        *_believe(site),
        "  http-request set-header X-Request-Start t=%Ts.%ms",
        *servers,
    ]
    return "\n".join(lines) + "\n\n" + _redirect(site)


def _trust(site: Site) -> list[str]:
    """Find the client behind trusted proxies, and keep what these say. Each proxy has added the address that it saw."""
    if not site.proxies:
        return []
    return [
        f"  acl dynoctl_proxy src {' '.join(site.proxies)}",
        "  http-request set-var(txn.proto) req.hdr(x-forwarded-proto),lower if dynoctl_proxy",
        "  http-request set-var(txn.host) req.hdr(x-forwarded-host) if dynoctl_proxy",
        "  http-request set-var(txn.port) req.hdr(x-forwarded-port) if dynoctl_proxy",
        *(
            f"  http-request set-src req.hdr_ip(x-forwarded-for,-{place}) if dynoctl_proxy"
            for place in range(1, HOPS + 1)
        ),
        "  http-request set-var(txn.dynoctl_fwd) src",
    ]


def _believe(site: Site) -> list[str]:
    """Set the headers to what a trusted proxy said."""
    if not site.proxies:
        return []
    proto = "{ var(txn.proto) -m str http https }"
    ports = (("http", 80), ("https", 443))
    return [
        f"  http-request set-header X-Forwarded-Proto %[var(txn.proto)] if {proto}",
        *(
            f"  http-request set-header X-Forwarded-Port {port} if {{ var(txn.proto) -m str {name} }}"
            for name, port in ports
        ),
        "  http-request set-header X-Forwarded-Port %[var(txn.port)] if { var(txn.port) -m reg ^[0-9]+$ }",
        "  http-request set-header X-Forwarded-Host %[var(txn.host)] if { var(txn.host) -m found }",
    ]


def _closed(site: Site) -> str:
    page = (
        f'  http-request return status 503 content-type "text/html; charset=utf-8" file apps/{site.app}/page.html'
        f" hdr Retry-After {RETRY_AFTER} hdr Cache-Control no-store"
    )
    lines = [f"backend dynoctl-{site.app}", *_first(site), page]
    return "\n".join(lines) + "\n\n" + _redirect(site)


KIND = Kind(
    name="haproxy",
    package="haproxy",
    main="haproxy.cfg",
    base=_BASE,
    open=_open,
    closed=_closed,
    assemble=_FRONTENDS,
    test='/usr/sbin/haproxy -c -q -C "$PWD" -f haproxy.cfg',
    service={
        "Type": "notify",
        "ExecStart": f"/usr/sbin/haproxy -Ws -C {LIVE} -f haproxy.cfg -p {RUN}/haproxy.pid",
        "ExecReload": "/bin/kill -USR2 $MAINPID",
        "KillMode": "mixed",
        "SuccessExitStatus": "143",
    },
)
