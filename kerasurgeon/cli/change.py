"""``kerasurgeon change``: other inputs, classes and vocabularies, with the weights that there are."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerasurgeon.cli import options
from kerasurgeon.cli.carrying_out import carry_out
from kerasurgeon.cli.errors import UsageError
from kerasurgeon.cli.files import KERAS_SUFFIXES, check_input, check_side_files
from kerasurgeon.cli.groups import Formats, Loading, Records, grouped
from kerasurgeon.cli.writing import plan

if TYPE_CHECKING:
    from kerasurgeon.rewrite.pipeline import Pipeline


class Channels(StrEnum):
    """What new channels of an input are made of."""

    AVERAGE = "average"
    REPEAT = "repeat"
    CUT = "cut"


@grouped
def change(
    *,
    model: options.Model,
    output: options.Outputs,
    shapes: Annotated[
        list[str] | None,
        options.option(
            "The new shape of the input without the batch, as 96,96,1; any for an open size. NAME=... where there are "
            "several inputs. May be repeated.",
            "--input",
            metavar="[NAME=]N,N,..",
        ),
    ] = None,
    channels: Annotated[Channels, typer.Option(help="What new channels are made of.")] = Channels.AVERAGE,
    resample: Annotated[
        bool, typer.Option("--resample", help="Make Dense layers behind a Flatten fit by interpolation.")
    ] = False,
    classes: Annotated[int | None, options.option("How many classes there are afterwards.", metavar="N")] = None,
    keep_classes: Annotated[
        str | None,
        options.option(
            "Which classes stay, in their new order: 3,5,8, or a .npy file or text of them; none for none.",
            metavar="IDS",
        ),
    ] = None,
    keep_ids: Annotated[
        Path | None,
        options.option(
            "Which ids of the vocabulary stay: a .npy file, or a text with one on each line.", metavar="FILE"
        ),
    ] = None,
    cut_head: Annotated[
        bool, typer.Option("--cut-head", help="Outputs over the vocabulary that are not tied lose these ids, too.")
    ] = False,
    save_ids: Annotated[
        Path | None, options.option("Also write which old id each new one stands for.", metavar="FILE.json")
    ] = None,
    seed: options.Seed = 0,
    records: Records,
    overwrite: options.Overwrite = False,
    formats: Formats,
    loading: Loading,
    json: options.Json = False,
) -> None:
    """Make a model fit another input, other classes or a smaller vocabulary, and keep its weights.

    What cannot follow is refused by name. To say more (which embedding, which output), use compress with --pass
    ChangeInput, ChangeClasses or PruneEmbedding.
    """
    check_input(model, KERAS_SUFFIXES, "model file")
    if shapes is None and classes is None and keep_classes is None and keep_ids is None:
        raise UsageError("Nothing to do.", hint="give --input 96,96,1, --classes 10 or --keep-ids FILE")
    files = [*records.files(), (save_ids, (".json",))]
    others = check_side_files(files, overwrite=overwrite, read=[model, keep_ids])
    writing = plan(output, formats, others=others, overwrite=overwrite, seed=seed)
    shape = None if shapes is None else _shapes(shapes)
    keep = None if keep_classes is None else _classes(keep_classes)

    def make_pipeline() -> Pipeline:
        from kerasurgeon.rewrite.pipeline import Pipeline
        from kerasurgeon.rewrite.recipe import Recipe

        steps: list[tuple[str, dict[str, Any]]] = []
        if shape is not None:
            dense = "resample" if resample else "refuse"
            steps.append(("ChangeInput", {"shape": shape, "channels": str(channels), "dense": dense}))
        if classes is not None or keep is not None:
            given = {"classes": classes, "keep": keep}
            steps.append(("ChangeClasses", {name: value for name, value in given.items() if value is not None}))
        if keep_ids is not None:
            steps.append(("PruneEmbedding", {"keep": str(keep_ids), "head": "cut" if cut_head else "tied"}))
        return Pipeline.from_recipe(Recipe(tuple(steps), seed=seed))

    def written(result: Any) -> list[Any]:
        for kept in result.report.passes[-1].plans if save_ids is not None else ():
            kept.save(save_ids, overwrite=overwrite)
        return []

    carry_out(
        model,
        make_pipeline,
        writing,
        data=None,
        records=records,
        loading=loading,
        json=json,
        afterwards=written,
    )


def _shapes(texts: list[str]) -> Any:
    found: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        parts = [part.strip() for part in sizes.replace("x", ",").split(",")]
        if not all(part.isdigit() or part == "any" for part in parts):
            raise UsageError("--input cannot be read.", expected="sizes, as 96,96,1 or image=any,any,3", got=text)
        found[name] = tuple(int(part) if part.isdigit() else part for part in parts)
    if "" in found and len(found) > 1:
        raise UsageError("--input names some inputs and not others.", hint="NAME=SIZES, for each")
    return found.get("", found)


def _classes(text: str) -> Any:
    parts = [part.strip() for part in text.split(",")]
    if text == "none":
        return ()
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else text
