"""A plan's page as text: well-formed, everything escaped, and its library only loaded where a page was asked for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from infra.errors import Unreachable
from infra.views import plan_html
from tests.unit.test_plan_views import HEADLINES, SECRET, sample

EVIL = "</style></title><script>alert('1')</script>\"&\x1b[31m"
EMPTY = {"meta", "br"}


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


def test_the_page_says_what_the_plan_says() -> None:
    page = Page(plan_html.render(sample(), HEADLINES, "Made now."))
    assert page.texts["h1"] == ["Plan for shop"]
    assert page.texts["h2"] == ["Before any dyno is changed", "Fleet", "Rollout", "Changes"]
    assert page.texts["title"] == [
        "Plan for shop: 1 to add, 5 to change, 0 to destroy. 0 dynos start, 2 dynos restart, 0 dynos stop. Drift: 1 resource changed by hand."
    ]
    assert page.texts["small"] == ["unreachable", "2 dynos", "1 dyno"]
    assert [text for text in page.texts["td"] if " of " in text] == ["2 of 3 web", "2 of 3 web"]
    assert page.texts["i"] == ["restarts", "restarts"]
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids), "a link that leads nowhere"
    text = plan_html.render(sample(), HEADLINES, "Made now.")
    assert text.startswith("<!doctype html>\n<!-- A plan of dynoctl. -->\n"), "by this the slug knows it"
    assert SECRET not in text and text.endswith("</html>\n")


def test_a_plan_without_changes() -> None:
    page = Page(plan_html.render(replace(sample(), changes=(), batches=()), HEADLINES, "Made now."))
    assert page.texts["h2"] == ["Before any dyno is changed", "Fleet", "Changes"]
    assert page.texts["p"].count("No changes on the reachable servers.") == 2


def test_everything_is_escaped() -> None:
    plan = sample()
    first = plan.changes[0]
    plan = replace(
        plan,
        app=EVIL,
        notes=(EVIL,),
        build=(EVIL,),
        unreachable={"grid-0": Unreachable(EVIL, EVIL)},
        changes=(replace(first, reason=EVIL, after={"x": EVIL}), *plan.changes[1:]),
        fingerprint=EVIL,
    )
    text = plan_html.render(plan, HEADLINES, EVIL)
    page = Page(text)
    assert "script" not in page.tags and page.tags.count("title") == page.tags.count("style") == 1
    assert "\x1b" not in text and r"\x1b[31m" in text
    assert text.count("&lt;script&gt;") >= 8


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
