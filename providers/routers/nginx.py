"""nginx as a router: it retries idempotent requests once, streams, and skips a dyno that fails several times."""

from __future__ import annotations

from infra.model.routing import ACCESS_LOG, LIVE
from providers.routers.contract import AGAIN, FAILURES, FOREIGN, LARGEST, LONG, RETRY_AFTER, RUN, STATE, Kind, Site
from providers.routers.limits import ANSWER_HEADERS, JOURNAL, LOGGED, REQUEST_HEADERS

IGNORED = "X-Accel-Redirect X-Accel-Buffering X-Accel-Limit-Rate X-Accel-Charset X-Accel-Expires"
"""What nginx would do because an app's answer says so: ask again for another path, or fill the server's disk."""


def _over(most: int) -> str:
    """A regular expression of the numbers above ``most``, which has as many digits as the nines that it ends with."""
    digits = str(most)
    longer = "[0-9]" * (len(digits) + 1)
    parts = [f"{longer}[0-9]*"]
    for place, digit in enumerate(digits):
        if digit != "9":
            rest = "[0-9]" * (len(digits) - place - 1)
            parts.append(f"{digits[:place]}[{int(digit) + 1}-9]{rest}")
    return "|".join(parts)


_BASE = f"""\
# Made by dynoctl. What is changed here by hand is drift, and goes with the next apply.
worker_processes auto;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  default_type application/octet-stream;
  server_tokens off;
  client_body_temp_path {STATE}/nginx-body;
  proxy_temp_path {STATE}/nginx-proxy;
  fastcgi_temp_path {STATE}/nginx-fastcgi;
  uwsgi_temp_path {STATE}/nginx-uwsgi;
  scgi_temp_path {STATE}/nginx-scgi;
  server_names_hash_bucket_size 512;
  map_hash_bucket_size 256;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:dynoctl:4m;
  map $http_upgrade $dynoctl_connection {{ default upgrade; '' close; }}
  # The host that chose the app: a whole URL in the request line wins over the Host header.
  map "$host|$http_host" $dynoctl_host {{
    default $host;
    "~*^([^|]+)[|]\\1(:[0-9]*)?$" $http_host;
    "~[|]$" "";
  }}
  large_client_header_buffers 2 40k;
  proxy_buffer_size {ANSWER_HEADERS >> 10}k;
  proxy_buffers 4 {ANSWER_HEADERS >> 10}k;
  map $request_length $dynoctl_large {{ default 0; "~^({_over(REQUEST_HEADERS)})$" 1; }}
  # What is logged of a request: the start of its path, and the address of the dyno that answered it.
  map $request_uri $dynoctl_path {{ default $request_uri; "~^(?<dynoctl_start>.{{{LOGGED}}})" $dynoctl_start; }}
  map $upstream_addr $dynoctl_last {{ default ""; "~(?<dynoctl_address>[^ ,]+)$" $dynoctl_address; }}
  map "$http_upgrade $http_accept" $dynoctl_long {{ default 0; ~*^websocket 1; ~*text/event-stream 1; }}
"""

# Every port is opened for IPv6 as well, if the server has it: without it, nginx would not start.
_FALLBACK = """\
families() {
  both='s/listen \\([0-9][0-9]*\\)\\([^;]*\\);/listen \\1\\2; listen [::]:\\1\\2;/'
  if [ -s /proc/net/if_inet6 ]; then sed "$both"; else cat; fi
}
{
cut -d' ' -f1 frontends | sort -un | while read -r port; do
  grep -q "^$port [a-z]* [*] " frontends && continue
  if grep -q "^$port tls " frontends; then
    printf '  server { listen %s ssl http2 default_server; ssl_reject_handshake on; }\\n' "$port"
  else
    printf '  server { listen %s default_server; return 404; }\\n' "$port"
  fi
done
sites
} | families
echo '}'
"""


def _upstream(site: Site) -> str:
    # Every address again as a backup: if all have failed recently, all are tried nevertheless.
    failing = f"max_fails={FAILURES} fail_timeout={AGAIN}s"
    lines = [f"    server {address} {failing};  # {dyno}" for dyno, address in site.upstreams]
    lines += [f"    server {address} backup max_fails=0;" for _, address in site.upstreams]
    name = f"dynoctl_{site.app}"
    size = max(256, 4 * len(lines))  # an address takes 1 to 2 KiB
    return "\n".join([f"  upstream {name} {{", f"    zone {name} {size}k;", "    least_conn;", *lines, "  }"]) + "\n"


def _trust(site: Site) -> str:
    """What is believed of a trusted proxy: maps for the whole program, named after the app."""
    if not site.proxies:
        return ""
    proxy, app = _variable("proxy", site), site.app.replace("-", "_")
    networks = "".join(f"    {network} 1;\n" for network in site.proxies)
    return f"""\
  geo $realip_remote_addr {proxy} {{
    default 0;
{networks}  }}
  map "{proxy}:$http_x_forwarded_proto" {_variable("proto", site)} {{
    default $scheme;
    1:http http;
    1:https https;
  }}
  map "{proxy}:$http_x_forwarded_host" {_variable("host", site)} {{
    default $dynoctl_host;
    "~^1:(?<dynoctl_h_{app}>[^,\\s]+)$" $dynoctl_h_{app};
  }}
  map "{proxy}:$http_x_forwarded_port:$http_x_forwarded_proto" {_variable("port", site)} {{
    default $server_port;
    "~^1:(?<dynoctl_p_{app}>[0-9]+):" $dynoctl_p_{app};
    1::http 80;
    1::https 443;
  }}
"""


def _variable(name: str, site: Site) -> str:
    return f"$dynoctl_{name}_{site.app.replace('-', '_')}"


def _real(site: Site) -> str:
    """The directives that find the client behind trusted proxies."""
    if not site.proxies:
        return ""
    networks = "".join(f"    set_real_ip_from {network};\n" for network in site.proxies)
    return f"{networks}    real_ip_header X-Forwarded-For;\n    real_ip_recursive on;\n"


def _pass(site: Site, timeout: int) -> str:
    plain = {"proto": "$scheme", "host": "$dynoctl_host", "port": "$server_port"}
    said = {name: _variable(name, site) if site.proxies else value for name, value in plain.items()}
    foreign = "".join(f'      proxy_set_header {name} "";\n' for name in FOREIGN)
    return f"""\
      proxy_pass http://dynoctl_{site.app};
      proxy_http_version 1.1;
      proxy_set_header Host $dynoctl_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $dynoctl_connection;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto {said["proto"]};
      proxy_set_header X-Forwarded-Host {said["host"]};
      proxy_set_header X-Forwarded-Port {said["port"]};
      proxy_set_header X-Request-Start t=$msec;
{foreign}\
      proxy_connect_timeout {site.connect()}ms;
      proxy_read_timeout {timeout}s;
      proxy_send_timeout {timeout}s;
      proxy_next_upstream error timeout;
      proxy_next_upstream_tries 2;
      proxy_next_upstream_timeout {site.tries()}ms;
      proxy_buffering off;
      proxy_ignore_headers {IGNORED};
      proxy_redirect off;
"""


def _listen(site: Site, port: int, words: str = "") -> str:
    default = "" if site.hosts else " default_server"
    # A wildcard of nginx's own is any number of labels. A regular expression also comes after all exact names.
    names = [f"~{site.pattern(host)}" if "*" in host else host for host in site.hosts]
    return (
        f"    listen {port}{words}{default};\n    server_name {' '.join(names) or '_'};\n"
        f"    access_log syslog:server=unix:{JOURNAL},facility=local0,tag={ACCESS_LOG},nohostname {_format(site)};\n"
        "    error_page 494 = @dynoctl_large;\n    if ($dynoctl_large) { return 494; }\n"
        "    location @dynoctl_large {\n      default_type text/plain;\n"
        '      return 431 "431 Request Header Fields Too Large";\n    }\n'
    )


def _format(site: Site) -> str:
    return f"dynoctl_{site.app}"


def _log(site: Site) -> str:
    """The format of the site's access log. nginx escapes quotes, backslashes and what is not printable ASCII."""
    dynos = "".join(f"    {address} {dyno};\n" for dyno, address in site.upstreams)
    fields = {
        "method": "$request_method",
        "path": "$dynoctl_path",
        "host": "$host",
        "fwd": "$remote_addr",
        "dyno": _variable("dyno", site),
        "connect": "$upstream_connect_time",
        "service": "$request_time",
        "status": "$status",
        "bytes": "$bytes_sent",
        "protocol": "$scheme",
    }
    text = " ".join(f'{name}="{value}"' for name, value in fields.items())
    return (
        f'  map $dynoctl_last {_variable("dyno", site)} {{\n    default "";\n{dynos}  }}\n'
        f"  log_format {_format(site)} 'app={site.app} {text}';\n"
    )


def _servers(site: Site, body: str) -> str:
    if not site.https:
        return f"{_log(site)}  server {{\n{_listen(site, site.http)}{body}  }}\n"
    to = f"    return 308 https://$host{site.secure()}$request_uri;\n"
    tls = f"    ssl_certificate apps/{site.app}/tls.crt;\n    ssl_certificate_key apps/{site.app}/tls.key;\n"
    return (
        f"{_log(site)}  server {{\n{_listen(site, site.http)}{to}  }}\n"
        f"  server {{\n{_listen(site, site.https, ' ssl http2')}{tls}{body}  }}\n"
    )


def _open(site: Site) -> str:
    if not site.upstreams:
        return _servers(site, "    return 502;\n")
    body = (
        f"{_real(site)}    client_max_body_size {LARGEST}m;\n"
        "    error_page 418 = @dynoctl_long;\n"
        f"    location / {{\n      if ($dynoctl_long) {{ return 418; }}\n{_pass(site, site.timeout)}    }}\n"
        f"    location @dynoctl_long {{\n{_pass(site, max(LONG, site.timeout))}    }}\n"
    )
    return _upstream(site) + _trust(site) + _servers(site, body)


def _closed(site: Site) -> str:
    body = (
        "    error_page 503 /page.html;\n"
        "    location / { return 503; }\n"
        # Whoever asks for the page itself is told 404, which is answered with the page like everything else.
        "    location = /page.html {\n      internal;\n      error_page 404 =503 /page.html;\n"
        f"      root {site.directory()};\n"
        "      default_type text/html;\n      charset utf-8;\n      types { }\n"
        f"      add_header Retry-After {RETRY_AFTER} always;\n"
        "      add_header Cache-Control no-store always;\n    }\n"
    )
    return _servers(site, body)


KIND = Kind(
    name="nginx",
    package="nginx",
    main="nginx.conf",
    base=_BASE,
    open=_open,
    closed=_closed,
    assemble=_FALLBACK,
    test=f"/usr/sbin/nginx -t -q -e stderr -c \"$PWD/nginx.conf\" -g 'pid {STATE}/test.pid;'",
    service={
        "Type": "forking",
        "PIDFile": f"{RUN}/nginx.pid",
        "ExecStart": f"/usr/sbin/nginx -e stderr -c {LIVE}/nginx.conf -g 'pid {RUN}/nginx.pid;'",
        "ExecReload": "/bin/kill -HUP $MAINPID",
        "KillSignal": "SIGQUIT",
        "KillMode": "mixed",
    },
)
