"""Sphinx builds the site from these pages: ``make docs``. Every warning is an error, so a dead link fails."""

project = "dynoctl"
author = "the dynoctl authors"
copyright = "2026, the dynoctl authors"  # noqa: A001  # Sphinx's own name

extensions = ["myst_parser"]
exclude_patterns = ["ci"]

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "dynoctl"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
