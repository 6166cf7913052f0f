"""Sphinx builds the site from these pages: ``make docs``. Every warning is an error, so a dead link fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

project = "dynoctl"
author = "the dynoctl authors"
copyright = "2026, the dynoctl authors"

extensions = ["myst_parser"]
exclude_patterns = ["ci"]

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "dynoctl"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {"contributing": "CONTRIBUTING.md", "security-policy": "SECURITY.md", "changelog": "CHANGELOG.md"}
"""Pages that are looked for at the root of a repository; the site shows them, too."""


def read_root_page(app: Any, page: str, source: list[str]) -> None:
    """Put a page of the root in the place of its stub, with its links as they are seen from docs/."""
    if page not in ROOT_PAGES:
        return
    app.env.note_dependency(str(ROOT / ROOT_PAGES[page]))
    text = (ROOT / ROOT_PAGES[page]).read_text(encoding="utf-8").replace("](docs/", "](")
    for name, file in ROOT_PAGES.items():
        text = text.replace(f"]({file}", f"]({name}.md")
    source[0] = text


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", read_root_page)
    return {"parallel_read_safe": True}
