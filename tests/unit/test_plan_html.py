"""A plan's page as text: well-formed, everything escaped, and its library only loaded where a page was asked for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from infra.errors import Diagnostic, Location, Unreachable
from infra.model import release
from infra.model.formation import Formation
from infra.model.resource import Change, Effect
from infra.model.source_change import FileDiff, SourceChange, SourceDiff
from infra.plan.overview import ServerOverview
from infra.plan.plan import Check, Plan
from infra.views import plan_document, plan_html, plan_json
from infra.views.page_changes import MINUS
from tests.unit.test_plan_views import BRIEFS, SECRET, change, sample

EVIL = "</style></title><script>alert('1')</script>\"&\x1b[31m"
EMPTY = {"meta", "input"}
MADE = plan_html.Made("anna@laptop", "2026-11-29T10:22:08Z", "dyno.yaml", "abc" * 20, "staging")


class Page(HTMLParser):
    """Elements as they nest, the text of each, and every anchor and link."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        assert not self.open, "an element that is not closed"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "an element that closes another one"

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.setdefault(self.open[-1], []).append(data.strip())


def rendered(plan: Plan) -> str:
    return plan_html.render(plan, BRIEFS, MADE)


def test_the_page_says_what_the_plan_says() -> None:
    text = rendered(sample())
    page = Page(text)
    assert page.texts["h1"] == ["Plan for shop"]
    assert page.texts["h2"] == ["Fleet", "Rollout", "Changes"]
    assert page.texts["title"] == [
        "Plan for shop: 1 to add, 5 to change, 0 to destroy. 2 dynos restart. Drift: 1 resource changed by hand."
    ]
    assert "This plan cannot be applied: 1 error." in page.texts["p"]
    assert "Never fewer up than 2 of 3 web." in page.texts["p"]
    assert page.texts["h3"] == ["grid-1", "grid-2", "grid-0"] and "unreachable" in page.texts["span"]
    assert [words for words in page.texts["td"] if " of " in words] == ["2 of 3 web", "2 of 3 web"]
    assert page.texts["i"] == ["restarts", "restarts"]
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids), "a link that leads nowhere"
    assert text.startswith("<!doctype html>\n<!-- A plan of dynoctl. -->\n"), "by this the slug knows it"
    assert SECRET not in text and text.endswith("</html>\n")


def test_the_header() -> None:
    running = replace(
        release.new(6, "beef", "{}", manifest="m"), commit="5c1e77ab0d21", who="root@vm", when="2026-11-28T17:03:11Z"
    )
    plan = replace(sample(), running=running, commit="9b0c2f44d1aa", errors=())
    page = Page(rendered(plan))
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert facts == {
        "Commit": "5c1e77ab0d21 → 9b0c2f44d1aa",
        "Manifest": "dyno.yaml",
        "Destination": "staging",
        "Author": "anna@laptop",
        "Made": "2026-11-29 10:22 UTC",
        "v6 applied": "2026-11-28 17:03 UTC, root@vm",
        "Plan digest": "abcabcabcabc",
    }
    assert {"v6", "v7"} <= set(page.texts["span"])
    assert "2 dynos restart in 2 batches." in page.texts["p"]


def test_what_changed_in_the_app() -> None:
    source = SourceChange(("Say good afternoon",), (("M", "app.rb"), ("D", "old.rb")), 2, 1, True)
    text = rendered(replace(sample(), source=source))
    for words in ("<li>Say good afternoon</li>", "and 2 more", "<code>app.rb</code>", "and 1 more", "Not all of it is"):
        assert words in text
    diff = SourceDiff(
        (FileDiff("M", "app.rb", "@@ -1 +1 @@\n-hello\n+</pre><b>hi"), FileDiff("A", "logo.png", note="binary"))
    )
    text = plan_html.render(replace(sample(), source=source), BRIEFS, MADE, diff)
    assert '<span class="gone">-hello\n</span><span class="add">+&lt;/pre&gt;&lt;b&gt;hi\n</span>' in text
    assert f"+1 {MINUS}1" in text and "<code>logo.png</code> <small>binary</small>" in text and "old.rb" not in text
    assert "No diff: no release runs yet." in plan_html.render(
        sample(), BRIEFS, MADE, SourceDiff(reason="no release runs yet")
    )


def test_a_short_diff_is_open_and_a_long_one_is_not() -> None:
    for many, opened in ((3, True), (plan_html.SHORT + 1, False)):
        diff = SourceDiff((FileDiff("M", "app.rb", "\n".join(["+x"] * many)),))
        text = plan_html.render(sample(), BRIEFS, MADE, diff)
        assert ('<details class="group card" open>' in text) is opened
        assert '<ul class="files">' not in text, "nothing is listed that is shown below"


def test_an_error_is_above_all_else_and_says_where() -> None:
    at = Location("dyno.yaml", 18, 1, "schedule:")
    error = Diagnostic("no capacity for 1 dyno", "schedule/0/cpu", at, "free places of 0.25 CPU", "add a server")
    plan = replace(sample(), errors=(error,), checks=(Check("min_spread/rack", True, "2 of 2"),))
    for one in (plan, plan_document.plan(json.loads(json.dumps(plan_json.document(plan, {}))))):
        alert = rendered(one).partition('<ul class="alerts"')[2].partition("</li>")[0]
        for words in ("no capacity for 1 dyno", "dyno.yaml:18:1", "Expected: free places of 0.25 CPU", "add a server"):
            assert words in alert
    text = rendered(plan)
    assert text.index('class="alerts"') < text.index('class="facts"') < text.index('class="checks"')


def test_checks_are_badges_and_apart_from_notes() -> None:
    checks = (Check("min_healthy/web", True, "2 of 3"), Check("max_exposure", False, "3 is too much"))
    text = rendered(replace(sample(), checks=checks, exposure={"web": (2.5, 1.3)}))
    badges, notes = (text.partition(f'aria-label="{name}"')[2].partition("</ul>")[0] for name in ("Checks", "Notes"))
    said = [" ".join(re.sub("<[^>]*>", " ", item).split()) for item in re.findall("<li.*?</li>", badges)]
    assert said[:2] == ["✗ max_exposure failed 3 is too much", "✓ min_healthy/web passed 2 of 3"]
    assert said[2].startswith("exposure/web 2.5 → 1.3")
    assert "min_healthy" not in notes and "something `odd`" in notes


def test_a_server_with_everything_that_is_known_of_it() -> None:
    plan = sample()
    fleet = {
        "grid-1": ServerOverview("10.0.0.11", {"rack": "a"}, 4, 3250, "nginx"),
        "grid-0": ServerOverview("10.0.0.10"),
        "spare": ServerOverview("10.0.0.19", {}, 1, 1000, draining=True),
        "large": ServerOverview("10.0.0.20", {}, 64, 16000),
    }
    text = rendered(replace(plan, fleet=fleet, idle=frozenset({"web.9"})))
    found = text.partition("</section>")[0].split('<li class="server card')[1:]
    cards = {re.findall(r"<h3>(.*?)</h3>", card)[0]: card for card in found}
    assert list(cards) == ["grid-1", "grid-0", "spare", "large", "grid-2"], "in the order of the manifest"
    for words in ("10.0.0.11", "rack=a", "nginx router", "13 of 16 places free", "by hand", "1 → 2 dynos"):
        assert words in cards["grid-1"]
    assert "<b>web.9</b> <em>stopped</em>" in cards["grid-1"]
    assert "unreachable" in cards["grid-0"] and "places" not in cards["grid-0"]
    assert "draining" in cards["spare"] and "no dyno" in cards["spare"] and "4 of 4 places free" in cards["spare"]
    assert "64 of 256 places free" in cards["large"] and len(cards["large"]) < 2000, "not a shape for each place"


def test_what_happens_to_many_dynos_of_a_server_is_said_once() -> None:
    dynos = {f"web.{number}": "grid-1" for number in range(1, 10)}
    changes = [
        change("delete", "unit", name, "grid-1", {"unit": {}}, None, effect=Effect.STOP) for name in list(dynos)[:7]
    ]
    moved = {f"web.{number}": "grid-2" for number in range(1, 5)}
    formation = Formation((), {**moved, "web.8": "grid-1", "web.9": "grid-1"}, dynos)
    text = rendered(replace(sample(), changes=tuple(changes), formation=formation, batches=()))
    card = text.partition("<h3>grid-1</h3>")[2].partition("</li>\n</ul>\n<footer>")[0]
    assert "</span> 4 move to grid-2</p>" in card
    run = card.partition('aria-label="4 move to grid-2"')[2].partition("</ul>")[0]
    assert run.count('<i class="spoken">stops</i>') == 4, "each link says what it leads to"
    alone = card.partition('<ul class="dynos">')[2].partition("</ul>")[0]
    assert re.findall(r"<b>(.*?)</b>(?: <i>(.*?)</i>)?", alone) == [
        *((f"web.{number}", "stops") for number in (5, 6, 7)),
        ("web.8", ""),
        ("web.9", ""),
    ]


def started(number: int, port: int, server: str = "") -> Change:
    dyno = f"web.{number}"
    attributes = {"unit": {"Service.ExecStart": f"thin -p {port}", "Service.User": f"dyno-shop-web-{number}"}}
    return change("create", "unit", dyno, server or f"grid-{number}", None, attributes, effect=Effect.START)


def test_what_is_alike_is_one_group_and_what_differs_in_it_is_named() -> None:
    changes = (started(1, 5000), started(2, 5000), started(13, 5001), started(4, 5000, "grid-1"))
    text = rendered(replace(sample(), changes=changes, batches=()))
    assert text.count('<details class="group') == 1
    assert "<b>web.[1-2,4,13]</b>" in text and "the same on 3 servers" in text
    assert "dyno-shop-web-N" in text and "dyno-shop-web-13" not in text
    first, second = (text.partition(f"thin -p {port}")[2].partition("</tr>")[0] for port in (5000, 5001))
    assert "<small>web.[1-2,4]</small>" in first and "<small>web.13</small>" in second
    assert all(f"<li><b>web.{number}</b> grid-" in text for number in (1, 2, 4, 13)), "each can be found"
    odd = change("update", "unit", "web.5", "grid-5", {"unit": {"A": "x"}}, {"unit": {"A": "y"}}, effect=Effect.RESTART)
    by_hand = replace(
        odd, resource=replace(odd.resource, server="grid-6", dyno="web.6"), drift=True, drifted=("unit.A",)
    )
    assert rendered(replace(sample(), changes=(odd, by_hand))).count('<details class="group') == 2


def test_a_single_dyno_keeps_its_number() -> None:
    text = rendered(replace(sample(), changes=(started(4, 5000),), batches=()))
    assert "dyno-shop-web-4" in text and "web-N" not in text


def test_the_timeline_of_a_rollout() -> None:
    """Canaries first, then new dynos, then the other batches, then what stops, as apply does it."""
    stop = change("delete", "unit", "web.8", "grid-2", {"unit": {}}, None, effect=Effect.STOP)
    up = change("update", "unit", "web.7", "grid-1", {"state": "failed"}, {"state": "running"}, effect=Effect.START)
    plan = sample()
    formation = replace(plan.formation, homes={**plan.formation.homes, "web.7": "grid-1"})
    formation = replace(formation, before={**formation.before, "web.7": "grid-1", "web.8": "grid-2"})
    changes = (*plan.changes, started(9, 5000, "grid-1"), stop, up)
    plan = replace(plan, changes=changes, formation=formation, canary=True, running=replace(plan.release, number=6))
    plan = replace(plan, waves=(("rack a", 1), ("rack b", 1)))
    page = rendered(plan)
    table = page.partition('<table class="lanes">')[2].partition("</table>")[0]
    names = [re.sub("<.*?>", "", name) for name in re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table)]
    assert names == ["Dyno", "candidate", "canary", "start", "batch 2", "stop"]
    assert 'title="Batch 1, rack a, canary"' in table and 'title="Batch 2, rack b"' in table
    lanes = {
        row[0]: re.findall(r'<td class="([^"]+)"(?: colspan="(\d)")?', row[1])
        for row in re.findall(r'<tr><th scope="row"><b>(web\S+)</b> (.*?)</tr>', table, re.DOTALL)
    }
    gate = ("old", "1")
    assert lanes["web.1"] == [gate, ("step restart", ""), ("new", "3")]
    assert lanes["web.2"] == [gate, ("old", "2"), ("step restart", ""), ("new", "")]
    assert lanes["web.7"] == [("down", "1"), ("down", ""), ("step start", ""), ("new", "2")]
    assert [cell for cell in lanes["web.9"] if cell[0]] == [("step start", ""), ("new", "2")]
    assert lanes["web.8"] == [gate, ("old", "3"), ("step stop", "")]


def test_dynos_to_which_the_same_happens_at_the_same_step_share_a_lane() -> None:
    plan = replace(sample(32), batches=tuple(tuple(f"web.{4 * n + m}" for m in range(1, 5)) for n in range(8)))
    page = rendered(plan)
    table = page.partition('<table class="lanes')[2].partition("</table>")[0]
    lanes = re.findall(r'<tr><th scope="row">(?!web still)(.*?)</th>', table)
    named = [re.sub("<.*?>", "", lane) for lane in lanes]
    assert named == [f"web.[{n}-{n + 3}] grid-[{n}-{n + 3}]" for n in range(1, 33, 4)]
    foot = table.partition("<tfoot>")[2]
    assert re.findall(r"<td>(\d*)</td>", foot) == ["", *["28"] * 8], "how many stay up, below each step"
    assert all(f"<td>web.[{n}-{n + 3}]</td>" in page for n in range(1, 33, 4)), "each step has all of its dynos"


def test_the_page_of_a_thousand_servers() -> None:
    plan = sample(1000)
    fleet = {f"grid-{number}": ServerOverview("10.0.0.1", {}, 4, 3750) for number in range(1, 1001)}
    text = rendered(replace(plan, fleet=fleet, unreachable={}, errors=()))
    page = Page(text)
    assert len(text) < 600_000
    assert page.texts["h3"] == ["grid-1", "grid-[2-1000]"] and text.count('<details class="group') == 3
    assert '<table class="lanes">' not in text and text.count("<figure>") == 1, "how many run what, and not who"
    assert all(f"web.{number} on grid-{number}" in text for number in (2, 500, 1000)), "each can be found"
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_a_plan_without_changes() -> None:
    page = Page(rendered(replace(sample(), changes=(), batches=(), errors=())))
    assert page.texts["h2"] == ["Fleet", "Rollout", "Changes"]
    assert page.texts["p"].count("No changes on the reachable servers.") == 2


def test_a_destroy() -> None:
    gone = change("delete", "unit", "web.1", "grid-1", {"unit": {}}, None, effect=Effect.STOP)
    formation = Formation((), {}, {"web.1": "grid-1"})
    plan = replace(sample(), changes=(gone,), formation=formation, batches=(), errors=(), candidates=(), unreachable={})
    page = Page(text := rendered(plan))
    assert "shop is destroyed: 1 dyno stops." in page.texts["p"]
    assert "1 resource removed from 1 server." in page.texts["p"]
    assert '<header class="mood-gone">' in text and "Rollout" not in page.texts["h2"]


def test_everything_is_escaped() -> None:
    plan = sample()
    first = plan.changes[0]
    resource = replace(first.resource, name=EVIL)
    plan = replace(
        plan,
        app=EVIL,
        notes=(EVIL,),
        build=(EVIL,),
        unreachable={"grid-0": Unreachable(EVIL, EVIL)},
        changes=(replace(first, resource=resource, reason=EVIL, after={"x": EVIL, EVIL: EVIL}), *plan.changes[1:]),
        fleet={"grid-1": ServerOverview(EVIL, {EVIL: EVIL}, 4, 0, EVIL)},
        running=replace(release.new(1, "a", "{}", manifest="m"), commit=EVIL, who=EVIL, when=EVIL),
        commit=EVIL,
        checks=(Check(EVIL, True, EVIL),),
        source=SourceChange((EVIL,), (("A", EVIL),)),
        fingerprint=lambda: EVIL,
    )
    text = plan_html.render(plan, BRIEFS, plan_html.Made(EVIL, EVIL, EVIL, EVIL, EVIL))
    page = Page(text)
    assert "script" not in page.tags and page.tags.count("title") == page.tags.count("style") == 1
    assert "\x1b" not in text and r"\x1b[31m" in text
    assert text.count("&lt;script&gt;") >= 20


def test_a_browser_is_told_to_load_and_run_nothing() -> None:
    """The style sheet is the only thing that the policy allows, by its digest: no style or script can be added."""
    text = rendered(sample())
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', text)
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert policy == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]
    assert not re.search(r"<[^>]* (style|on\w+|src)=", text) and "url(" not in style[0] and "@import" not in style[0]


@pytest.mark.parametrize(("argv", "loaded"), [((), False), (("--html", "plan.html"), True)], ids=["text", "html"])
def test_a_plan_without_a_page_does_not_import_jinja(tmp_path: Path, argv: tuple[str, ...], loaded: bool) -> None:
    """It costs tens of milliseconds, and most plans are text."""
    (tmp_path / "config.ru").write_text("run ->(env) { [200, {}, []] }\n")
    (tmp_path / "dyno.yaml").write_text(
        "version: 1\napp: {name: shop, source: .}\nrackup: config.ru\ndynos: {web: 1}\n"
        "servers: [{name: one, host: 127.0.0.1, port: 1}]\n"
    )
    code = (
        "import sys; from infra.cli.app import run; status = run(sys.argv[1:]); "
        "print(status, 'jinja2' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, "plan", *argv], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == f"4 {loaded}", done.stderr
    assert (tmp_path / "plan.html").exists() is loaded
