"""An app's configuration at its router: which hosts lead to which dynos. It is tested before it goes live."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence

from infra.manifest.model import Router as RouterConfig
from infra.model import answer, naming, paths, routing
from infra.model.provider import Brief, Dyno, Fragment, Scope
from infra.model.resource import Attribute, Attributes, Change, Command, Fingerprint, Found, Resource, fingerprint
from infra.model.target import host_port
from infra.sensitive import Sensitive, reveal
from providers import drop_ins, observed_units
from providers.base import CUT_OFF, Base
from providers.routers import KINDS, assembly
from providers.routers.contract import Site


class Router(Base):
    kind = "router"
    last = True
    headline = ("kind", "hosts", "http", "https", "upstreams")
    brief = Brief(shown=("kind", "hosts"))

    def observe(self, scope: Scope) -> Fragment:
        kept = paths.salt(scope.app)
        values = {"app": scope.app, "live": routing.LIVE, "service": assembly.SERVICE, "unit": assembly.UNIT}
        mains = " ".join(f"{kind.name}:{kind.main}" for kind in KINDS.values())
        values |= {"kept": kept, "salt": scope.salt, "mains": mains}
        units = observed_units.shared(scope.app)
        return Fragment(_SCRIPT, values, {routing.SECTION: routing.fragment(), **units.shared})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        found: dict[str, str] = {}
        own, _, _ = output.partition(f"\n{observed_units.SECTION}\n")
        for line in own.splitlines():
            word, _, rest = line.partition(" ")
            found[word] = rest
        try:
            mark = answer.record(found.get("mark", ""))
            upstreams = {str(dyno): str(address) for dyno, address in mark["upstreams"].items()}
            plain = {key: value for key, value in mark.items() if value is None or isinstance(value, str | int)}
            wanted = {**plain, "hosts": tuple(str(host) for host in mark["hosts"]), "upstreams": upstreams}
            wanted["trusted_proxies"] = tuple(str(network) for network in mark.get("trusted_proxies", ()))
        except (ValueError, KeyError, TypeError, AttributeError):
            if "leftover" in found:
                return {scope.app: Found({"state": "leftover"}, damaged=True, reason=CUT_OFF)}
            # An unreadable configuration is replaced.
            known: Attributes = {"kind": found["kind"]} if found.get("kind") else {}
            return {scope.app: Found({"state": "damaged", **known})} if "mark" in found else {}
        attributes: dict[str, Attribute] = {name: wanted[name] for name in _MARKED if name in wanted}
        for name in ("certificate", "key"):
            if name in found:
                attributes[name] = Fingerprint(found.get("salt", ""), found[name], str)
        attributes["config"] = found.get("config", "")
        state = found.get("routing", "")
        attributes["state"] = state if state in routing.DOWN else found.get("state", "")
        attributes["drop_ins"] = observed_units.read(output).drop_ins(assembly.SERVICE)
        return {scope.app: Found(attributes)}

    def spontaneous(self, found: Attributes) -> Collection[str]:
        return ("state",) if found.get("state") in ("failed", "starting", "not listening") else ()

    def triggers(self, change: Change) -> bool:
        return False

    def recorded(self, attributes: Attributes, salt: str) -> Mapping[str, object]:
        kept = dict(super().recorded({name: value for name, value in attributes.items() if name not in _TLS}, salt))
        return kept | {name: fingerprint(salt, reveal(attributes[name])) for name in _TLS if name in attributes}

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        if change.after is None:
            kind = KINDS.get(str((change.before or {}).get("kind")), next(iter(KINDS.values())))
            return assembly.remove_app(kind, scope.app)
        wanted = change.after
        site = _site(scope.app, wanted)
        kind = KINDS[str(wanted["kind"])]
        texts = _texts(str(wanted["kind"]), site, _mark(scope.app, wanted))
        names = {"certificate": "tls.crt", "key": "tls.key"}
        # Every file needs a trailing newline, as some are concatenated.
        texts |= {file: reveal(wanted[name]) for name, file in names.items() if name in wanted}
        overridden = bool((change.before or {}).get("drop_ins"))
        revert = [drop_ins.revert(assembly.SERVICE)] if overridden or change.before is None else []
        return [*revert, *assembly.set_app(kind, scope.app, texts, restart=overridden)]

    def among(self, change: Change, dynos: Mapping[str, str | None]) -> Change:
        if change.after is None:
            return change
        upstreams = {**_upstreams(change.after)}
        for dyno, address in dynos.items():
            if address is None:
                upstreams.pop(dyno, None)
            else:
                upstreams[dyno] = address
        after = _with_digest(change.resource.name, {**change.after, "upstreams": upstreams})
        return Change(**{**change.__dict__, "after": after})

    def upstreams(self, change: Change) -> Mapping[str, str]:
        return _upstreams(change.before)


_TLS = ("certificate", "key")
_MARKED = ("kind", "hosts", "http", "https", "acme", "timeout", "trusted_proxies", "upstreams")

_SCRIPT = """\
enabled() {
  for root in "${unit%/*}" /run/systemd/system; do
    for link in "$root"/*.wants/"$service" "$root"/*.requires/"$service"; do [ ! -L "$link" ] || return 0; done
  done
  return 1
}
# Without a live configuration there is no router; what is there is what is left of one.
cd -P "$live" 2>/dev/null || {
  left=; [ ! -d "${live%/*}" ] && [ ! -e "$unit" ] || left=yes
  for link in "${unit%/*}"/*.wants/"$service"; do [ ! -L "$link" ] || left=yes; done
  [ -z "$left" ] || echo leftover
  exit 0
}
state=running loaded=
[ ! -e ../loaded ] || { read -r loaded < ../loaded; [ "$loaded" = "${PWD##*/}" ] || state=outdated; }
if [ ! -e "apps/$app/mark.json" ]; then
  # The process still routes to the app if its removal was linked and not loaded.
  [ $state = outdated ] && [ -e "../$loaded/apps/$app/mark.json" ] && cd "../$loaded" || exit 0
fi
printf 'mark '; cat "apps/$app/mark.json"; echo  # a power cut may have left it empty
site=apps/$app
kind=; [ ! -e "$site/kind" ] || read -r kind < "$site/kind"
case " $mains " in
  *" $kind:"*) ;;
  # The configuration that is there has a name of its own for each kind.
  *) kind=; for main in $mains; do [ ! -e "${main#*:}" ] || kind=${main%%:*}; done;;
esac
printf 'kind %s\\n' "$kind"
sum=$(cat "$site/mark.json" "$site/open" "$site/closed" "$site/frontends" base "$unit" 2>/dev/null | sha256sum)
printf 'config %s\\n' "${sum%% *}"
[ -r "$kept" ] && IFS= read -r salt < "$kept"
printf 'salt %s\\n' "$salt"
for name in crt key; do
  [ -e "apps/$app/tls.$name" ] || continue
  sum=$({ printf %s "$salt"; cat "apps/$app/tls.$name"; } | sha256sum)
  case $name in crt) word=certificate;; *) word=key;; esac
  printf '%s %s\\n' "$word" "${sum%% *}"
done
[ -s "$unit" ] && enabled || state=disabled
sha256sum --quiet --status -c sums 2>/dev/null || state=edited
printf 'state %s\\n' "$state"
"""


def desired(
    server: str, app: str, config: RouterConfig, dynos: Sequence[Dyno], tls: Mapping[str, Sensitive]
) -> Resource:
    """The desired configuration of the app at the router of ``server``. ``dynos`` are all web dynos, on any server."""
    secure = bool(tls) or config.acme is not None
    plain: dict[str, Attribute] = {
        "kind": config.kind,
        "hosts": config.hosts,
        "http": config.http,
        "https": config.https if secure else 0,
        "acme": config.acme or "",
        "timeout": config.timeout,
        "trusted_proxies": config.trusted_proxies,
        "upstreams": {dyno.name: host_port(dyno.listen, dyno.port) for dyno in dynos},
    }
    # Every file needs a trailing newline, as some are concatenated.
    files: dict[str, Attribute] = {name: Sensitive(value.reveal().rstrip("\n") + "\n") for name, value in tls.items()}
    return Resource(server, Router.kind, app, _with_digest(app, {**plain, **files}), follows=True)


def _with_digest(app: str, attributes: Attributes) -> Attributes:
    """The attributes, with the digest of everything that is written for them."""
    kind = str(attributes["kind"])
    texts = _texts(kind, _site(app, attributes), _mark(app, attributes))
    everything = "".join(texts.values()) + KINDS[kind].base + assembly.unit(KINDS[kind])
    digest = hashlib.sha256(everything.encode()).hexdigest()
    return {**attributes, "config": digest, "state": "running", "drop_ins": ()}


def _texts(kind: str, site: Site, mark: str) -> dict[str, str]:
    """The app's files at the router, in the order in which they are observed."""
    program = KINDS[kind]
    return {
        "mark.json": mark,
        "open": program.open(site),
        "closed": program.closed(site),
        "frontends": site.frontends(),
    }


def _mark(app: str, attributes: Attributes) -> str:
    plain = {name: attributes[name] for name in _MARKED} | {"upstreams": _upstreams(attributes)}
    ports = {int(str(attributes["http"])): "plain"}
    if attributes["https"]:
        ports = {int(str(attributes["http"])): "redirect", int(str(attributes["https"])): "tls"}
    mark = {"app": app, "ports": {str(port): mode for port, mode in ports.items()}, **plain}
    return json.dumps(mark, default=list) + "\n"


def _site(app: str, attributes: Attributes) -> Site:
    hosts, proxies = attributes["hosts"], attributes.get("trusted_proxies")
    return Site(
        app=app,
        hosts=hosts if isinstance(hosts, tuple) else (),
        http=int(str(attributes["http"])),
        https=int(str(attributes["https"])),
        acme=str(attributes["acme"]),
        timeout=int(str(attributes["timeout"])),
        upstreams=tuple(_upstreams(attributes).items()),
        proxies=proxies if isinstance(proxies, tuple) else (),
    )


def _upstreams(attributes: Attributes | None) -> dict[str, str]:
    """In the order of the dynos: whoever names them, and in which order, the configuration is the same."""
    found = (attributes or {}).get("upstreams")
    if not isinstance(found, Mapping):
        return {}
    return {name: str(found[name]) for name in sorted(found, key=_place)}


def _place(name: str) -> tuple[str, int]:
    """Where a dyno is in the order. What a server says may be no name of a dyno."""
    return naming.dyno_order(name) if naming.DYNO_NAME.match(name) else (name, 0)
