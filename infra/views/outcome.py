"""The last line of a command that changed servers: what runs now, as it was observed, and the address of the app."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from infra.manifest.model import Manifest
from infra.model import naming
from infra.model.dyno_status import WELL, Row
from infra.model.events import Report
from infra.model.naming import dyno_order
from infra.model.ranges import ranges, shortened
from infra.model.target import host_port
from infra.model.text import quantity
from infra.plan.plan import Plan
from infra.views.style import one_line


def sentence(
    manifest: Manifest,
    plan: Plan,
    report: Report,
    rows: Sequence[Row] | None,
    lost: Collection[str],
    down: Collection[str] = (),
) -> str:
    """What became of the release, and what runs. ``rows`` are the dynos that were observed afterwards, None if they
    could not be; ``lost`` are the servers that did not answer, and ``down`` those of routers that do not work."""
    verdict = _verdict(plan, report)
    if rows is None or (not rows and any(home in lost for home in plan.formation.homes.values())):
        running = "What runs now is unknown; see dynoctl ps."
    else:
        back = report.rejected or report.fully_reverted
        formation = plan.formation
        jobs = {job.name for job in manifest.schedule}
        due = {
            dyno: home
            for dyno, home in (formation.before if back else formation.homes).items()
            if naming.parse_dyno(dyno)[0] not in jobs
        }
        running = _running(plan, rows, lost, due, brief=bool(verdict))
        routers = manifest.router.servers if manifest.router is not None else ()
        if routers and {*down}.issuperset(routers):
            running += " The app is down: no router is up."
        elif not routers or not {*down, *lost}.issuperset(routers):
            where = address(manifest, rows, {*down, *lost})
            running += f" {where}" if where else ""
    return one_line(f"{verdict} {running}" if verdict else running)


def gone(app: str, plan: Plan, report: Report) -> str:
    """The last line of a destroy."""
    if report.ok and not plan.missed:
        return f"{app} is gone from {quantity(len(plan.servers), 'server')}."
    silent = f": {shortened(plan.missed, 'server')} unreachable" if plan.missed else ""
    return f"{app} is NOT GONE{silent}. To see what is left: dynoctl destroy"


def address(manifest: Manifest, rows: Sequence[Row], down: Collection[str] = ()) -> str:
    """The URL under which the app is reached: that of a router that is not ``down``, else that of a web dyno; "" if no
    web dyno is up."""
    web = [row for row in rows if row.state in WELL and row.port and naming.parse_dyno(row.dyno)[0] == "web"]
    if not web:
        return ""
    return router_address(manifest, down) or f"http://{host_port(web[0].listen, web[0].port)}"


def router_address(manifest: Manifest, down: Collection[str] = ()) -> str:
    """The URL under which the routers of the app are reached, other than those that are ``down``; "" without any."""
    router = manifest.router
    if router is None:
        return ""
    hosts = [host for host in router.hosts if not host.startswith("*")]
    servers = [server.host for server in manifest.servers if server.name in {*router.servers} - {*down}]
    tls = router.certificate is not None or router.acme is not None
    scheme, port, usual = ("https", router.https, 443) if tls else ("http", router.http, 80)
    host = [*hosts, *servers][0]
    return f"{scheme}://{host_port(host, port) if port != usual else f'[{host}]' if ':' in host else host}"


def _verdict(plan: Plan, report: Report) -> str:
    """Such as ``v3 REJECTED.``; "" if everything went well."""
    name = f"v{plan.release.number}" if plan.release is not None else "The release"
    if report.rejected:
        return f"{name} REJECTED."
    if report.fully_reverted:
        return f"{name} REVERTED."
    if report.interrupted:
        return "INTERRUPTED."
    return "" if report.ok else "INCOMPLETE."


def _running(plan: Plan, rows: Sequence[Row], lost: Collection[str], due: Mapping[str, str], *, brief: bool) -> str:
    """The releases that the dynos run, and the dynos that are not up. ``due`` has the servers of those that should be.
    ``brief``: if all are up and run one release, only which."""
    dynos = [row for row in rows if row.job is None]
    up = [row for row in dynos if row.state in WELL]
    distinct = {row.dyno for row in up}  # one that has not left its old server runs twice
    unknown = [dyno for dyno, home in plan.formation.homes.items() if home in lost]
    missing = sorted({dyno for dyno in due if due[dyno] not in lost} - {row.dyno for row in dynos}, key=dyno_order)
    total = len({row.dyno for row in dynos} | {*unknown, *missing})
    down = [row for row in dynos if row.state not in WELL]
    releases = Counter(row.release for row in up).most_common()
    if not releases:
        text = "Nothing runs" if not down else "No dyno is up"
    elif len(releases) == 1 and brief and len(distinct) == total:
        return f"{_name(releases[0][0])} runs on."
    elif len(releases) == 1:
        of = "all" if len(distinct) == total else f"{len(distinct)} of"
        text = f"{_name(releases[0][0])} runs on {f'{of} ' if total > 1 else ''}{quantity(total, 'dyno')}"
    else:
        text = ", ".join(f"{_name(number)} runs on {quantity(many, 'dyno')}" for number, many in releases)
    states = Counter(row.state for row in down)
    for state, many in states.items():
        names = ranges(row.dyno for row in down if row.state == state)
        text += f"; {names if many <= 8 else quantity(many, 'dyno')} {state}"
    if missing and releases:
        text += f"; {ranges(missing) if len(missing) <= 8 else quantity(len(missing), 'dyno')} on no server"
    if unknown:
        text += f"; {ranges(unknown) if len(unknown) <= 8 else quantity(len(unknown), 'dyno')} unknown"
    return f"{text}."


def _name(release: int) -> str:
    return f"v{release}" if release else "An unrecorded release"
