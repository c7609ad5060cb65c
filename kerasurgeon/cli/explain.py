"""``kerasurgeon explain``: a dry run of a pass."""

from __future__ import annotations

from typing import Annotated

import typer

from kerasurgeon.cli import options
from kerasurgeon.cli.console import activity, show, show_json
from kerasurgeon.cli.files import KERAS_SUFFIXES, check_input, check_side_files
from kerasurgeon.cli.groups import Loading, grouped
from kerasurgeon.cli.imports import allowing
from kerasurgeon.cli.models import load_model
from kerasurgeon.cli.pages import REPORTS, write_report
from kerasurgeon.cli.sizes import sizes_of
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.cli.steps import check_steps, made_passes, recipe_of, typed_values


@grouped
def explain(
    *,
    model: options.Model,
    pass_: Annotated[str, typer.Option("--pass", metavar="NAME", help="The pass, or module:Class.")],
    settings: options.Settings = None,
    allow_import: options.AllowImport = None,
    sizes: options.Sizes = None,
    report: options.PageFile = None,
    overwrite: options.Overwrite = False,
    loading: Loading,
    json: options.Json = False,
) -> None:
    """Say what a pass would do to a model, site by site, without doing it."""
    check_input(model, KERAS_SUFFIXES, "model file")
    check_side_files([(report, REPORTS)], overwrite=overwrite, read=[model])
    check_steps(None, [pass_], settings or [])
    shapes = sizes_of(sizes)
    with activity() as now, allowing(allow_import, [pass_, typed_values(settings)]):
        start_keras(now)
        from kerasurgeon.rewrite.explain import explain as dry_run

        (made,) = made_passes(recipe_of(None, [pass_], settings or [], seed=None, verify=None))
        loaded = load_model(model, now, loading)
        now.phase(f"running {made.name} on a copy")
        found = dry_run(made, loaded, sizes=shapes)
        sites = [{"node": site.node, "would_change": site.changed, "what": site.what} for site in found.sites]
        document = {"pass": found.name, "model": str(model), "sites": sites}
        shown = found.table() if found.sites else str(found)
        if report is not None:
            from kerasurgeon.exporting.outline import draw_one

            title, drawing = f"{found.name} on {model.name}", draw_one(loaded, shapes)
            write_report(report, document, title=title, before=drawing, shown=[shown], overwrite=overwrite)
    if json:
        show_json(document)
    else:
        show(shown)
