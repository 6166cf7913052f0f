"""``dynoctl show``: show a saved plan without contacting a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.options import AsJson, AsMarkdown, HtmlTo, write_page
from infra.errors import DynoctlError


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("show", short_help="Show a saved plan.")(show)


def show(
    plan_file: Annotated[Path, typer.Argument(help="Plan saved by dynoctl plan --out", metavar="PLAN", readable=False)],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every change, with all attributes")] = False,
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
    html: HtmlTo = None,
) -> None:
    """Show a saved plan. No server is contacted."""
    from infra.cli.session import print_plan
    from infra.engine import plan_file as saved_plan
    from infra.registry import Everything
    from infra.views import plan_document, plan_json, plan_markdown, plan_text
    from infra.views.style import printable

    if as_json and as_markdown:
        raise DynoctlError("--json and --markdown cannot be combined", "remove one of them")
    saved = saved_plan.read(plan_file)
    if as_json:
        from infra.views import json_text

        typer.echo(json_text.indented(saved.document))
        return
    plan, digest = plan_document.plan(saved.document), plan_json.digest(saved.document)
    if html is not None:
        from infra.views import plan_html

        made = plan_html.Made(saved.who, saved.when, saved.file.name, digest, saved.destination or "")
        write_page(html, plan_html.render(plan, Everything().briefs(), made))
    if as_markdown:
        typer.echo(plan_markdown.render(plan, Everything().briefs(), verbose=verbose), nl=False)
        return
    print_plan(plan, verbose=verbose)
    from infra.model.moment import local
    from infra.views.wrapping import columns, wrapped

    words = printable(f"Plan {digest[:12]}, made {local(saved.when)} by {saved.who} from {saved.file}.")
    if options := plan_text.options(plan):
        typer.echo(printable(f"\n{options}"))
    text = f"{words} To apply exactly this plan: dynoctl apply {plan_file}"
    typer.echo("\n" + wrapped(text, columns(sys.stdout)))
