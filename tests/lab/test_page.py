"""The plan's page in a real browser: nothing is loaded, every difference is a key press away, both lights are readable."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.errors import Diagnostic, Location, Unreachable
from infra.model import release
from infra.model.source_change import FileDiff, SourceChange, SourceDiff
from infra.plan.overview import ServerOverview
from infra.plan.plan import Check
from infra.views import plan_html
from tests.lab.browser import Browser
from tests.lab.support import Project
from tests.unit.test_plan_views import BRIEFS, sample

APP = 'App = ->(env) { [200, { "content-type" => "text/plain" }, ["#{ENV["WORD"]}"]] }\n'
SECRET = "hunter2-on-no-page"

# The least contrast of any text to what is behind it, by WCAG's formula, with the text.
CONTRAST = """
(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((one) => (one /= 255) <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const found = parts(getComputedStyle(node).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found.slice(0, 3);
    }
    return [255, 255, 255];
  };
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  let worst = [21, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || node.closest(".skip")) continue;
    const [one, two] = [light(parts(getComputedStyle(node).color).slice(0, 3)), light(behind(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < worst[0]) worst = [ratio, walker.currentNode.textContent];
  }
  return worst;
})()
"""


def overlong() -> str:
    """The page of a plan of which everything is longer than the page is wide."""
    long = "x" * 300 + "שלום"
    plan = sample(1)
    first, restart, *_ = plan.changes
    changed = replace(first, before={"variables": {long: long}}, after={"variables": {long: f"{long}2"}}, reason=long)
    plan = replace(
        plan,
        app=long,
        changes=(changed, replace(restart, reason=long)),
        errors=(Diagnostic(long, long, Location(long, 1, 1), long, long),),
        notes=(long,),
        unreachable={long: Unreachable(long, long)},
        checks=(Check(long, True, long),),
        fleet={"grid-1": ServerOverview(long, {long: long}, 4, 0, long), long: ServerOverview(long)},
        running=replace(release.new(6, "a", "{}", manifest="m"), commit=long, who=long, when=long),
        commit=long,
        source=SourceChange((long,), (("A", long),)),
        release_on=long,
        waves=((long, 2),),
        batches=(("web.1",), ("web.9",)),
    )
    diff = SourceDiff((FileDiff("M", long, f"@@ -1 +1 @@\n-{long}\n+{long}"), FileDiff("A", long, note=long)))
    return plan_html.render(plan, BRIEFS, plan_html.Made(long, long, long, long, long), diff)


@pytest.fixture(scope="module")
def page(fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The page of a plan in which dynos start, restart and stop."""
    directory = tmp_path_factory.mktemp("page")
    source = directory / "source"
    source.mkdir()
    (source / "app.rb").write_text(APP)
    framework = {"name": "rack", "require": "./app", "app": "App"}
    app = Project(directory, fleet, "page", source, framework=framework, app_server={"name": "puma"})
    app.environment["PAGE_SECRET"] = SECRET
    app.manifest["env"] = {"WORD": "</style><script>alert(1)</script>", "SECRET": {"from_env": "PAGE_SECRET"}}
    app.manifest["dynos"] = {"web": 3, "worker": {"count": 2, "command": "sleep 1000"}}
    app.manifest["rollout"] = {"max_parallel": 2, "canary": 1}
    app.manifest["checks"] = {"min_healthy": {"web": "50%"}, "max_exposure": 2, "min_spread": {}}
    app.apply()
    app.manifest["env"]["WORD"] += "two"
    app.manifest["dynos"] = {"web": 4, "worker": {"count": 1, "command": "sleep 1000", "memory": "256M"}}
    app.environment["PAGE_SECRET"] = SECRET + "-new"
    said = app.dynoctl("plan", "--html", "plan.html", "--out", "plan").stdout
    assert "Wrote the plan to plan.html." in said
    assert "Exposure of worker: 1." in said and "Check min_healthy/web passed" in said
    app.dynoctl("show", "plan", "--html", "again.html")
    once, again = ((directory / name).read_text() for name in ("plan.html", "again.html"))
    assert re.sub("<dt>Made</dt>.*?</dd>", "", once) == re.sub("<dt>Made</dt>.*?</dd>", "", again)
    app.dynoctl("plan", "--html", "diff.html", "--diff")
    assert "No diff: the files of the app stay as they are in v1." in (directory / "diff.html").read_text()
    yield directory / "plan.html"
    app.destroy()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as one:
        yield one


def test_it_is_one_file_without_secrets_or_scripts(page: Path, browser: Browser) -> None:
    text = page.read_text()
    assert SECRET not in text
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text
    browser.open(page.as_uri())
    assert browser.requests == [page.as_uri()], "it loads nothing"
    assert browser.complaints == []


def test_what_becomes_of_every_dyno(page: Path, browser: Browser) -> None:
    browser.open(page.as_uri())
    cards = browser.ask("[...document.querySelectorAll('.server')].map((one) => one.innerText.replace(/\\s+/g, ' '))")
    assert [card.split()[0] for card in cards] == ["grid-1", "grid-2", "grid-3"]
    said = " ".join(cards)
    assert "web.1 restarts" in said and "web.4 starts" in said and "worker.2 stops" in said
    assert said.count("restarts") == 4 and all(re.search(r"\d+ of \d+ places free", card) for card in cards)
    lanes = browser.ask(
        "[...document.querySelectorAll('.lanes tbody tr')].map((one) => one.innerText.replace(/\\s+/g, ' '))"
    )
    assert sorted(lane.split()[0] for lane in lanes) == ["web.1", "web.2", "web.3", "web.4", "worker.1", "worker.2"]


def test_a_keyboard_is_enough(page: Path, browser: Browser) -> None:
    browser.open(page.as_uri())
    browser.press("Tab", 9)
    assert browser.ask("document.activeElement.innerText") == "Skip to the changes"
    for _ in range(60):
        browser.press("Tab", 9)
        if browser.ask("document.activeElement.matches('a.dyno.add')"):
            break
    assert browser.ask("document.activeElement.innerText").split() == ["+", "web.4", "starts"]
    browser.press("Enter", 13)
    opened = browser.ask("[...document.querySelectorAll('.group[open]')].map((one) => one.innerText)")
    assert len(opened) == 1 and "web.4" in opened[0], "a click, or Enter, shows the difference"
    assert "Service.MemoryMax" in opened[0]


# Whether each group, and each "more attributes" in it, is shown with its content.
SEEN = """
[...document.querySelectorAll("#changes ~ .group")].map((one) => [
  one.checkVisibility(),
  one.querySelector(".body").checkVisibility({contentVisibilityAuto: true, checkVisibilityCSS: true}),
  one.classList.contains("is-hand"),
])
"""


def test_filters_and_expansion_work_without_scripts(page: Path, browser: Browser) -> None:
    def seen() -> list[tuple[bool, bool, bool]]:
        return [tuple(one) for one in browser.ask(SEEN)]

    browser.open(page.as_uri(), scripts=False)
    assert {shown for shown, _, _ in seen()} == {True} and {body for _, body, _ in seen()} == {False}
    browser.ask("document.getElementById('expand').click()")
    assert {body for _, body, _ in seen()} == {True}, "all groups are open"
    browser.ask("document.getElementById('only-gone').click()")
    only = browser.ask(
        "[...document.querySelectorAll('.group')].filter((one) => one.checkVisibility()).map((one) => one.innerText)"
    )
    assert 0 < len(only) < len(seen()) and any("worker.2" in words for words in only)
    assert not any("web.4" in words.splitlines()[1] for words in only)
    browser.open(page.as_uri())
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert {body for _, body, _ in seen()} == {True}, "on paper, too"


def test_without_scripts_everything_is_there(page: Path, browser: Browser) -> None:
    browser.open(page.as_uri() + "#on-grid-1", scripts=False)
    tree = browser.spoken()
    assert ("heading", "Plan for page") in tree
    assert any(role == "link" and name.startswith("web.4") for role, name in tree)


def test_what_a_screen_reader_is_told(page: Path, browser: Browser) -> None:
    browser.open(page.as_uri())
    tree = browser.spoken()
    headings = [name for role, name in tree if role == "heading"]
    assert headings[0] == "Plan for page"
    assert {"Fleet", "Rollout", "Changes"} <= set(headings)
    assert ("main", "") in tree and ("region", "Fleet") in tree
    columns = [name.lower() for role, name in tree if role == "columnheader"]
    assert columns[:1] == ["dyno"] and {"candidate", "canary", "start", "stop"} <= set(columns)
    assert any(role == "rowheader" for role, _ in tree)
    assert any(role == "link" and name == "web.4 starts" for role, name in tree), "colour is never all that says it"
    assert all(name for role, name in tree if role in ("link", "heading", "DisclosureTriangle"))
    assert browser.ask("document.documentElement.lang") == "en"
    assert browser.ask("document.title").startswith("Plan for page: ")


# What can be touched, with its lower height or width where that is too little (WCAG 2.5.8 asks for 24 pixels).
SMALL = """
[...document.querySelectorAll("a[href], summary, label")].filter((one) => one.checkVisibility()).map((one) => {
  const box = one.getBoundingClientRect();
  return [one.textContent.trim(), Math.min(box.height, box.width)];
}).filter(([words, size]) => size < 24)
"""


def test_everything_can_be_touched_and_no_word_is_cut_on_a_phone(page: Path, browser: Browser) -> None:
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
    browser.open(page.as_uri(), width=360)
    assert [one for one in browser.ask(SMALL) if one[0] != "Skip to the changes"] == []
    wide = "[...document.querySelectorAll('.lanes')].map((one) => one.scrollWidth - one.parentElement.clientWidth)"
    assert browser.ask(wide) == [0], "the whole rollout is seen at once"


@pytest.mark.parametrize("width", [1280, 360])
def test_no_value_is_wider_than_the_page(browser: Browser, tmp_path: Path, width: int) -> None:
    """Names, commits, errors and values of any length, without a space, and from right to left."""
    (tmp_path / "hostile.html").write_text(overlong())
    browser.open((tmp_path / "hostile.html").as_uri(), width=width)
    browser.ask("document.getElementById('expand').click()")
    assert browser.ask("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_is_readable(page: Path, browser: Browser, tmp_path: Path, dark: bool, width: int) -> None:
    browser.open(page.as_uri(), dark=dark, width=width)
    ratio, words = browser.ask(CONTRAST)
    assert ratio >= 4.5, f"{words!r} has a contrast of {ratio:.1f} (WCAG AA asks for 4.5)"
    assert browser.ask("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    ground = browser.ask("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(one) for one in re.findall(r"\d+", ground)[:3]) / 3
    assert (brightness < 60) is dark
    assert len(browser.screenshot(tmp_path / "page.png")) > 10_000
